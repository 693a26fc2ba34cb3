"""Nerfstudio's `mask_path`: which pixels of an image count in training."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool
from PIL import Image

from dyn3d_ns.io.damage import image_errors
from dyn3d_ns.io.errors import DamagedFileError, DatasetError
from dyn3d_ns.io.footage.files import check_proportion
from dyn3d_ns.io.images import in_black_and_white
from dyn3d_ns.io.recognised import image_sizes
from dyn3d_ns.io.transforms_json import FileIndex

KEY = "mask_path"
_LOSSY = (".jpg", ".jpeg", ".webp")


def mask_files(frames: Sequence[tuple[str, Mapping[str, Any]]], index: FileIndex) -> list[Path | None]:
    """Return the mask of each frame of a file; of all frames or of none.

    Args:
        frames: Place of each frame for messages, and the frame.
        index: Finds the files.

    Raises:
        DatasetError: only some frames have one.
        MissingFileError: one does not exist.
    """
    named = sum(frame.get(KEY) is not None for _, frame in frames)
    if not named:
        return [None] * len(frames)
    if named < len(frames):
        first = next(where for where, frame in frames if frame.get(KEY) is None)
        raise DatasetError(
            f"{first}: {len(frames) - named} of {len(frames)} frames of the file have no `{KEY}`; give it "
            "to all or to none"
        )
    return [index.find_file(frame[KEY], where, KEY) for where, frame in frames]


def check_mask_sizes(masks: Iterable[tuple[Path, tuple[int, int]]]) -> None:
    """Check that masks have the proportions of their images, whose sizes are given; only headers are read.

    Raises:
        ImageSizeError: one has others.
        DamagedFileError: one cannot be read.
    """

    def check(pair: tuple[Path, tuple[int, int]]) -> None:
        path, size = pair
        check_proportion(path, image_sizes([path]), size)

    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        list(pool.map(check, masks))


def read_mask(path: Path) -> Bool[np.ndarray, "h w"]:
    """Read which pixels count: those of at least half of white.

    Where nothing is that bright (masks of 0 and 1, numbers of objects, palettes), those that are not 0, as
    in Nerfstudio; but not in JPEGs, whose black is not quite. What is transparent does not count; nothing but
    transparency tells where all of an image has one colour.

    Raises:
        DamagedFileError: it cannot be read.
    """
    try:
        with Image.open(path) as image:
            found = in_black_and_white(image)
            mode = found.mode
            alpha = np.asarray(found.getchannel("A")) if mode in ("LA", "RGBA") else None
            plain = mode in ("1", "L", "P") or mode.startswith(("I", "F"))
            values = np.asarray(found if plain else found.convert("L")).astype(np.float32)
    except image_errors() as error:
        raise DamagedFileError(f"{path} is not a readable mask ({error}); restore it") from error
    if alpha is not None and alpha.min(initial=255) < 255:
        values = alpha.astype(np.float32) if (values == values[:1, :1]).all() else np.minimum(values, alpha)
    white = 65535 if mode.startswith("I") else 1 if mode in ("1", "F") else 255
    bright = values >= 0.5 * white
    numbers = mode == "P" or not bright.any()
    return values > 0 if numbers and path.suffix.lower() not in _LOSSY else bright


def check_not_black(masks: Iterable[Path]) -> None:
    """Check that masks leave something to train on; they are read up to the first that does.

    Raises:
        DatasetError: none does.
        DamagedFileError: one cannot be read.
    """
    first = None
    for path in masks:
        if read_mask(path).any():
            return
        first = first or path
    if first is not None:
        raise DatasetError(
            f"{first} and all other masks are black, so that nothing counts: `mask_path` is white where an "
            "image counts; write them so, or give --load-masks False to dynamic-object-data"
        )
