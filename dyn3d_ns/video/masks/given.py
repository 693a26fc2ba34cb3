"""Masks of the user or of other tools as instance ids."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Int32

from dyn3d_ns.io.arrays import ids_of, read_png
from dyn3d_ns.io.damage import ARRAY_ERRORS, numbers
from dyn3d_ns.io.errors import StageError

_SUFFIXES = (".png", ".npy", ".webp", ".bmp")


def list_masks(folder: Path, num_frames: int) -> list[Path]:
    """List mask files in order of their names; they belong to the frames by order.

    Raises:
        StageError: there is no such folder, or not one mask a frame.
    """
    if not folder.is_dir():
        raise StageError(f"--masks.masks {folder} is not a folder; give one with a .png or .npy a frame")
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES)
    if len(found) != num_frames:
        raise StageError(
            f"{folder} holds {len(found)} masks (.png or .npy), but the clip has {num_frames} frames; masks "
            "belong to frames in the order of their names, so there must be one for each"
        )
    return found


def read_codes(path: Path) -> Int32[np.ndarray, "H W"]:
    """Read one mask as numbers: palette indices, grey values, or R + 256 G + 65536 B.

    Raises:
        StageError: it is neither an image nor an array of one or three channels.
    """
    if path.suffix.lower() == ".npy":
        try:
            values = np.load(path, allow_pickle=False)
        except ARRAY_ERRORS as error:
            raise StageError(f"{path} is not a readable array ({error}); write it again") from error
    else:
        values = read_png(path, None)
    values = np.squeeze(numbers(values, path))
    if values.ndim != 2 and not (values.ndim == 3 and values.shape[2] in (3, 4)):
        raise StageError(f"{path} has the shape {values.shape}; a mask is [H, W] or [H, W, 3]")
    return ids_of(values)


def read_given(
    folder: Path, num_frames: int, width: int, height: int
) -> tuple[Iterator[Int32[np.ndarray, "H W"]], list[int]]:
    """Read masks as instance ids that count from 1, at the size of the frames.

    Every distinct number other than 0 is one object through the clip; a mask of another size is resized.

    Returns:
        The ids of frame after frame, and the number in the files behind each id (from 1).
    """
    paths = list_masks(folder, num_frames)
    codes = sorted({int(code) for path in paths for code in np.unique(read_codes(path))} - {0})
    if any(code < 0 for code in codes):
        raise StageError(f"{folder} holds negative ids; 0 is static, objects have positive numbers")

    def frames() -> Iterator[Int32[np.ndarray, "H W"]]:
        for path in paths:
            values = _resize(read_codes(path), width, height)
            yield np.where(values > 0, np.searchsorted(codes, values) + 1, 0).astype(np.int32)

    return frames(), codes


def _resize(values: Int32[np.ndarray, "H W"], width: int, height: int) -> Int32[np.ndarray, "H W"]:
    ys = ((np.arange(height) + 0.5) * values.shape[0] / height).astype(np.intp)
    xs = ((np.arange(width) + 0.5) * values.shape[1] / width).astype(np.intp)
    return values[ys[:, None], xs]
