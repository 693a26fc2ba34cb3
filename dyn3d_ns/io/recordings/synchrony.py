"""Tell a camera that runs ahead or behind, from how much moves in each camera's picture when."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float32, Float64, UInt8

FRAMES = 60
"""Frames that are looked at, from the first on."""
MAX_LAG = 15
"""Frames that a camera is shifted by at most."""
_LEAST_FRAMES = 2 * MAX_LAG + 4
_MARGIN, _LEAST = 0.28, 0.5
"""By how much another lag must correlate better than none, and at least how well."""
_GREY = (64, 48)


class Shift(NamedTuple):
    """A camera that fits better when shifted."""

    camera: int
    lag: int
    """Frames that it is behind the others; negative where it is ahead."""
    correlation: float
    """With the other cameras at that lag, -1..1."""
    unshifted: float
    """And at none."""


class SynchronyCheck:
    """Collects small grey frames of the first moments as they are decoded anyway, then judges once."""

    def __init__(self, cameras: Sequence[str], num_frames: int) -> None:
        """Take the names of the cameras and the length of the recording."""
        self._names, self._count = tuple(cameras), min(num_frames, FRAMES)
        self._grey: list[dict[int, np.ndarray]] = [{} for _ in cameras]
        self._lock = threading.Lock()
        self._open = len(cameras) > 2 and self._count >= _LEAST_FRAMES

    def add(self, camera: int, frame: int, image: UInt8[np.ndarray, "H W 3"]) -> list[str]:
        """Take an image of a camera; return the warnings once, with the last image that was missing."""
        if not self._open or frame >= self._count or frame in self._grey[camera]:
            return []
        small = cv2.resize(image, _GREY, interpolation=cv2.INTER_AREA)
        grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
        with self._lock:
            self._grey[camera][frame] = np.asarray(grey)
            if not self._open or any(len(found) < self._count for found in self._grey):
                return []
            self._open = False
            energies = np.stack([motion_energy(self._series(c)) for c in range(len(self._names))])
            self._grey = [{} for _ in self._names]
        return [self._warning(shift) for shift in find_shifts(energies)]

    def _series(self, camera: int) -> Float32[np.ndarray, "T h w"]:
        found = self._grey[camera]
        return np.stack([found[i] for i in range(self._count)]).astype(np.float32)

    def _warning(self, shift: Shift) -> str:
        name = self._names[shift.camera]
        return (
            f"{name} seems to be {abs(shift.lag)} frames {'behind' if shift.lag > 0 else 'ahead of'} the "
            f"other cameras: its motion correlates {shift.correlation:.2f} with theirs there and "
            f"{shift.unshifted:.2f} as it is; use --drop-cameras {name} if so"
        )


def motion_energy(grey: Float32[np.ndarray, "T h w"]) -> Float64[np.ndarray, "T1"]:
    """Return the root mean square of the difference of each frame to the next."""
    return np.sqrt((np.diff(grey.astype(np.float64), axis=0) ** 2).mean((1, 2)))


def find_shifts(energies: Float64[np.ndarray, "C T1"]) -> list[Shift]:
    """Find the cameras whose motion energy fits the median of the others better at another lag.

    What moves towards one camera moves across another, so that synchronous cameras too fit a little better a
    few frames off; a shift must fit much better.
    """
    spread = energies.std(axis=1, keepdims=True)
    energies = (energies - energies.mean(axis=1, keepdims=True)) / np.maximum(spread, 1e-9)
    found = []
    for camera in range(len(energies)):
        others = np.median(np.delete(energies, camera, axis=0), axis=0)
        lags = range(-MAX_LAG, MAX_LAG + 1)
        fits = [_correlation(energies[camera], others, lag) for lag in lags]
        best, unshifted = int(np.argmax(fits)), fits[MAX_LAG]
        if abs(lags[best]) > 1 and fits[best] > max(unshifted + _MARGIN, _LEAST):
            found.append(Shift(camera, lags[best], fits[best], unshifted))
    return found


def _correlation(series: np.ndarray, others: np.ndarray, lag: int) -> float:
    count = len(series)
    a, b = (series[lag:], others[: count - lag]) if lag >= 0 else (series[:lag], others[-lag:])
    a, b = a - a.mean(), b - b.mean()
    return float(a @ b / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-9))
