"""Masks of the user or of other tools as instance ids."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Int32

from dyn3d_ns.io.arrays import ids_of, read_png
from dyn3d_ns.io.camera_file import proportion_fits
from dyn3d_ns.io.errors import StageError
from dyn3d_ns.io.frame_matching import ClipFrames, Labels, match_frames
from dyn3d_ns.io.recognised import natural_order
from dyn3d_ns.io.resampling import nearest_to

_SUFFIXES = (".png", ".npy", ".webp", ".bmp")


def list_masks(folder: Path, frames: ClipFrames) -> tuple[list[Path], str]:
    """Return the mask file of each frame, and how they were matched where their names do not say it.

    Raises:
        StageError: there is no such folder, or not one mask a frame.
        DatasetError: it is not known which belongs to which frame.
    """
    if not folder.is_dir():
        raise StageError(f"--masks.masks {folder} is not a folder; give one with a .png or .npy a frame")
    found = sorted((p for p in folder.iterdir() if p.suffix.lower() in _SUFFIXES), key=natural_order)
    labels = Labels(len(found), tuple(path.name for path in found))
    match = match_frames(frames, labels, str(folder), "masks")
    if not match.complete:
        raise StageError(f"{folder}: {match.note}; there must be one for each")
    return [found[row] for row in match.rows], match.note


def read_codes(path: Path) -> Int32[np.ndarray, "H W"]:
    """Read one mask as numbers: palette indices, grey values, or R + 256 G + 65536 B.

    Raises:
        StageError: it is neither an image nor an array of one or three channels.
    """
    if path.suffix.lower() == ".npy":
        try:
            values = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise StageError(f"{path} is not a readable array ({error}); write it again") from error
    else:
        values = read_png(path, None)
    values = np.squeeze(values)
    if values.ndim != 2 and not (values.ndim == 3 and values.shape[2] in (3, 4)):
        raise StageError(f"{path} has the shape {values.shape}; a mask is [H, W] or [H, W, 3]")
    return ids_of(values)


def read_given(
    folder: Path, frames: ClipFrames, width: int, height: int
) -> tuple[Iterator[Int32[np.ndarray, "H W"]], list[int], str]:
    """Read masks as instance ids that count from 1, at the size of the frames.

    Every distinct number other than 0 is one object through the clip; a mask of another size is resized.

    Returns:
        The ids of frame after frame, the number in the files behind each id (from 1), and how masks were
        matched to frames where their names do not say it.
    """
    paths, note = list_masks(folder, frames)
    codes = sorted({int(code) for path in paths for code in np.unique(read_codes(path))} - {0})
    if any(code < 0 for code in codes):
        raise StageError(f"{folder} holds negative ids; 0 is static, objects have positive numbers")

    def ids() -> Iterator[Int32[np.ndarray, "H W"]]:
        for path in paths:
            values = read_codes(path)
            if not proportion_fits(values.shape[::-1], (width, height)):
                raise StageError(
                    f"{path} is {values.shape[1]}x{values.shape[0]}, the frames {width}x{height}: that is "
                    "another proportion of the sides; crop it as the frames are"
                )
            values = nearest_to(values, (width, height))
            yield np.where(values > 0, np.searchsorted(codes, values) + 1, 0).astype(np.int32)

    return ids(), codes, note
