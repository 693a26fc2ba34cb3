"""Cameras that stay in their place: on a tripod, or turning on one."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int

from dyn3d_ns.video.cameras.adjustment import BundleOptions, adjust_bundle
from dyn3d_ns.video.cameras.bundle import Bundle
from dyn3d_ns.video.cameras.incremental import Reconstruction, StaticTracks
from dyn3d_ns.video.cameras.projection import sum_rows, viewing_rays

_STILL = 0.5
"""Pixels by which the points of a camera at rest seem to move, at most, in an image of 640 pixels."""
_MIN_COMMON = 8


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
    rotations = _chain(tracks, frames, focal)
    if rotations is None:
        return None
    count_f, count_n = tracks.usable.shape
    all_rotations = np.tile(np.eye(3), (count_f, 1, 1))
    all_rotations[frames] = rotations
    registered = np.zeros(count_f, bool)
    registered[frames] = True
    known = tracks.usable[frames].sum(0) >= 2
    seen = tracks.observations(registered, known)
    rays = np.einsum(
        "oji,oj->oi", all_rotations[seen.frames], viewing_rays(seen.pixels, focal, tracks.center)
    )
    points = sum_rows(rays, seen.points, count_n)
    points /= np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-9)
    start = Bundle(all_rotations, np.zeros((count_f, 3)), points, focal, tracks.center)
    options = BundleOptions(
        free_focal=free_focal,
        free_translations=False,
        fixed_frames=(int(frames[0]), *np.flatnonzero(~registered).tolist()),
        robust_scale=robust_scale,
        focal_prior=focal if free_focal else None,
    )
    result = adjust_bundle(start, seen, options)
    far = result.bundle.points / np.maximum(np.linalg.norm(result.bundle.points, axis=1, keepdims=True), 1e-9)
    fitted = replace(result.bundle, points=far)
    error = float(np.percentile(result.residuals, 80))
    return TurningFit(Reconstruction(fitted, registered, known, result.cost), error)


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
