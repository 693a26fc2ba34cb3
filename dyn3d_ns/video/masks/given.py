"""Masks of the user or of other tools as instance ids."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Int32

from dyn3d_ns.io.errors import StageError
from dyn3d_ns.io.footage.files import check_proportion
from dyn3d_ns.io.masks import SUFFIXES, MaskFiles
from dyn3d_ns.io.recognised import files_in
from dyn3d_ns.io.resampling import nearest_to


def list_masks(folder: Path, num_frames: int) -> list[Path]:
    """List mask files in the natural order of their names; they belong to the frames by order.

    Raises:
        StageError: there is no such folder, or not one mask a frame.
    """
    if not folder.is_dir():
        raise StageError(f"--masks.masks {folder} is not a folder; give one with a .png or .npy a frame")
    found = files_in(folder, SUFFIXES)
    if len(found) != num_frames:
        raise StageError(
            f"{folder} holds {len(found)} masks (.png or .npy), but the clip has {num_frames} frames; masks "
            "belong to frames in the order of their names, so there must be one for each"
        )
    return found


def read_given(
    folder: Path, num_frames: int, width: int, height: int, note: Callable[[str], None] = print
) -> tuple[Iterator[Int32[np.ndarray, "H W"]], list[int]]:
    """Read masks as instance ids that count from 1, at the size of the frames.

    Every distinct id other than 0 is one object through the clip, see
    :class:`~dyn3d_ns.io.masks.MaskFiles`; a mask of another size is resized.

    Args:
        folder: A file a frame.
        num_frames: Of the clip.
        width: Of the frames, pixels.
        height: Of the frames, pixels.
        note: Takes what was decided about the masks.

    Returns:
        The ids of frame after frame, and the number in the files behind each id (from 1).

    Raises:
        DatasetError: a mask is damaged or missing, or they are no masks.
    """
    masks = MaskFiles(list_masks(folder, num_frames))
    codes = masks.codes
    if masks.note is not None:
        note(masks.note)

    def frames() -> Iterator[Int32[np.ndarray, "H W"]]:
        for i, path in enumerate(masks.paths):
            values = masks.ids(i)
            check_proportion(path, (values.shape[1], values.shape[0]), (width, height))
            values = nearest_to(values, (width, height))
            yield np.where(values > 0, np.searchsorted(codes, values) + 1, 0).astype(np.int32)

    return frames(), codes
