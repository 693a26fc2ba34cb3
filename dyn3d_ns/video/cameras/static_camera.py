"""Cameras that stay in their place: on a tripod, or turning on one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from dyn3d_ns.video.cameras.bundle import Bundle, Observations, reprojection_errors, robust_cost
from dyn3d_ns.video.cameras.incremental import Reconstruction, StaticTracks
from dyn3d_ns.video.cameras.projection import sum_rows, viewing_rays

_STILL = 0.5
"""Pixels by which the points of a camera at rest seem to move, at most, in an image of 640 pixels."""
_MIN_COMMON = 8
_FOCAL_RANGE, _FOCAL_SIGMA = 0.7, 0.5
"""How far the log focal length may lie from the one thought likely, and its standard deviation."""
_SWEEPS = 4
"""Rounds in which rotations and directions are brought to agree."""


def is_still(tracks: StaticTracks) -> bool:
    """Tell whether the camera rests: most static points stay where they are for as long as they are seen."""
    long = tracks.usable.sum(0) >= min(5, len(tracks.usable))
    if not long.any():
        return False
    xy = np.where(tracks.usable[:, long, None], tracks.xy[:, long], np.nan)
    away = np.linalg.norm(xy - np.nanmedian(xy, axis=0), axis=2)
    furthest = np.nanpercentile(away, 90, axis=0)
    limit = _STILL * max(1.0, tracks.width / 640.0)
    return bool(np.percentile(furthest, 60) < limit)


@dataclass(frozen=True)
class TurningFit:
    """A camera that only turns, and how well that explains the tracks."""

    reconstruction: Reconstruction
    """Poses without translation; points are directions, at distance 1."""
    residual: float
    """80th percentile of the reprojection error in pixels."""


def fit_turning(
    tracks: StaticTracks,
    frames: Int[np.ndarray, "K"],
    focal: float,
    free_focal: bool = True,
    robust_scale: float = 0.5,
) -> TurningFit | None:
    """Fit rotations and the focal length to some frames; None where frames in a row share too few points."""
    from scipy.optimize import minimize_scalar

    if _chain(tracks, frames, focal) is None:
        return None
    registered = np.zeros(len(tracks.usable), bool)
    registered[frames] = True
    seen = tracks.observations(registered, tracks.usable[frames].sum(0) >= 2)

    def cost(log_focal: float) -> float:
        errors = reprojection_errors(_turned(tracks, frames, seen, float(np.exp(log_focal))), seen)
        return robust_cost(errors, robust_scale) + _prior(log_focal - np.log(focal), robust_scale)

    if free_focal:
        bounds = np.log(focal) + np.array([-_FOCAL_RANGE, _FOCAL_RANGE])
        found = minimize_scalar(cost, bounds=bounds, method="bounded", options={"xatol": 1e-3})
        focal = float(np.exp(found.x))
    fitted = _turned(tracks, frames, seen, focal)
    error = float(np.percentile(reprojection_errors(fitted, seen), 80))
    known = np.bincount(seen.points, minlength=tracks.usable.shape[1]) > 0
    return TurningFit(Reconstruction(fitted, registered, known), error)


def _prior(log_ratio: float, robust_scale: float) -> float:
    """Return what a focal length costs that differs from the one thought likely by a factor.

    Errors of tracks are correlated, so all observations together count as 50 independent ones.
    """
    return 0.02 * robust_scale**2 * (log_ratio / _FOCAL_SIGMA) ** 2


def _turned(tracks: StaticTracks, frames: Int[np.ndarray, "K"], seen: Observations, focal: float) -> Bundle:
    """Return rotations and directions that agree: each frame turned onto the mean of all others, in turns."""
    count_f, count_n = tracks.usable.shape
    rotations: Float[np.ndarray, "F 3 3"] = np.tile(np.eye(3), (count_f, 1, 1))
    chain = _chain(tracks, frames, focal)
    if chain is not None:
        rotations[frames] = chain
    rays = viewing_rays(seen.pixels, focal, tracks.center)
    rows = [np.flatnonzero(seen.frames == frame) for frame in frames]
    points = _directions(rotations, rays, seen, count_n)
    for _ in range(_SWEEPS):
        for frame, mine in zip(frames, rows, strict=True):
            rotations[frame] = _robust_rotation(points[seen.points[mine]], rays[mine], 1.0 / focal)
        points = _directions(rotations, rays, seen, count_n)
    return Bundle(rotations, np.zeros((count_f, 3)), points, focal, tracks.center)


def _directions(
    rotations: Float[np.ndarray, "F 3 3"], rays: Float[np.ndarray, "O 3"], seen: Observations, count: int
) -> Float[np.ndarray, "N 3"]:
    """Return the mean direction of each point's rays in the world."""
    points = sum_rows(np.einsum("oji,oj->oi", rotations[seen.frames], rays), seen.points, count)
    return points / np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-9)


def _chain(
    tracks: StaticTracks, frames: Int[np.ndarray, "K"], focal: float
) -> Float[np.ndarray, "K 3 3"] | None:
    """Return world-to-camera rotations from the rays of points that frames in a row share."""
    rotations = [np.eye(3)]
    for a, b in zip(frames[:-1], frames[1:], strict=True):
        common = tracks.usable[a] & tracks.usable[b]
        if common.sum() < _MIN_COMMON:
            return None
        rays_a = viewing_rays(tracks.xy[a, common].astype(np.float64), focal, tracks.center)
        rays_b = viewing_rays(tracks.xy[b, common].astype(np.float64), focal, tracks.center)
        rotations.append(_robust_rotation(rays_a, rays_b, 1.0 / focal) @ rotations[-1])
    return np.stack(rotations)


def _robust_rotation(
    source: Float[np.ndarray, "N 3"], target: Float[np.ndarray, "N 3"], scale: float
) -> Float[np.ndarray, "3 3"]:
    """Return the rotation that brings rays onto rays (Kabsch), reweighted by the Cauchy loss."""
    weights = np.ones(len(source))
    rotation = np.eye(3)
    for _ in range(10):
        u, _, vh = np.linalg.svd((weights[:, None] * target).T @ source)
        rotation = u @ np.diag([1.0, 1.0, np.linalg.det(u @ vh)]) @ vh
        error = np.linalg.norm(source @ rotation.T - target, axis=1)
        weights = 1.0 / (1.0 + (error / max(scale, float(np.median(error)))) ** 2)
    return rotation


def interpolate_poses(
    rotations: Float[np.ndarray, "F 3 3"],
    positions: Float[np.ndarray, "F 3"],
    known: Bool[np.ndarray, "F"],
) -> tuple[Float[np.ndarray, "F 3 3"], Float[np.ndarray, "F 3"]]:
    """Fill the world-to-camera rotations and the positions of unknown frames from their neighbours.

    Between known frames rotations turn at constant speed and positions go straight; outside they stay.
    """
    from scipy.spatial.transform import Rotation, Slerp

    ids = np.flatnonzero(known)
    if len(ids) == len(known):
        return rotations, positions
    if len(ids) == 1:
        return np.repeat(rotations[ids], len(known), 0), np.repeat(positions[ids], len(known), 0)
    frames = np.clip(np.arange(len(known)), ids[0], ids[-1])
    turned = Slerp(ids, Rotation.from_matrix(rotations[ids]))(frames).as_matrix()
    places = np.stack([np.interp(frames, ids, positions[ids, k]) for k in range(3)], axis=1)
    return turned, places
