"""Files of MPI Sintel: depth (.dpt) and cameras (.cam)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Float32, Float64

from dyn3d_ns.io.errors import DamagedFileError
from dyn3d_ns.io.flow_files import read_file

_TAG = np.array([202021.25], dtype="<f4").tobytes()


def read_dpt(path: Path) -> Float32[np.ndarray, "H W"]:
    """Read a depth map: planar z in scene units.

    Raises:
        MissingFileError: there is no such file.
        DamagedFileError: it is no .dpt file, or its length is not what its header states.
    """
    content = _tagged(path, ".dpt")
    width, height = (int(side) for side in np.frombuffer(content, "<i4", count=2, offset=4))
    expected = 12 + 4 * width * height
    if width <= 0 or height <= 0 or len(content) != expected:
        raise DamagedFileError(
            f"{path} has {len(content)} bytes, but states {width}x{height} pixels; restore the original"
        )
    return np.frombuffer(content, "<f4", offset=12).reshape(height, width).astype(np.float32)


def read_cam(path: Path) -> tuple[Float64[np.ndarray, "3 3"], Float64[np.ndarray, "3 4"]]:
    """Read a camera: intrinsics and world-to-camera pose (OpenCV axes, pixel centres at whole numbers)."""
    content = _tagged(path, ".cam")
    if len(content) != 4 + 8 * 21:
        raise DamagedFileError(f"{path} has {len(content)} bytes instead of 172; restore the original")
    numbers = np.frombuffer(content, "<f8", offset=4)
    return numbers[:9].reshape(3, 3).copy(), numbers[9:].reshape(3, 4).copy()


def _tagged(path: Path, kind: str) -> bytes:
    content = read_file(path)
    if len(content) < 12 or content[:4] != _TAG:
        raise DamagedFileError(f"{path} is not a {kind} file of Sintel; restore the original")
    return content
