"""Whether images have pixels that are not opaque: a matter of all of them, not of some."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path

from PIL import Image
from rich.progress import Progress

from dyn3d_ns.io.damage import image_errors
from dyn3d_ns.io.errors import DamagedFileError

_SILENT = 64
"""Images that are decoded before a progress bar shows."""
_OPAQUE = 250
"""Alpha from which on a pixel counts as opaque."""


def first_transparent(images: Sequence[Path]) -> Path | None:
    """Return the first image with transparent pixels; None if all are opaque.

    Images without an alpha channel are opened, not decoded, and none is decoded long after the first that is
    transparent.

    Raises:
        DamagedFileError: one cannot be read.
    """
    workers = min(8, os.cpu_count() or 1)
    with ThreadPoolExecutor(workers) as pool:
        with_alpha = [path for path, alpha in zip(images, pool.map(_has_alpha, images), strict=True) if alpha]
        found = _first(with_alpha[:_SILENT], pool, workers)
        rest = with_alpha[_SILENT:]
        if found is None and rest:
            with Progress(*Progress.get_default_columns(), transient=True) as progress:
                task = progress.add_task("Looking for transparent pixels", total=len(rest))
                found = _first(rest, pool, workers, lambda count: progress.advance(task, count))
    return found


def _first(
    images: Sequence[Path], pool: Executor, at_once: int, advance: Callable[[int], object] = int
) -> Path | None:
    for start in range(0, len(images), at_once):
        some = images[start : start + at_once]
        for path, transparent in zip(some, pool.map(is_transparent, some), strict=True):
            if transparent:
                return path
        advance(len(some))
    return None


def is_transparent(path: Path) -> bool:
    """Tell whether an image has pixels that are not opaque."""
    return _look(path, decode=True)


def _has_alpha(path: Path) -> bool:
    return _look(path, decode=False)


def _look(path: Path, decode: bool) -> bool:
    try:
        with Image.open(path) as image:
            if "A" not in image.getbands() and "transparency" not in image.info:
                return False
            return not decode or image.convert("RGBA").getextrema()[3][0] < _OPAQUE
    except image_errors() as error:
        raise DamagedFileError(
            f"{path} is not a readable image ({error}); restore it from the original"
        ) from error
