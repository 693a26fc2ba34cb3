"""Fit a velocity field to learned motions, and choose by back-testing how each motion goes on into the
future.

Nothing is rendered. Each motion has a few candidate continuations: a constant or slowly changing twist about
a fixed axis, or a centre on a polynomial path with a steady or changing spin, each fitted to a shorter or
longer past. A candidate is fitted to what comes before the last part of the observed time and judged by where
it puts the motion's points in that part. The best is fitted again up to the last observed time. Only observed
times are read.
"""

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from dyn3d_ns.fields.keyframe_motions import KeyframeMotions
from dyn3d_ns.fields.time_basis import TimeBasis
from dyn3d_ns.fields.velocity import BasisVelocityField

Array = NDArray[np.floating[Any]]
MAX_DEGREE = 4
"""Highest degree in time of a fitted twist."""


@dataclass(frozen=True)
class Candidate:
    """One way for a motion to go on."""

    center_degree: int | None
    """Degree of the centre's velocity; None for a twist about axes fixed in the world."""
    spin_degree: int
    """Degree of the angular velocity, or of the whole twist where the axes are fixed."""
    window: float
    """Part of the past that is fitted, as a fraction of it."""

    @property
    def freedom(self) -> int:
        """Count the polynomial coefficients, to prefer the simpler of two equally good ones."""
        return (
            (self.spin_degree + 1)
            + (self.spin_degree if self.center_degree is None else self.center_degree)
            + 1
        )

    def describe(self) -> str:
        """Say in words what goes on."""
        past = f"the last {self.window:.0%}"
        if self.center_degree is None:
            return f"twist about fixed axes (degree {self.spin_degree}) as over {past}"
        center = f"centre's velocity (degree {self.center_degree})"
        return f"{center} and spin (degree {self.spin_degree}) as over {past}"


CANDIDATES = tuple(
    Candidate(center, spin, window)
    for (center, spin), window in product(
        [(None, 0), (None, 1), (0, 0), (1, 0), (1, 1), (2, 0)], [0.25, 0.5, 1.0]
    )
)


@dataclass(frozen=True)
class _Track:
    """One motion sampled on an even grid of observed times."""

    times: Array
    twists: Array
    """[T, 6] about the world's origin."""
    centers: Array
    """[T, 3] path of the centre of what the motion carries."""
    points: Array
    """[T, P, 3] paths of points that the motion carries."""


def _fit_polynomial(times: Array, values: Array, degree: int) -> Array:
    """Fit monomials to ``values`` [T, D]; returns [MAX_DEGREE + 1, D]."""
    powers = np.vander(times, degree + 1, increasing=True)
    solution = np.linalg.lstsq(powers, values, rcond=None)[0]
    return np.concatenate([solution, np.zeros((MAX_DEGREE - degree, values.shape[1]))])


def _evaluate(coefficients: Array, times: Array | float) -> Array:
    return np.vander(np.atleast_1d(times), len(coefficients), increasing=True) @ coefficients


def _fit_twist(track: _Track, candidate: Candidate, start: int, stop: int) -> Array:
    """Fit the candidate to the samples ``start:stop``; returns twist coefficients [MAX_DEGREE + 1, 6]."""
    times, twists = track.times[start:stop], track.twists[start:stop]
    if candidate.center_degree is None:
        return _fit_polynomial(times, twists, candidate.spin_degree)
    spin = _fit_polynomial(times, twists[:, 3:], candidate.spin_degree)
    path = _fit_polynomial(times, track.centers[start:stop], candidate.center_degree + 1)
    rate = np.concatenate([path[1:] * np.arange(1, len(path))[:, None], np.zeros((1, 3))])
    turning = np.zeros((len(path), 3))
    for i, j in product(range(len(spin)), range(len(path))):
        if i + j <= MAX_DEGREE:
            turning[i + j] += np.cross(spin[i], path[j])
    return np.concatenate([rate - turning, spin], axis=1)


def _predict(coefficients: Array, points: Array, times: Array) -> Array:
    """Carry points [P, 3] along the twist by midpoint steps through ``times``; returns [T - 1, P, 3]."""
    path = []
    for t0, t1 in zip(times[:-1], times[1:], strict=True):
        start, middle = _evaluate(coefficients, t0)[0], _evaluate(coefficients, 0.5 * (t0 + t1))[0]
        half = points + 0.5 * (t1 - t0) * (start[:3] + np.cross(start[3:], points))
        points = points + (t1 - t0) * (middle[:3] + np.cross(middle[3:], half))
        path.append(points)
    return np.stack(path)


def _window_start(stop: int, candidate: Candidate) -> int:
    return max(0, stop - max(round(candidate.window * stop), candidate.spin_degree + 3, 4))


def choose_continuation(track: _Track, holdout: float) -> tuple[Candidate, Array, float]:
    """Back-test every candidate on the last ``holdout`` of the track and fit the best to all of it.

    Returns:
        The candidate, its twist coefficients [MAX_DEGREE + 1, 6], and its root mean square error in world
        units.
    """
    total = len(track.times)
    cut = min(max(round((1 - holdout) * total), 5), total - 1)
    best: tuple[float, float, Candidate] | None = None
    for candidate in CANDIDATES:
        coefficients = _fit_twist(track, candidate, _window_start(cut, candidate), cut)
        predicted = _predict(coefficients, track.points[cut - 1], track.times[cut - 1 :])
        error = float(np.sqrt(np.mean(np.sum((predicted - track.points[cut:]) ** 2, axis=-1))))
        score = error * (1 + 0.05 * candidate.freedom)
        if best is None or score < best[0]:
            best = (score, error, candidate)
    assert best is not None
    chosen = best[2]
    return chosen, _fit_twist(track, chosen, _window_start(total, chosen), total), best[1]


def _monomials_to_basis(coefficients: Array, basis: TimeBasis) -> Array:
    """Rewrite polynomials in t as polynomials in the basis' ``s``; returns [len(degrees), D]."""
    grid = basis.t_ref + basis.scale * np.linspace(-1, 1, 2 * MAX_DEGREE + 1)
    values = _evaluate(coefficients, grid)
    s = (grid - basis.t_ref) / basis.scale
    powers = np.stack([s**d for d in basis.degrees], axis=1)
    return np.linalg.lstsq(powers, values, rcond=None)[0]


@dataclass(frozen=True)
class Continuation:
    """What was chosen for one motion."""

    motion: int
    candidate: Candidate
    error: float
    """Back-tested root mean square error, world units."""


@torch.no_grad()
def fit_velocity(
    field: BasisVelocityField,
    motions: KeyframeMotions,
    points: Float[Tensor, "N 3"],
    weights: Float[Tensor, "N K"],
    holdout: float = 0.25,
    samples: int = 256,
) -> list[Continuation]:
    """Set the velocity field to the rate of the motions, and beyond the observed time to their continuation.

    Args:
        field: Field to set; its basis needs the degrees 0 to 4.
        motions: Learned motions of the observed time.
        points: Canonical points that the motions carry.
        weights: How much of each point each motion carries, not negative.
        holdout: Part of the observed time that the back-test predicts.
        samples: Points per motion that the back-test follows.
    """
    basis = field.basis
    times = np.linspace(motions.basis.t_min, motions.basis.t_max, 65)
    poses = [motions(float(t)) for t in times]
    twists = torch.stack([motions.twists(float(t)) for t in times]).double().cpu().numpy()
    design = basis(times).double().numpy()
    polynomials = len(basis.degrees)
    chosen = []
    for k in range(1, motions.num_motions):
        mass = weights[:, k]
        if float(mass.sum()) <= 1e-3:
            field.weights[:, k - 1] = 0
            continue
        top = mass.topk(min(samples, len(mass))).indices
        carried = (
            torch.stack([points[top] @ p.rotations[k].T + p.translations[k] for p in poses])
            .double()
            .cpu()
            .numpy()
        )
        share = (mass[top] / mass[top].sum()).double().cpu().numpy()
        track = _Track(times, twists[:, k], (carried * share[None, :, None]).sum(1), carried)
        candidate, coefficients, error = choose_continuation(track, holdout)
        solution = np.zeros((basis.size, 6))
        solution[:polynomials] = _monomials_to_basis(coefficients, basis)
        rest = twists[:, k] - design[:, :polynomials] @ solution[:polynomials]
        solution[polynomials:] = np.linalg.lstsq(design[:, polynomials:], rest, rcond=None)[0]
        field.weights[:, k - 1] = torch.from_numpy(solution).to(field.weights)
        chosen.append(Continuation(k, candidate, error))
    return chosen
