"""``dyn3d-das3r``: the static scene behind what moves, from one video (DAS3R, arXiv 2412.19584)."""
