"""`dyn3d-mononerf`: one radiance field for many monocular videos, from features of their frames."""
