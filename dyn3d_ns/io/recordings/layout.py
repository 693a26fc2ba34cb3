"""What a layout of recordings has to answer; one module a layout does."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from dyn3d_ns.io.errors import DatasetError, MissingFileError
from dyn3d_ns.io.recognised import natural_order
from dyn3d_ns.io.recordings.base import Calibration, FrameReader, PointCloud
from dyn3d_ns.io.recordings.readers import ImageFrames


class Layout(ABC):
    """A folder in one of the layouts; looking costs no more than listing it."""

    title: str
    """Name of the layout, for people."""
    names: list[str]
    """Cameras that have frames, in natural order."""
    poses_file: Path
    """What says where the cameras stand; it may be missing."""
    notes: tuple[str, ...] = ()
    """What was left out, a sentence each."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @abstractmethod
    def calibrations(self, dropped: Sequence[str]) -> dict[str, Calibration]:
        """Read where the cameras stand that are not dropped.

        Raises:
            DatasetError: it is missing, damaged or of other cameras.
        """

    @abstractmethod
    def reader(self, name: str, planned: int | None) -> FrameReader:
        """Open the frames of a camera; while it still records, ``planned`` is how many there will be.

        Raises:
            DatasetError: they are damaged, some are missing, or they cannot be followed.
        """

    def points(self) -> PointCloud | None:
        """Read the points that come with the recording; None if there are none."""
        return None

    def length(self) -> str:
        """Return how many frames there are, for people; empty where that takes opening files."""
        return ""


def counted(first: str) -> Callable[[int], str]:
    """Return the names that follow a first one whose last number counts: frame0001, frame0002, …"""
    found = re.fullmatch(r"(.*?)(\d+)(\D*)", first)
    if found is None:
        return lambda i: first
    before, digits, after = found.groups()
    return lambda i: f"{before}{int(digits) + i:0{len(digits)}d}{after}"


def image_reader(
    source: Path, name: str, moments: Sequence[Path], files: Sequence[Path | None]
) -> ImageFrames:
    """Return the reader of a camera's files, one a moment.

    Args:
        source: Folder to name in messages.
        name: The camera.
        moments: What stands for each moment in messages: the path that the file would have.
        files: The camera's file of each moment, None where it has none.

    Raises:
        MissingFileError: a file is missing while later ones are there.
    """
    there = [i for i, file in enumerate(files) if file is not None]
    count = there[-1] + 1 if there else 0
    missing = next((i for i in range(count) if files[i] is None), None)
    if count == 0 or missing is not None:
        where = moments[missing or 0]
        raise MissingFileError(
            f"{where} does not exist, but other frames do: frame {missing or 0} of {name} is missing; "
            f"restore it, cut the recording with --frame-start or --frame-end, or use --drop-cameras {name}"
        )
    found = [file for file in files[:count] if file is not None]
    return ImageFrames(source, found.__getitem__, count)


def in_natural_order(paths: Iterable[Path]) -> list[Path]:
    """Sort paths so that cam2 stands before cam10."""
    return sorted(paths, key=natural_order)


def one_a_name(paths: Sequence[Path]) -> dict[str, Path]:
    """Return files by their stems, which name the cameras.

    Raises:
        DatasetError: two have the same.
    """
    found: dict[str, Path] = {}
    for path in paths:
        if path.stem in found:
            raise DatasetError(
                f"{path.parent} holds {found[path.stem].name} and {path.name}; a camera has one file: "
                "remove the other"
            )
        found[path.stem] = path
    return found
