"""Writes files of MPI Sintel, as its own tools do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Float32, Float64

TAG = np.array([202021.25], dtype="<f4").tobytes()


def write_dpt(path: Path, depth: Float32[np.ndarray, "H W"]) -> None:
    """Write a depth map: planar z in scene units."""
    size = np.array([depth.shape[1], depth.shape[0]], dtype="<i4")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(TAG + size.tobytes() + depth.astype("<f4").tobytes())


def write_cam(path: Path, K: Float64[np.ndarray, "3 3"], world_to_camera: Float64[np.ndarray, "3 4"]) -> None:
    """Write a camera: intrinsics and world-to-camera pose (OpenCV axes, pixel centres at whole numbers)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(TAG + K.astype("<f8").tobytes() + world_to_camera[:3].astype("<f8").tobytes())
