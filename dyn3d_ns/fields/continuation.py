"""Ways in which a learned motion may go on after the last observed time, each a curve of twists.

A motion may come to rest; keep or steadily change its twist about axes fixed in the world; let its centre go
on along a polynomial path while it spins; or swing. Each is fitted to a shorter or longer past.
"""

from dataclasses import dataclass, field
from itertools import product
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]
MAX_DEGREE = 4
"""Highest degree in time of a fitted twist."""
SWINGS = np.linspace(0.75, 6.0, 64)
"""Swings within the fitted past that are tried; fewer than three quarters of one say little."""


@dataclass(frozen=True)
class TwistCurve:
    """Twists ``(u, w)`` about the world's origin as a function of time: a polynomial and one frequency."""

    polynomial: Array
    """[MAX_DEGREE + 1, 6]"""
    frequency: float = 0.0
    """Radians per unit of time."""
    swing: Array = field(default_factory=lambda: np.zeros((2, 6)))
    """Factors of the cosine and the sine, [2, 6]."""

    def __call__(self, times: Array) -> Array:
        """Evaluate the twists, [T, 6]."""
        powers = np.vander(times, len(self.polynomial), increasing=True)
        phases = self.frequency * times
        waves = np.stack([np.cos(phases), np.sin(phases)], axis=1)
        return powers @ self.polynomial + waves @ self.swing


@dataclass(frozen=True)
class Past:
    """What is known of one motion, sampled on an even grid of times."""

    times: Array
    twists: Array
    """[T, 6] about the world's origin."""
    centers: Array
    """[T, 3] path of the centre of what the motion carries."""

    def last(self, window: float, least: int) -> "Past":
        """Return the last part of it, of at least so many samples."""
        start = max(0, len(self.times) - max(round(window * len(self.times)), least))
        return Past(self.times[start:], self.twists[start:], self.centers[start:])


@dataclass(frozen=True)
class Candidate:
    """One way for a motion to go on."""

    kind: Literal["rest", "twist", "center", "swing"]
    spin_degree: int = 0
    """Degree in time of the angular velocity, or of the whole twist where the axes are fixed."""
    center_degree: int = 0
    """Degree of the centre's velocity."""
    window: float = 1.0
    """Part of the past that is fitted, as a fraction of it."""

    @property
    def freedom(self) -> int:
        """Count the functions of time that are fitted, to prefer the simpler of two equally good ones."""
        if self.kind == "center":
            return self.spin_degree + self.center_degree + 2
        return {"rest": 0, "twist": 2 * self.spin_degree + 2, "swing": 5}[self.kind]

    def describe(self) -> str:
        """Say in words what goes on."""
        past = f"as over the last {self.window:.0%}"
        if self.kind == "center":
            return f"centre's velocity (degree {self.center_degree}), spin (degree {self.spin_degree}) {past}"
        twist = f"twist about fixed axes (degree {self.spin_degree}) {past}"
        return {"rest": "coming to rest", "twist": twist, "swing": f"swinging {past}"}[self.kind]

    def fit(self, past: Past) -> TwistCurve:
        """Fit the curve to the last ``window`` of the past."""
        if self.kind == "rest":
            return TwistCurve(np.zeros((MAX_DEGREE + 1, 6)))
        past = past.last(self.window, least=max(self.spin_degree + 3, 4))
        if self.kind == "twist":
            return TwistCurve(_fit_polynomial(past.times, past.twists, self.spin_degree))
        return _fit_swing(past) if self.kind == "swing" else self._fit_center(past)

    def _fit_center(self, past: Past) -> TwistCurve:
        """Fit path and spin apart; the twist about the origin is ``(c' - w x c, w)``."""
        spin = _fit_polynomial(past.times, past.twists[:, 3:], self.spin_degree)
        path = _fit_polynomial(past.times, past.centers, self.center_degree + 1)
        rate = np.concatenate([path[1:] * np.arange(1, len(path))[:, None], np.zeros((1, 3))])
        turning = np.zeros((len(path), 3))
        for i, j in product(range(len(spin)), range(len(path))):
            if i + j <= MAX_DEGREE:
                turning[i + j] += np.cross(spin[i], path[j])
        return TwistCurve(np.concatenate([rate - turning, spin], axis=1))


CANDIDATES = (
    Candidate("rest"),
    *(Candidate("twist", spin, window=window) for spin, window in product([0, 1], [0.25, 0.5, 1.0])),
    *(
        Candidate("center", spin, center, window)
        for (spin, center), window in product([(0, 0), (0, 1), (1, 1), (0, 2)], [0.25, 0.5, 1.0])
    ),
    Candidate("swing", window=0.5),
    Candidate("swing", window=1.0),
)


def _fit_polynomial(times: Array, values: Array, degree: int) -> Array:
    """Fit monomials to ``values`` [T, D]; returns [MAX_DEGREE + 1, D]."""
    powers = np.vander(times, degree + 1, increasing=True)
    solution = np.linalg.lstsq(powers, values, rcond=None)[0]
    return np.concatenate([solution, np.zeros((MAX_DEGREE - degree, values.shape[1]))])


def _fit_swing(past: Past) -> TwistCurve:
    """Fit a constant and one frequency, that of the least residual; radians count as at unit distance."""
    t, duration = past.times, float(past.times[-1] - past.times[0])
    best: tuple[float, TwistCurve] | None = None
    for frequency in 2 * np.pi * SWINGS / duration:
        design = np.stack([np.ones_like(t), np.cos(frequency * t), np.sin(frequency * t)], axis=1)
        solution = np.linalg.lstsq(design, past.twists, rcond=None)[0]
        residual = float(np.square(design @ solution - past.twists).sum())
        if best is None or residual < best[0]:
            polynomial = np.concatenate([solution[:1], np.zeros((MAX_DEGREE, 6))])
            best = residual, TwistCurve(polynomial, float(frequency), solution[1:])
    assert best is not None
    return best[1]
