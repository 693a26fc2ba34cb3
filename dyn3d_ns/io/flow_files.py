"""Optical flow files: Middlebury .flo, and .npz with the check of the flow back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32

from dyn3d_ns.io.arrays import Npz
from dyn3d_ns.io.atomic import atomic_open
from dyn3d_ns.io.damage import ARRAY_ERRORS, numbers
from dyn3d_ns.io.errors import DamagedFileError, MissingFileError

_FLO_MAGIC = b"PIEH"
_LARGEST_SIDE = 1 << 16


def write_flo(path: Path, flow: Float32[np.ndarray, "H W 2"]) -> None:
    """Write a flow in pixels, x right, y down, as a Middlebury .flo file."""
    if flow.ndim != 3 or flow.shape[2] != 2:
        raise ValueError(f"a flow has the shape [H, W, 2], got {flow.shape}")
    size = np.array([flow.shape[1], flow.shape[0]], dtype="<i4")
    with atomic_open(path) as file:
        file.write(_FLO_MAGIC + size.tobytes() + flow.astype("<f4").tobytes())


def read_flo(path: Path) -> Float32[np.ndarray, "H W 2"]:
    """Read a Middlebury .flo file.

    Raises:
        MissingFileError: there is no such file.
        DamagedFileError: it is no .flo file, or its length is not what its header states.
    """
    content = read_file(path)
    if len(content) < 12 or content[:4] != _FLO_MAGIC:
        raise DamagedFileError(f"{path} is not a .flo file (it must start with 'PIEH'); write it again")
    width, height = (int(side) for side in np.frombuffer(content, "<i4", count=2, offset=4))
    if not (0 < width < _LARGEST_SIDE and 0 < height < _LARGEST_SIDE):
        raise DamagedFileError(f"{path} states a size of {width}x{height}; write it again")
    expected = 12 + 8 * width * height
    if len(content) != expected:
        raise DamagedFileError(
            f"{path} has {len(content)} bytes, but {width}x{height} pixels need {expected}; write it again"
        )
    return np.frombuffer(content, "<f4", offset=12).reshape(height, width, 2).astype(np.float32)


def write_flow_npz(path: Path, flow: Float32[np.ndarray, "H W 2"], valid: Bool[np.ndarray, "H W"]) -> None:
    """Write a flow in pixels (as float16) and where it is consistent with the flow back."""
    with atomic_open(path) as file:
        np.savez_compressed(file, flow=flow.astype(np.float16), valid=valid)


def read_flow_npz(path: Path) -> tuple[Float32[np.ndarray, "H W 2"], Bool[np.ndarray, "H W"]]:
    """Read what :func:`write_flow_npz` wrote; without `valid` every pixel counts as consistent."""
    if not path.is_file():
        raise MissingFileError(f"{path} does not exist; run the stage `flow` first")
    try:
        with Npz(path) as content:
            flow = numbers(content["flow"], path).astype(np.float32)
            valid = (
                numbers(content["valid"], path).astype(bool)
                if "valid" in content
                else np.ones(flow.shape[:2], bool)
            )
    except ARRAY_ERRORS as error:
        raise DamagedFileError(f"{path} is not a readable flow ({error}); write it again") from error
    if flow.ndim != 3 or flow.shape[2] != 2 or valid.shape != flow.shape[:2]:
        raise DamagedFileError(f"{path}: a flow has the shape [H, W, 2], got {flow.shape} and {valid.shape}")
    return flow, valid


def read_file(path: Path) -> bytes:
    """Return a file's bytes, or say that there is no such file."""
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise MissingFileError(f"{path} does not exist") from error
