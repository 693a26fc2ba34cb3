"""Which of many frames a format must keep, where its readers interpolate between those that it has."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float

from dyn3d_ns.io.ply import SH_C0

COLOR_ERROR = 0.02
"""By how much a colour (0..1, mean over the directions, times opacity) may be off between frames kept."""
Offsets = Callable[[np.ndarray, np.ndarray], Float[np.ndarray, "N D"]]


class Keys:
    """Finds the frames between which straight ways miss the frames left out by at most a bound.

    Frames are given one after the other, and none but the last is held: what each of them allows is kept as
    the range of slopes, seen from the last key, that pass it within the bound.
    """

    def __init__(
        self,
        first: np.ndarray,
        bound: float | Float[np.ndarray, "N"],
        offsets: Offsets | None = None,
        times: Sequence[float] | None = None,
    ) -> None:
        """Begin at a frame, which is a key.

        Args:
            first: Its values, [N, ...].
            bound: Largest distance that a frame left out may be off by, one for all or one a row.
            offsets: Ways from the values of one frame to those of another; differences if None.
            times: Of the frames, in which readers go evenly from key to key; evenly spaced if None.
        """
        self._times = times
        self._offsets = offsets or (lambda start, end: (end - start).reshape(len(start), -1))
        self._bound = np.asarray(bound, np.float32)
        self._begin(0, first)

    def _begin(self, index: int, values: np.ndarray) -> None:
        self._anchor, self._index = values, index
        self._range: tuple[np.ndarray, np.ndarray] | None = None
        self._last = index, values

    def key_before(self, index: int, values: np.ndarray) -> int | None:
        """Take the next frame; return the number of the frame before it if that has to be kept.

        The last frame given is a key too, which nobody says.
        """
        if not self._fits(index, values):
            before, kept = self._last
            self._begin(before, kept)
            self._fits(index, values)
            self._last = index, values
            return before
        self._last = index, values
        return None

    def _fits(self, index: int, values: np.ndarray) -> bool:
        """Whether the way to a frame passes those since the key within the bound; note what it allows."""
        begin = self._index
        steps = index - begin if self._times is None else self._times[index] - self._times[begin]
        slopes = self._offsets(self._anchor, values)
        slopes *= np.float32(1 / steps)
        # A bound on the distance is one on each of D coordinates.
        bound = self._bound / np.float32(np.sqrt(slopes.shape[1]) * steps)
        reach = bound[:, None] if bound.ndim else bound
        if self._range is None:
            self._range = slopes - reach, slopes + reach
            return True
        low, high = self._range
        if (slopes < low).any() or (slopes > high).any():
            return False
        np.maximum(low, slopes - reach, out=low)
        np.minimum(high, slopes + reach, out=high)
        return True


def color_bound(opacities: Float[np.ndarray, "N"]) -> Float[np.ndarray, "N"]:
    """Return by how much the coefficients of colours may be off as a vector, such that ``COLOR_ERROR`` holds.

    Spherical harmonics are orthogonal: the mean square of a colour over the directions is that of its
    coefficients, times the constant one's square.
    """
    return COLOR_ERROR / (SH_C0 * np.maximum(opacities, 1e-3))


def turn_vectors(start: Float[np.ndarray, "N 4"], end: Float[np.ndarray, "N 4"]) -> Float[np.ndarray, "N 3"]:
    """Return the rotation vectors (radians) of the short way from one orientation (wxyz) to another."""
    aw, bw, a, b = start[:, :1], end[:, :1], start[:, 1:], end[:, 1:]
    cosine = aw * bw + (a * b).sum(1, keepdims=True)
    vector = (aw * b - bw * a + np.cross(a, b)) * np.where(cosine < 0, -1, 1)
    sine = np.linalg.norm(vector, axis=1, keepdims=True)
    angle = 2 * np.arctan2(sine, np.abs(cosine))
    return vector * np.where(sine > 1e-7, angle / np.maximum(sine, 1e-7), 2)


def extent_of(means: Float[np.ndarray, "N 3"]) -> float:
    """Return the diagonal of the box that holds all but the outermost hundredth of Gaussians."""
    low, high = np.percentile(means, [0.5, 99.5], axis=0)
    return float(np.linalg.norm(high - low)) or 1.0
