"""Images of a split that are decoded when they are asked for, and may be recorded only then."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from jaxtyping import UInt8


class FrameSource(Protocol):
    """The images of a split, in its order; memory does not grow with their number.

    Moments are counted from 0 over the times of the recording.
    """

    def image(self, index: int) -> UInt8[np.ndarray, "H W 3"]:
        """Return an image at the size of its camera; shared, not to be written to.

        Raises:
            DatasetError: it cannot be decoded, or is not recorded yet.
        """
        ...

    def is_ready(self, index: int) -> bool:
        """Return whether an image can be had without decoding others before it."""
        ...

    def latest(self) -> int:
        """Return how many moments are recorded by now, whole in all cameras."""
        ...

    def wait(self, moment: int, timeout: float) -> bool:
        """Wait until a moment is recorded, at most so many seconds; return whether it is."""
        ...

    def lacking(self, moment: int) -> list[str]:
        """Return the names of the cameras whose image of a moment is not there, or not whole."""
        ...


class JoinedFrames:
    """The images of several splits after one another."""

    def __init__(self, parts: Sequence[FrameSource], counts: Sequence[int]) -> None:
        self._parts, self._starts = tuple(parts), np.cumsum([0, *counts]).tolist()

    def image(self, index: int) -> UInt8[np.ndarray, "H W 3"]:
        """Return an image."""
        part, inside = self._of(index)
        return part.image(inside)

    def is_ready(self, index: int) -> bool:
        """Return whether an image can be had without decoding others before it."""
        part, inside = self._of(index)
        return part.is_ready(inside)

    def latest(self) -> int:
        """Return how many moments all parts have."""
        return min(part.latest() for part in self._parts)

    def wait(self, moment: int, timeout: float) -> bool:
        """Wait until all parts have a moment, each for so many seconds at most."""
        return all(part.wait(moment, timeout) for part in self._parts)

    def lacking(self, moment: int) -> list[str]:
        """Return the names of the cameras whose image of a moment is not there, or not whole."""
        return sorted({name for part in self._parts for name in part.lacking(moment)})

    def _of(self, index: int) -> tuple[FrameSource, int]:
        part = bisect_right(self._starts, index) - 1
        return self._parts[part], index - self._starts[part]
