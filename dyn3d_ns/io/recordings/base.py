"""A recording: synchronised static cameras, where they stand, and a reader of each one's frames."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from jaxtyping import Float64, UInt8

Decode = Callable[[], UInt8[np.ndarray, "H W 3"]]
"""Turns a frame that a reader has come to into RGB; who passes it by need not call it."""


class FrameReader(Protocol):
    """Frames of one camera, numbered from 0."""

    source: Path
    """File or folder, to name in messages."""
    size: tuple[int, int]
    """Width and height, pixels."""
    num_frames: int
    """Frames that there are, or that are planned while the camera still records."""
    fps: float | None
    """Frames per second; None where the files do not say."""
    sequential: bool
    """Whether a frame costs the decoding of those before it, as in a video."""
    notes: tuple[str, ...]
    """What is odd about the pictures but can be used, to follow the name of the file."""

    def frames_from(self, start: int) -> Generator[Decode, None, None]:
        """Come to one frame after another, from frame ``start`` on.

        Raises:
            DamagedFileError: one cannot be decoded.
        """
        ...

    def is_there(self, frame: int) -> bool:
        """Return whether a frame is on the disk, whole."""
        ...

    def path(self, frame: int) -> Path | None:
        """Return the file that a frame has of its own; None in a video."""
        ...

    def stamp(self, frame: int) -> str:
        """Return what changes when the file that holds a frame does: a hash of name, size and time."""
        ...


@dataclass(frozen=True)
class Calibration:
    """Where a camera stands and how it sees."""

    pose: Float64[np.ndarray, "4 4"]
    """Camera to world, OpenGL axes (x right, y up, z back), in the data's own world."""
    K: Float64[np.ndarray, "3 3"]
    """Intrinsics in pixels of ``size``, pixel centres at +0.5."""
    size: tuple[int, int]
    """Width and height that the intrinsics are for."""
    near_far: tuple[float, float] | None = None
    """Least and largest planar depth of what the camera sees; None where the data do not say."""


@dataclass(frozen=True)
class RecordedCamera:
    """One camera of a recording; its calibration is for the size of its frames."""

    name: str
    calibration: Calibration
    frames: FrameReader


@dataclass(frozen=True)
class PointCloud:
    """Points that come with a recording."""

    xyz: Float64[np.ndarray, "P 3"]
    rgb: UInt8[np.ndarray, "P 3"]


@dataclass
class Recording:
    """Synchronised static cameras; frame i of all of them is the same moment."""

    root: Path
    layout: str
    """Name of the layout, for people."""
    cameras: tuple[RecordedCamera, ...]
    """In the natural order of their names."""
    size: tuple[int, int]
    """Width and height of all frames, pixels."""
    fps: float
    """Frames per second."""
    num_frames: int
    """Moments that all cameras have; with ``live``, those planned."""
    live: bool = False
    """Whether the cameras may still be writing."""
    points: PointCloud | None = None
    notes: tuple[str, ...] = ()
    """What was found odd but can be used, a sentence each."""
    _seen: int = field(default=0, repr=False)

    def available(self) -> int:
        """Return how many moments, from the first on without a gap, are whole in all cameras by now."""
        while self._seen < self.num_frames and all(c.frames.is_there(self._seen) for c in self.cameras):
            self._seen += 1
        return self._seen
