#!/usr/bin/env bash
# fourdgs 0.6.0: places of fast Gaussians are read far outside the bound that the file itself declares for places.
# A record's time (mu_t) is rounded to a grid, 4 ms in the default profile, and the place is not moved along with it:
# at 4 units a second that is up to 8e-3 units, whatever the declared bound of `pos`. The writer's own verification
# compares columns and passes. Times on the grid (multiples of the declared step) are exact, so that an exporter moves
# each place to the nearest one, along its velocity, before it writes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q fourdgs==0.6.0 numpy==2.2.6
"$folder/venv/bin/python" - "$folder" <<'PY'
import sys
from importlib.metadata import version
from pathlib import Path
import fourdgs
import numpy as np

SPEED, STEP = 4.0, 1 / 60


def worst(start: float) -> tuple[float, float]:
    """Write 50 Gaussians, an apart each, that begin at a time; return the largest error there and the bound."""
    n = 50
    places = np.zeros((n, 3), np.float32)
    places[:, 1] = np.arange(n)
    scene = fourdgs.GaussianSet(
        positions=places, scales=np.full((n, 3), 0.01, np.float32),
        rotations=np.tile(np.float32([0, 0, 0, 1]), (n, 1)), colors=np.full((n, 4), 0.5, np.float32),
        motions=np.tile(np.float32([SPEED, 0, 0]), (n, 1)), mu_t=np.full(n, start, np.float32),
        sigma_t=np.full(n, np.inf, np.float32), win_lo=np.full(n, start), win_hi=np.full(n, start + STEP),
    )
    path = Path(sys.argv[1], "a.4dgs")
    fourdgs.write(str(path), scene, 1.0)
    read = fourdgs.read(str(path))
    found = read.state_at(start)["centers"]
    found = found[found[:, 1].argsort()]
    return float(np.abs(found - places).max()), float(read.quantization.bounds["pos"])


print("fourdgs", version("fourdgs"))
for start in (STEP, 0.5):
    error, bound = worst(start)
    print(f"begins at {start:.4f} s: off by {error:.4f} along an axis, declared bound {bound:.4f}")
off, bound = worst(STEP)
exact, _ = worst(0.5)
assert off > 4 * bound, "places keep to the declared bound by now"
assert exact <= bound * 1.01, "a time on the grid is exact"
PY
