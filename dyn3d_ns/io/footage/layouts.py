"""Open a video in whichever of the layouts it lies."""

from __future__ import annotations

from pathlib import Path

from dyn3d_ns.io.footage.base import Footage
from dyn3d_ns.io.footage.clip import ClipFootage


def open_footage(path: Path) -> Footage:
    """Open a video by what its folder holds.

    Raises:
        DatasetError: it is none of the layouts, or it lacks what training needs.
    """
    return ClipFootage(path)
