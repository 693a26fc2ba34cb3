"""Depth of what moves: it stands where it touches the ground."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Int32

from dyn3d_ns.video.depth.views import grown

_CONTACT_BAND = 0.04
"""Height, as a part of the image's, above the lowest point of an object that counts as touching ground."""
_REACH = 0.08
"""Height, as a part of the image's, around an object in which its surroundings are read."""
_MIN_MEASURED = 3
_BORDER = 2
"""Pixels from the image's border at which an object counts as cut off."""
_WINDOW = 4
"""Frames before and after over which an object's inverse depth is smoothed."""


class StaticFrame(NamedTuple):
    """Inverse depth of the static scene of a frame, and what moves in it."""

    disparity: Float32[np.ndarray, "H W"]
    measured: Bool[np.ndarray, "H W"]
    """Where the inverse depth is measured, not spread."""
    labels: Int32[np.ndarray, "H W"]
    """Instance ids; 0 is static."""


@dataclass(frozen=True)
class _Held:
    disparity: Float32[np.ndarray, "H W"]
    labels: Int32[np.ndarray, "H W"]
    estimates: dict[int, tuple[float, bool]]


def place_objects(
    frames: Iterable[StaticFrame],
) -> Iterator[Float32[np.ndarray, "H W"]]:
    """Give each moving object of each frame one inverse depth, smoothed over a few frames.

    Yields the inverse depth of frame after frame; as many frames as the window has are held.
    """
    held: deque[_Held] = deque()
    position = 0
    for frame in frames:
        ids = [int(k) for k in np.unique(frame.labels) if k]
        around = frame.measured & (frame.labels == 0)
        found = {k: object_disparity(frame.disparity, frame.labels == k, around) for k in ids}
        held.append(_Held(frame.disparity, frame.labels, found))
        if len(held) > 2 * _WINDOW + 1:
            held.popleft()
            position -= 1
        if len(held) - 1 - position >= _WINDOW:
            yield _placed(held, position)
            position += 1
    while position < len(held):
        yield _placed(held, position)
        position += 1


def _placed(held: deque[_Held], position: int) -> Float32[np.ndarray, "H W"]:
    """Write the smoothed inverse depth of every object into a frame."""
    frame = held[position]
    window = [held[k] for k in range(max(0, position - _WINDOW), min(len(held), position + _WINDOW + 1))]
    out = frame.disparity.copy()
    for k in frame.estimates:
        near = [h.estimates[k] for h in window if k in h.estimates]
        touching = [value for value, touches in near if touches]
        out[frame.labels == k] = np.median(touching if touching else [value for value, _ in near])
    return out


def object_disparity(
    disparity: Float32[np.ndarray, "H W"], mask: Bool[np.ndarray, "H W"], measured: Bool[np.ndarray, "H W"]
) -> tuple[float, bool]:
    """Return an object's inverse depth, and whether the ground that it touches is seen.

    It is that of the measured ground just below its lowest part. Where the lower border of the image cuts
    the object off, it is at least as near as the ground along that border, and that is taken. Where a side
    cuts it off, or nothing is measured below, it is the nearest of what surrounds it, as it hides the rest.
    """
    height, width = mask.shape
    reach = max(4, round(_REACH * height))
    columns = np.flatnonzero(mask.any(0))
    lowest = height - 1 - mask[::-1, columns].argmax(0)
    band = lowest >= lowest.max() - _CONTACT_BAND * height
    found = []
    for column, row in zip(columns[band], lowest[band], strict=True):
        below = np.flatnonzero(measured[row + 1 : row + 1 + reach, column])
        if len(below):
            found.append(disparity[row + 1 + below[0], column])
    cut_at_side = columns[band].min() <= _BORDER or columns[band].max() >= width - 1 - _BORDER
    if len(found) >= max(_MIN_MEASURED, 0.3 * band.sum()) and not cut_at_side:
        return float(np.median(found)), True
    last = disparity[height - reach :][measured[height - reach :]]
    if lowest.max() >= height - 1 - _BORDER and len(last) >= _MIN_MEASURED:
        return float(np.percentile(last, 90)), False
    ring = grown(mask, reach) & measured
    around = disparity[ring] if ring.sum() >= _MIN_MEASURED else disparity[mask]
    return float(np.percentile(around, 95)), False
