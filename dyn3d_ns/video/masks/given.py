"""Masks of the user or of other tools as instance ids."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Int32

from dyn3d_ns.io.errors import StageError
from dyn3d_ns.io.footage.files import check_proportion
from dyn3d_ns.io.frame_matching import ClipFrames, Labels, match_frames
from dyn3d_ns.io.masks import SUFFIXES, MaskFiles
from dyn3d_ns.io.recognised import files_in
from dyn3d_ns.io.resampling import nearest_to


def list_masks(folder: Path, frames: ClipFrames) -> tuple[list[Path], str]:
    """Return the mask file of each frame, and how they were matched where their names do not say it.

    Raises:
        StageError: there is no such folder, or not one mask a frame.
        DatasetError: it is not known which belongs to which frame.
    """
    if not folder.is_dir():
        raise StageError(f"--masks.masks {folder} is not a folder; give one with a .png or .npy a frame")
    found = files_in(folder, SUFFIXES)
    if not found:
        raise StageError(f"--masks.masks {folder} holds no mask ({', '.join(SUFFIXES)}); write them as PNG")
    labels = Labels(len(found), tuple(path.name for path in found))
    match = match_frames(frames, labels, str(folder), "masks")
    if not match.complete:
        raise StageError(f"{folder}: {match.note}; there must be one for each")
    return [found[row] for row in match.rows], match.note


def read_given(
    folder: Path, frames: ClipFrames, width: int, height: int, note: Callable[[str], None] = print
) -> tuple[Iterator[Int32[np.ndarray, "H W"]], list[int]]:
    """Read masks as instance ids that count from 1, at the size of the frames.

    Every distinct id other than 0 is one object through the clip, see
    :class:`~dyn3d_ns.io.masks.MaskFiles`; a mask of another size is resized.

    Args:
        folder: A file a frame.
        frames: The clip's, which masks are found for by name or number.
        width: Of the frames, pixels.
        height: Of the frames, pixels.
        note: Takes what was decided about the masks.

    Returns:
        The ids of frame after frame, and the number in the files behind each id (from 1).

    Raises:
        DatasetError: a mask is damaged or missing, or they are no masks.
    """
    paths, matched = list_masks(folder, frames)
    masks = MaskFiles(paths)
    codes = masks.codes
    for text in (matched, masks.note):
        if text:
            note(text)

    def ids() -> Iterator[Int32[np.ndarray, "H W"]]:
        for i, path in enumerate(masks.paths):
            values = masks.ids(i)
            check_proportion(path, (values.shape[1], values.shape[0]), (width, height), networks=True)
            values = nearest_to(values, (width, height))
            yield np.where(values > 0, np.searchsorted(codes, values) + 1, 0).astype(np.int32)

    return ids(), codes
