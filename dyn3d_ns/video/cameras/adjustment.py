"""Bundle adjustment of poses, points and one focal length: sparse Levenberg-Marquardt in numpy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from dyn3d_ns.video.cameras.bundle import Bundle, Observations, reprojection_errors, robust_cost
from dyn3d_ns.video.cameras.normal_equations import NormalBlocks, damped_step, normal_blocks


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


def adjust_bundle(bundle: Bundle, seen: Observations, options: BundleOptions) -> BundleResult:
    """Minimise the robust reprojection error (Cauchy) over what the options leave free.

    Raises:
        ValueError: there is no observation, or one names a camera or a point that does not exist.
    """
    _check(bundle, seen)
    order = np.argsort(seen.points, kind="stable")
    seen_sorted = seen.select(order)
    damping, growth, iteration = 1e-4, 2.0, 0
    fixed = _fixed(len(bundle.rotations), options)
    cost = _cost(bundle, seen_sorted, options)
    system = _normal_equations(bundle, seen_sorted, options)
    for iteration in range(1, options.max_iterations + 1):  # noqa: B007 - reported after the loop
        candidate = damped_step(bundle, seen_sorted, system, damping, fixed)
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


def _check(bundle: Bundle, seen: Observations) -> None:
    if len(seen.frames) == 0:
        raise ValueError("no observation to adjust the cameras by")
    if seen.frames.max() >= len(bundle.rotations) or seen.points.max() >= len(bundle.points):
        raise ValueError(
            f"an observation names camera {seen.frames.max()} and point {seen.points.max()} at most, but "
            f"there are {len(bundle.rotations)} cameras and {len(bundle.points)} points"
        )


def _fixed(count: int, options: BundleOptions) -> Bool[np.ndarray, "S"]:
    """Tell which parameters of so many cameras, and of the focal length, the options hold."""
    held = np.zeros((count, 6), bool)
    held[list(options.fixed_frames)] = True
    held[:, 3:] |= not options.free_translations
    return np.append(held.ravel(), not options.free_focal)


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
