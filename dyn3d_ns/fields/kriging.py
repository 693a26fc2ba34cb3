"""Ways in which a motion may go on after its last observed time, as Gaussian processes of time.

Each way is a kernel and the degree of a polynomial beside it. What it predicts is linear in the past and the
same for every coordinate: a matrix from observed to later times (kriging). Time counts in units of the
observed one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]
NOISE = 1e-2
"""Standard deviation of what is observed, relative to that of the motion."""
FREE = 1e3
"""Standard deviation of the polynomial's coefficients: free, for all that matters."""
HARMONICS = 6
"""Harmonics of a beat; the h-th has the standard deviation h^-2."""
LEFT, MEMORY = 0.1, 0.1
"""Standard deviation of what a periodic motion leaves, relative to it, and the time over which it lasts."""
BEATS_COUNT = 15.0
"""A family of so many ways or more counts as so many times one way less of each."""
SAME_BEAT = 0.1
"""Beats in the observed time by which the beats of two bodies may differ."""


@dataclass(frozen=True)
class Way:
    """A kernel: a motion goes on beating, or its rate dies away."""

    beats: float = 0.0
    """Beats in the observed time; 0 where there are none."""
    coast: float = 0.0
    """Time over which the rate dies away, where nothing beats."""
    harmonics: int = HARMONICS
    """Harmonics of the beat; 1 for what a spring or a pendulum does."""

    def kernel(self, s: Array, t: Array) -> Array:
        """Evaluate the kernel, of unit size."""
        return self._beating(s - t) if self.beats else self._coasting(s, t)

    def _beating(self, apart: Array) -> Array:
        """Return a periodic kernel, and a Matern kernel (nu = 3/2) for what it leaves."""
        cosine = np.cos(2 * np.pi * self.beats * apart)
        before, this, waves = np.ones_like(cosine), cosine, np.zeros_like(cosine)
        for h in range(1, self.harmonics + 1):
            waves += h**-4.0 * this
            before, this = this, 2 * cosine * this - before
        waves /= sum(h**-4.0 for h in range(1, self.harmonics + 1))
        near = np.sqrt(3.0) * np.abs(apart) / MEMORY
        return waves + LEFT**2 * (1 + near) * np.exp(-near)

    def _coasting(self, s: Array, t: Array) -> Array:
        """Return the kernel of a place whose rate is an Ornstein-Uhlenbeck process, from time zero on."""
        s, t, apart = s / self.coast, t / self.coast, np.abs(s - t) / self.coast
        return 2 * np.minimum(s, t) - 1 - np.exp(-apart) + np.exp(-s) + np.exp(-t)


def predict(
    ways: Sequence[Way], degree: int, observed: Array, later: Sequence[tuple[int, Array]]
) -> list[tuple[Array, Array]]:
    """Return the matrices that take values at observed times to the expected ones at later times.

    Args:
        ways: Kernels.
        degree: Degree of the polynomial in time that is added, its coefficients free.
        observed: [T] times from 0 to 1.
        later: How many of the observed times are known, and the F times to predict from these.

    Returns:
        For each of ``later`` the matrices [ways, F, T], and [ways, 2, T] that give the polynomial's value at
        the middle of the observed time and its slope (0 for degree 0).
    """
    everything = np.concatenate([observed, *(times for _, times in later)])
    powers = np.vander(everything - 0.5, degree + 1, increasing=True)
    trend = FREE**2 * powers @ powers.T
    kernels = np.stack([way.kernel(everything[: len(observed), None], everything[None]) for way in ways])
    kernels += trend[: len(observed)]
    found, at = [], len(observed)
    for number, times in later:
        known = kernels[:, :number, :number] + NOISE**2 * np.eye(number)
        middle = np.zeros((number, 2))
        middle[:, : degree + 1] = FREE**2 * powers[:number, : min(degree + 1, 2)]
        right = kernels[:, :number, at : at + len(times)]
        both = np.concatenate([right, np.broadcast_to(middle, (len(ways), number, 2))], axis=2)
        solution = np.linalg.solve(known, both).transpose(0, 2, 1)
        found.append((solution[:, :-2], solution[:, -2:]))
        at += len(times)
    return found


Kind = Literal["rest", "steady", "change", "beat"]


@dataclass(frozen=True)
class Family:
    """Ways of one kind that differ in their kernels only."""

    kind: Kind
    frame: int
    """0 at rest, 1 spinning, 2 of steady twist."""
    degrees: tuple[int, int, int]
    """Of the polynomials for the centre, the rotation and the latent motions."""
    ways: tuple[Way, ...]


def _families() -> list[Family]:
    coasts = (0.03, 0.1, 0.3, 1.0)
    swings = tuple(Way(beats=float(b), harmonics=1) for b in np.arange(0.2, 1.0, 0.025))
    beats = [*np.arange(0.7, 3.0, 0.1), *np.arange(3.0, 8.0, 0.2)]
    beating = tuple(Way(beats=float(b)) for b in beats)
    trend = (Way(coast=coasts[0]),)
    return [
        *(Family("rest", 0, (0, 0, 0), (Way(coast=c),)) for c in coasts),
        *(Family("steady", 2, (0, 0, 0), (Way(coast=c),)) for c in coasts[1:]),
        Family("steady", 1, (1, 1, 0), trend),
        Family("steady", 2, (1, 1, 0), trend),
        Family("change", 1, (2, 1, 0), trend),
        Family("change", 1, (2, 2, 0), trend),
        Family("change", 2, (2, 2, 0), trend),
        Family("beat", 0, (0, 0, 0), swings),
        Family("beat", 0, (0, 0, 0), beating),
        Family("beat", 0, (1, 0, 0), beating),
        Family("beat", 1, (1, 1, 0), beating),
        Family("beat", 2, (1, 1, 0), beating),
    ]


FAMILIES = _families()
BEATS = np.array([way.beats for family in FAMILIES for way in family.ways])
PRIOR = np.concatenate([np.full(len(f.ways), 1 / min(len(f.ways), BEATS_COUNT)) for f in FAMILIES])

SAME = np.exp(-0.5 * np.square((BEATS[:, None] - BEATS) / SAME_BEAT)) * np.outer(BEATS > 0, BEATS > 0)
"""How much the beats of two ways are the same one."""


def parts(weights: Array) -> list[Array]:
    """Split weights of all ways by family."""
    return np.split(weights, np.cumsum([len(family.ways) for family in FAMILIES])[:-1])
