"""Depth of what moves: it stands where it touches the ground."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Int32

from dyn3d_ns.video.depth.views import grown

_CONTACT_BAND = 0.04
"""Height, as a part of the image's, above the lowest point of an object that counts as touching ground."""
_BELOW = 3
"""Pixels below an object at which the ground is read."""
_WINDOW = 4
"""Frames before and after over which an object's inverse depth is smoothed."""


@dataclass(frozen=True)
class _Held:
    disparity: Float32[np.ndarray, "H W"]
    labels: Int32[np.ndarray, "H W"]
    estimates: dict[int, tuple[float, bool]]


def place_objects(
    frames: Iterable[tuple[Float32[np.ndarray, "H W"], Int32[np.ndarray, "H W"]]],
) -> Iterator[Float32[np.ndarray, "H W"]]:
    """Give each moving object of each frame one inverse depth, smoothed over a few frames.

    Takes and yields (inverse depth of the static scene, instance ids) frame by frame; as many frames as the
    window has are held.
    """
    held: deque[_Held] = deque()
    position = 0
    for disparity, labels in frames:
        ids = [int(k) for k in np.unique(labels) if k]
        found = {k: object_disparity(disparity, labels == k) for k in ids}
        held.append(_Held(disparity, labels, found))
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
    disparity: Float32[np.ndarray, "H W"], mask: Bool[np.ndarray, "H W"]
) -> tuple[float, bool]:
    """Return an object's inverse depth, and whether the ground that it touches is seen.

    It is that of the ground just below its lowest part. Where the image's border cuts the object off, the
    nearest of what surrounds it is taken, as it hides all that lies behind it.
    """
    height = len(mask)
    columns = np.flatnonzero(mask.any(0))
    lowest = height - 1 - mask[::-1, columns].argmax(0)
    band = lowest >= lowest.max() - _CONTACT_BAND * height
    rows, columns = lowest[band] + _BELOW, columns[band]
    inside = rows < height
    inside[inside] &= ~mask[rows[inside], columns[inside]]
    if inside.mean() >= 0.5:
        return float(np.median(disparity[rows[inside], columns[inside]])), True
    ring = grown(mask, _BELOW + 2) & ~grown(mask, _BELOW - 1)
    around = disparity[ring] if ring.any() else disparity[mask]
    return float(np.percentile(around, 90)), False
