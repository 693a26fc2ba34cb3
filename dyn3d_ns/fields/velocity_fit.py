"""Set a velocity field to learned motions, and to what they are most likely to do next.

Nothing is rendered, and only observed times are read. The twists of the field are fitted to the velocities of
points that mix the motions. How each motion goes on is chosen by back-testing: candidates are fitted to what
comes before the last part of the observed time and judged by where they carry the points in that part, all
motions together; the best ones are fitted again up to the last observed time.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from dyn3d_ns.fields.continuation import CANDIDATES, MAX_DEGREE, Array, Candidate, Past, TwistCurve
from dyn3d_ns.fields.keyframe_motions import KeyframeMotions
from dyn3d_ns.fields.time_basis import TimeBasis
from dyn3d_ns.fields.velocity import BasisVelocityField
from dyn3d_ns.timeline import TIME_EPS

SAMPLES = 65
"""Times at which the motions are looked at."""
POINTS = 200
"""Points a motion that are followed."""
RIDGE = 0.02
"""Weight of each motion's own twist against the velocities of the mixtures, where those leave it open."""
PARTS = (0.7, 1.3)
"""Lengths of what is predicted in the back-tests, in units of ``holdout``."""
SWEEPS = 2
"""Times that each motion's choice is gone over, given those of the others."""
SIMPLICITY = 0.05
"""Factor of the error that a function of time in a candidate has to earn."""


@dataclass(frozen=True)
class Continuation:
    """What was chosen for one motion."""

    motion: int
    candidate: Candidate
    error: float
    """Back-tested root mean square error, world units."""


@dataclass(frozen=True)
class _Mixtures:
    """Points that mix K motions, rest left out, on their way through the observed time."""

    times: Array
    codes: Array
    """[P, K] share of each motion."""
    mass: Array
    """[P] how much each point counts."""
    paths: Array
    """[T, P, 3]"""
    velocities: Array
    """[T, P, 3]"""
    twists: Array
    """[T, K, 6] of the motions themselves."""

    @property
    def shares(self) -> Array:
        """Return how much each point counts for each motion, [P, K]."""
        return self.codes * self.mass[:, None]


def _follow(
    motions: KeyframeMotions,
    points: Float[Tensor, "N 3"],
    codes: Float[Tensor, "N K"],
    mass: Float[Tensor, "N"],
) -> _Mixtures:
    """Follow the points that count most for each motion."""
    share = codes[:, 1:] * mass[:, None]
    picked = share.topk(min(POINTS, len(points)), dim=0).indices.flatten().unique()
    points, codes, mass = points[picked], codes[picked], mass[picked]
    times = np.linspace(motions.basis.t_min, motions.basis.t_max, SAMPLES)
    paths, velocities, twists = [], [], []
    for t in times:
        poses, twist = motions(float(t)), motions.twists(float(t))
        carried = torch.einsum("kij,pj->pki", poses.rotations, points) + poses.translations
        rates = twist[:, :3] + torch.linalg.cross(twist[:, 3:].expand_as(carried), carried)
        paths.append((codes[..., None] * carried).sum(1))
        velocities.append((codes[..., None] * rates).sum(1))
        twists.append(twist[1:])
    stacked = [torch.stack(x).double().cpu().numpy() for x in (paths, velocities, twists)]
    return _Mixtures(times, codes[:, 1:].double().cpu().numpy(), mass.double().cpu().numpy(), *stacked)


def _bases(points: Array) -> Array:
    """Return what the six components of a twist do at points, [P, 3, 6]: ``u + w x p``."""
    rows = np.zeros((len(points), 3, 6))
    rows[:, [0, 1, 2], [0, 1, 2]] = 1.0
    x, y, z = points.T
    rows[:, 0, 4], rows[:, 0, 5] = z, -y
    rows[:, 1, 3], rows[:, 1, 5] = -z, x
    rows[:, 2, 3], rows[:, 2, 4] = y, -x
    return rows


def fit_twists(mixtures: _Mixtures) -> Array:
    """Fit twists whose mixture at each point is the velocity there, [T, K, 6].

    A mixture of rigid motions does not move with the mixture of their twists, since each motion carries the
    point elsewhere; where all points belong to one motion the result is that motion's own twist.
    """
    z, share = mixtures.codes, mixtures.shares
    number = z.shape[1]
    pairs = np.ascontiguousarray((share[:, :, None] * z[:, None, :]).reshape(len(z), -1).T)
    found = []
    for paths, velocities, own in zip(mixtures.paths, mixtures.velocities, mixtures.twists, strict=True):
        rows = _bases(paths)
        squares = np.einsum("pia,pib->pab", rows, rows).reshape(len(rows), 36)
        normal = (pairs @ squares).reshape(number, number, 6, 6).transpose(0, 2, 1, 3)
        right = share.T @ np.einsum("pia,pi->pa", rows, velocities)
        tie = RIDGE * (share.T @ squares).reshape(number, 6, 6) + 1e-9 * np.eye(6)
        right = right + np.einsum("kab,kb->ka", tie, own)
        for k in range(number):
            normal[k, :, k, :] += tie[k]
        solution = np.linalg.solve(normal.reshape(6 * number, 6 * number), right.reshape(-1))
        found.append(solution.reshape(number, 6))
    return np.stack(found)


def _velocity(twists: Array, points: Array) -> Array:
    """Return ``u + w x p``, [..., P, 3]."""
    ux, uy, uz, wx, wy, wz = np.moveaxis(twists, -1, 0)
    x, y, z = np.moveaxis(points, -1, 0)
    return np.stack([ux + wy * z - wz * y, uy + wz * x - wx * z, uz + wx * y - wy * x], axis=-1)


def _carry(points: Array, starts: Array, middles: Array, step: float) -> Array:
    """Carry points [P, 3] by midpoint steps along their twists [C, T, P, 6]; returns [C, T, P, 3]."""
    path = []
    for t in range(starts.shape[1]):
        half = points + 0.5 * step * _velocity(starts[:, t], points)
        points = points + step * _velocity(middles[:, t], half)
        path.append(points)
    return np.stack(path, axis=1)


@dataclass(frozen=True)
class _Trial:
    """The time after one cut, and where each candidate carries each motion in it."""

    points: Array
    """[P, 3] at the cut."""
    truth: Array
    """[T, P, 3] after it."""
    twists: Array
    """[C, 2, K, T, 6]: of each candidate and motion at the steps' starts and middles."""

    def chosen(self, choices: Sequence[int]) -> Array:
        """Return the twists of each motion's choice, [2, K, T, 6]."""
        return self.twists[choices, :, range(len(choices))].transpose(1, 0, 2, 3)

    def varied(self, choices: Sequence[int], motion: int) -> Array:
        """Return the twists when one motion takes each candidate in turn, [C, 2, K, T, 6]."""
        all_of_them = np.repeat(self.chosen(choices)[None], len(self.twists), axis=0)
        all_of_them[:, :, motion] = self.twists[:, :, motion]
        return all_of_them


class _BackTest:
    """The last parts of the observed time, and how well choices of candidates predict them."""

    def __init__(
        self, mixtures: _Mixtures, motions: list[int], pasts: Sequence[Past], holdout: float
    ) -> None:
        self.codes, self.shares = mixtures.codes[:, motions], mixtures.shares[:, motions]
        self.step = float(mixtures.times[1] - mixtures.times[0])
        self.trials = [_trial(mixtures, pasts, part * holdout) for part in PARTS]
        self.own = [np.argsort(-share, kind="stable")[:POINTS] for share in self.shares.T]

    def errors(self, motion: int, twists_of: Callable[[_Trial], Array]) -> Array:
        """Return the root mean square errors of the points of one motion, world units, [C].

        Args:
            motion: The motion whose points are judged.
            twists_of: Gives the twists of all motions in a trial, [C, 2, K, T, 6].
        """
        mine = self.own[motion]
        weights = self.shares[mine, motion] / max(self.shares[mine, motion].sum(), 1e-12)
        total = 0.0
        for trial in self.trials:
            mixed = np.einsum("pk,chktd->hctpd", self.codes[mine], twists_of(trial), optimize=True)
            moved = _carry(trial.points[mine], mixed[0], mixed[1], self.step)
            squared = np.square(moved - trial.truth[:, mine]).sum(-1).mean(1)
            total = total + squared @ weights
        return np.sqrt(total / len(self.trials))

    def error(self, choices: Sequence[int], motion: int) -> float:
        """Return the error of one motion's points when the motions go on as chosen."""
        return float(self.errors(motion, lambda trial: trial.chosen(choices)[None])[0])

    def choose(self) -> list[int]:
        """Pick every motion's candidate: the best one for all of them, then the best for each in turn."""
        weight = self.shares.sum(0)
        surcharge = np.array([1 + SIMPLICITY * c.freedom for c in CANDIDATES])
        motions = range(len(weight))
        together = sum(weight[k] * self.errors(k, lambda trial: trial.twists) for k in motions) * surcharge
        choices = [int(np.argmin(together))] * len(weight)
        for _ in range(SWEEPS):
            for k in sorted(motions, key=lambda k: -weight[k]):
                errors = self.errors(k, functools.partial(_Trial.varied, choices=choices, motion=k))
                choices[k] = int(np.argmin(errors * surcharge))
        return choices


def _trial(mixtures: _Mixtures, pasts: Sequence[Past], holdout: float) -> _Trial:
    times = mixtures.times
    cut = min(max(round((1 - holdout) * len(times)), 5), len(times) - 1)
    starts = times[cut - 1 : -1]
    grids = starts, starts + 0.5 * (times[1] - times[0])
    known = [Past(p.times[:cut], p.twists[:cut], p.centers[:cut]) for p in pasts]
    curves = [[candidate.fit(past) for past in known] for candidate in CANDIDATES]
    twists = np.stack([[[curve(grid) for curve in row] for grid in grids] for row in curves])
    return _Trial(mixtures.paths[cut - 1], mixtures.paths[cut:], twists)


def _monomials_to_basis(coefficients: Array, basis: TimeBasis) -> Array:
    """Rewrite polynomials in t as polynomials in the basis' ``s``; returns [len(degrees), D]."""
    grid = basis.t_ref + basis.scale * np.linspace(-1, 1, 2 * MAX_DEGREE + 1)
    values = np.vander(grid, len(coefficients), increasing=True) @ coefficients
    s = (grid - basis.t_ref) / basis.scale
    powers = np.stack([s**d for d in basis.degrees], axis=1)
    return np.linalg.lstsq(powers, values, rcond=None)[0]


def _set_curve(
    field: BasisVelocityField, motion: int, curve: TwistCurve, times: Array, twists: Array
) -> None:
    """Let a motion of the field follow the curve at all times, and the twists at the observed ones."""
    basis, polynomials = field.basis, len(field.basis.degrees)
    solution = np.zeros((basis.size, 6))
    solution[:polynomials] = _monomials_to_basis(curve.polynomial, basis)
    splines = basis(np.asarray(times, np.float64)).double().numpy()[:, polynomials:]
    solution[polynomials:] = np.linalg.lstsq(splines, twists - curve(times), rcond=None)[0]
    field.weights[:, motion - 1] = torch.from_numpy(solution).to(field.weights)
    field.frequencies[motion - 1] = curve.frequency
    field.swings[:, motion - 1] = torch.from_numpy(curve.swing).to(field.swings)


@torch.no_grad()
def fit_velocity(
    field: BasisVelocityField,
    motions: KeyframeMotions,
    points: Float[Tensor, "N 3"],
    codes: Float[Tensor, "N K"],
    mass: Float[Tensor, "N"],
    holdout: float = 0.25,
) -> list[Continuation]:
    """Set the velocity field to the rate of the motions, and beyond the observed time to their continuation.

    Args:
        field: Field to set; its basis needs the degrees 0 to 4.
        motions: Learned motions of the observed time.
        points: Canonical points that the motions carry.
        codes: Shares of the motions in each point.
        mass: How much each point counts, such as its opacity.
        holdout: Part of the observed time that the back-test predicts.

    Returns:
        What was chosen for each motion that carries anything; nothing, and a field at rest, where all that
        was observed is one moment.
    """
    carrying = torch.nonzero((codes[:, 1:] * mass[:, None]).sum(0) > 1e-3)[:, 0] + 1
    field.weights.zero_()
    field.frequencies.zero_()
    field.swings.zero_()
    if len(carrying) == 0 or motions.basis.t_max - motions.basis.t_min < TIME_EPS:
        return []
    mixtures = _follow(motions, points, codes, mass)
    twists = fit_twists(mixtures)
    shares = mixtures.shares
    centers = np.einsum("pk,tpc->ktc", shares / shares.sum(0).clip(1e-12), mixtures.paths)
    pasts = [Past(mixtures.times, twists[:, k - 1], centers[k - 1]) for k in carrying.tolist()]
    test = _BackTest(mixtures, [k - 1 for k in carrying.tolist()], pasts, holdout)
    choices = test.choose()
    for k, past, choice in zip(carrying.tolist(), pasts, choices, strict=True):
        _set_curve(field, k, CANDIDATES[choice].fit(past), past.times, past.twists)
    return [
        Continuation(k, CANDIDATES[choice], test.error(choices, i))
        for i, (k, choice) in enumerate(zip(carrying.tolist(), choices, strict=True))
    ]
