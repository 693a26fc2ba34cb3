"""Bundle adjustment of poses, points and one focal length: sparse Levenberg-Marquardt in numpy.

The normal equations are reduced to the cameras with the Schur complement (Triggs et al. 2000, section 6),
in chunks of points, so that memory grows with the number of cameras squared and not with the points.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from dyn3d_ns.video.cameras.projection import (
    camera_points,
    project,
    rotation_of,
    skew_rows,
    sum_rows,
)

_NEAR = 1e-6
"""Depth at which a point counts as behind its camera."""
_CHUNK_ENTRIES = 4_000_000
"""Entries of the camera-point block that are held at once (32 MB)."""


class Observations(NamedTuple):
    """Where points were seen: one row an observation, each point at most once in a frame."""

    frames: Int[np.ndarray, "O"]
    """Index of the camera."""
    points: Int[np.ndarray, "O"]
    """Index of the point."""
    pixels: Float[np.ndarray, "O 2"]
    """Position in pixels; integer coordinates are pixel centres."""

    def select(self, keep: Bool[np.ndarray, "O"] | Int[np.ndarray, "M"]) -> Observations:
        """Return some of the observations."""
        return Observations(self.frames[keep], self.points[keep], self.pixels[keep])


@dataclass(frozen=True)
class Bundle:
    """Cameras with one focal length, and points."""

    rotations: Float[np.ndarray, "F 3 3"]
    """World-to-camera rotations (OpenCV axes)."""
    translations: Float[np.ndarray, "F 3"]
    """World-to-camera translations."""
    points: Float[np.ndarray, "P 3"]
    """World positions."""
    focal: float
    """Focal length in pixels, the same for all cameras."""
    center: tuple[float, float]
    """Principal point in pixels, fixed."""

    @property
    def positions(self) -> Float[np.ndarray, "F 3"]:
        """Return the camera centres in the world."""
        return -np.einsum("fji,fj->fi", self.rotations, self.translations)


@dataclass(frozen=True)
class BundleOptions:
    """What is adjusted, and how long."""

    free_focal: bool = True
    """Adjust the focal length."""
    free_translations: bool = True
    """Adjust the cameras' positions; without, points are directions seen from one place."""
    fixed_frames: tuple[int, ...] = (0,)
    """Cameras that stay where they are; they hold the gauge."""
    robust_scale: float = 1.0
    """Residual (pixels) from which the Cauchy loss forgives."""
    max_iterations: int = 50
    """Steps of Levenberg-Marquardt at most."""
    tolerance: float = 1e-6
    """Stop when a step lowers the cost by less than this fraction."""
    focal_prior: float | None = None
    """Focal length (pixels) that is thought likely, if any."""
    focal_prior_sigma: float = 0.5
    """Its uncertainty as a standard deviation of log focal."""


@dataclass(frozen=True)
class BundleResult:
    """An adjusted bundle and how well it fits."""

    bundle: Bundle
    residuals: Float[np.ndarray, "O"]
    """Reprojection error of each observation in pixels; infinite behind the camera."""
    cost: float
    """Mean robust cost of an observation in squared pixels."""
    iterations: int


@dataclass
class NormalBlocks:
    """Blocks of the normal equations."""

    cameras: Float[np.ndarray, "F 6 6"]
    cameras_focal: Float[np.ndarray, "F 6"]
    focal: float
    camera_gradient: Float[np.ndarray, "F 6"]
    focal_gradient: float
    points: Float[np.ndarray, "P 3 3"]
    point_gradient: Float[np.ndarray, "P 3"]
    coupling: Float[np.ndarray, "O 6 3"]
    focal_coupling: Float[np.ndarray, "P 3"]


def adjust_bundle(bundle: Bundle, seen: Observations, options: BundleOptions) -> BundleResult:
    """Minimise the robust reprojection error (Cauchy) over what the options leave free.

    Raises:
        ValueError: there is no observation, or one names a camera or a point that does not exist.
    """
    _check(bundle, seen)
    order = np.argsort(seen.points, kind="stable")
    seen_sorted = seen.select(order)
    damping, growth, iteration = 1e-4, 2.0, 0
    cost = _cost(bundle, seen_sorted, options)
    system = _normal_equations(bundle, seen_sorted, options)
    for iteration in range(1, options.max_iterations + 1):  # noqa: B007 - reported after the loop
        candidate = _step(bundle, seen_sorted, system, damping, options)
        new_cost = _cost(candidate, seen_sorted, options) if candidate is not None else np.inf
        if candidate is not None and new_cost < cost:
            done = cost - new_cost < options.tolerance * cost
            bundle, cost = candidate, new_cost
            if done:
                break
            damping, growth = max(damping / 5.0, 1e-12), 2.0
            system = _normal_equations(bundle, seen_sorted, options)
        else:
            damping, growth = damping * growth, growth * 2.0
            if damping > 1e12:
                break
    return BundleResult(bundle, reprojection_errors(bundle, seen), float(cost), iteration)


def reprojection_errors(bundle: Bundle, seen: Observations) -> Float[np.ndarray, "O"]:
    """Return the distance in pixels of each observation from its point's image; infinite behind."""
    at = camera_points(bundle.rotations, bundle.translations, bundle.points, seen.frames, seen.points)
    errors = np.linalg.norm(project(at, bundle.focal, bundle.center) - seen.pixels, axis=1)
    return np.where(at[:, 2] > _NEAR, errors, np.inf)


def robust_cost(errors: Float[np.ndarray, "O"], scale: float) -> float:
    """Return the mean Cauchy cost s^2 log(1 + e^2 / s^2) in squared pixels; errors are cut at 1e3 px."""
    return float(scale**2 * np.log1p((np.minimum(errors, 1e3) / scale) ** 2).mean())


def _check(bundle: Bundle, seen: Observations) -> None:
    if len(seen.frames) == 0:
        raise ValueError("no observation to adjust the cameras by")
    if seen.frames.max() >= len(bundle.rotations) or seen.points.max() >= len(bundle.points):
        raise ValueError(
            f"an observation names camera {seen.frames.max()} and point {seen.points.max()} at most, but "
            f"there are {len(bundle.rotations)} cameras and {len(bundle.points)} points"
        )


def _cost(bundle: Bundle, seen: Observations, options: BundleOptions) -> float:
    cost = robust_cost(reprojection_errors(bundle, seen), options.robust_scale)
    if options.focal_prior is not None:
        cost += _prior_weight(options) * np.log(bundle.focal / options.focal_prior) ** 2
    return cost


def _prior_weight(options: BundleOptions) -> float:
    """Return the prior's weight against the mean cost.

    Errors of tracks are correlated, so all observations together count as 50 independent ones.
    """
    return 0.02 * options.robust_scale**2 / options.focal_prior_sigma**2


def _normal_equations(bundle: Bundle, seen: Observations, options: BundleOptions) -> NormalBlocks:
    system = normal_blocks(bundle, seen, options.robust_scale)
    if options.focal_prior is not None:
        pull = _prior_weight(options) * len(seen.frames)
        system.focal += pull
        system.focal_gradient += pull * float(np.log(bundle.focal / options.focal_prior))
    return system


def normal_blocks(bundle: Bundle, seen: Observations, robust_scale: float) -> NormalBlocks:
    """Return the blocks of the normal equations of the robust reprojection error at a bundle."""
    frames, points = seen.frames, seen.points
    rotated = np.einsum("oij,oj->oi", bundle.rotations[frames], bundle.points[points])
    at = rotated + bundle.translations[frames]
    valid = at[:, 2] > _NEAR
    z = np.where(valid, at[:, 2], 1.0)
    normalized = at[:, :2] / z[:, None]
    residual = bundle.focal * normalized + np.asarray(bundle.center) - seen.pixels
    weight = valid / (1.0 + (residual**2).sum(1) / robust_scale**2)
    along = np.zeros((len(z), 2, 3))
    along[:, 0, 0] = along[:, 1, 1] = bundle.focal / z
    along[:, :, 2] = -bundle.focal * normalized / z[:, None]
    by_camera = np.concatenate((along @ -skew_rows(rotated), along), axis=2)
    by_point = along @ bundle.rotations[frames]
    by_focal = bundle.focal * normalized
    weighted_camera = by_camera * weight[:, None, None]
    weighted_point = by_point * weight[:, None, None]
    count_f, count_p = len(bundle.rotations), len(bundle.points)
    return NormalBlocks(
        cameras=sum_rows(weighted_camera.transpose(0, 2, 1) @ by_camera, frames, count_f),
        cameras_focal=sum_rows(np.einsum("oki,ok->oi", weighted_camera, by_focal), frames, count_f),
        focal=float((weight * (by_focal**2).sum(1)).sum()),
        camera_gradient=sum_rows(np.einsum("oki,ok->oi", weighted_camera, residual), frames, count_f),
        focal_gradient=float((weight * (by_focal * residual).sum(1)).sum()),
        points=sum_rows(weighted_point.transpose(0, 2, 1) @ by_point, points, count_p),
        point_gradient=sum_rows(np.einsum("oki,ok->oi", weighted_point, residual), points, count_p),
        coupling=weighted_camera.transpose(0, 2, 1) @ by_point,
        focal_coupling=sum_rows(np.einsum("oki,ok->oi", weighted_point, by_focal), points, count_p),
    )


def _step(
    bundle: Bundle, seen: Observations, system: NormalBlocks, damping: float, options: BundleOptions
) -> Bundle | None:
    """Solve the damped normal equations; None if they are singular."""
    count = len(bundle.rotations)
    size = 6 * count + 1
    reduced = np.zeros((size, size))
    for k in range(count):
        reduced[6 * k : 6 * k + 6, 6 * k : 6 * k + 6] = system.cameras[k]
    reduced[-1, :-1] = reduced[:-1, -1] = system.cameras_focal.ravel()
    reduced[-1, -1] = system.focal
    diagonal = np.arange(size)
    reduced[diagonal, diagonal] *= 1.0 + damping
    gradient = np.append(system.camera_gradient.ravel(), system.focal_gradient)
    inverse = _damped_inverse(system.points, damping)
    _eliminate_points(reduced, gradient, seen, system, inverse)
    _hold_fixed(reduced, gradient, count, options)
    try:
        step = np.linalg.solve(reduced, -gradient)
    except np.linalg.LinAlgError:
        return None
    if not np.isfinite(step).all():
        return None
    return _apply(bundle, seen, system, inverse, step)


def _damped_inverse(blocks: Float[np.ndarray, "P 3 3"], damping: float) -> Float[np.ndarray, "P 3 3"]:
    """Invert the points' blocks; the direction of a single ray, which is not seen, stays put."""
    blocks = blocks.copy()
    axis = np.arange(3)
    trace = blocks[:, axis, axis].sum(1, keepdims=True)
    blocks[:, axis, axis] += damping * blocks[:, axis, axis] + 1e-9 * trace + 1e-12
    return np.linalg.inv(blocks)


def _eliminate_points(
    reduced: Float[np.ndarray, "S S"],
    gradient: Float[np.ndarray, "S"],
    seen: Observations,
    system: NormalBlocks,
    inverse: Float[np.ndarray, "P 3 3"],
) -> None:
    """Subtract the points' part from the cameras' equations, chunk by chunk."""
    size, count = len(gradient), len(inverse)
    chunk = max(1, _CHUNK_ENTRIES // (3 * size))
    # With the Cholesky factor L of a point's inverse, its part is Y Y^T for Y = coupling L.
    factor = np.linalg.cholesky(inverse)
    bounds = np.searchsorted(seen.points, np.arange(0, count + chunk, chunk))
    for k, (low, high) in enumerate(zip(bounds[:-1], bounds[1:], strict=True)):
        first, last = k * chunk, min((k + 1) * chunk, count)
        coupling = np.zeros((3, size, last - first))
        rows, points = 6 * seen.frames[low:high, None] + np.arange(6), seen.points[low:high, None] - first
        for axis in range(3):
            coupling[axis, rows, points] = system.coupling[low:high, :, axis]
        coupling[:, -1] = system.focal_coupling[first:last].T
        lower, pull = factor[first:last], system.point_gradient[first:last]
        for axis in range(3):
            carried = (coupling[axis:] * lower[:, axis:, axis].T[:, None]).sum(0)
            reduced -= carried @ carried.T
            gradient -= carried @ (lower[:, :, axis] * pull).sum(1)


def _hold_fixed(
    reduced: Float[np.ndarray, "S S"], gradient: Float[np.ndarray, "S"], count: int, options: BundleOptions
) -> None:
    """Take what must not move, or is not seen at all, out of the equations."""
    held = np.zeros((count, 6), bool)
    held[list(options.fixed_frames)] = True
    held[:, 3:] |= not options.free_translations
    fixed = np.append(held.ravel(), not options.free_focal)
    fixed |= np.diagonal(reduced) <= 0
    reduced[fixed] = 0.0
    reduced[:, fixed] = 0.0
    reduced[fixed, fixed] = 1.0
    gradient[fixed] = 0.0


def _apply(
    bundle: Bundle,
    seen: Observations,
    system: NormalBlocks,
    inverse: Float[np.ndarray, "P 3 3"],
    step: Float[np.ndarray, "S"],
) -> Bundle:
    cameras, log_focal = step[:-1].reshape(-1, 6), float(np.clip(step[-1], -0.5, 0.5))
    towards = np.einsum("oij,oi->oj", system.coupling, cameras[seen.frames])
    right = system.point_gradient + sum_rows(towards, seen.points, len(bundle.points))
    right += system.focal_coupling * log_focal
    turn = rotation_of(cameras[:, :3])
    return replace(
        bundle,
        rotations=turn @ bundle.rotations,
        translations=bundle.translations + cameras[:, 3:],
        points=bundle.points - np.einsum("pij,pj->pi", inverse, right),
        focal=bundle.focal * float(np.exp(log_focal)),
    )
