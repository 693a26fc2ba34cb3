"""Structure from motion on tracks: a first pair, then camera by camera, each step adjusted as a whole."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int

from dyn3d_ns.video.cameras.adjustment import BundleOptions, adjust_bundle
from dyn3d_ns.video.cameras.bundle import Bundle, Observations, reprojection_errors, robust_cost
from dyn3d_ns.video.cameras.projection import triangulate, viewing_rays
from dyn3d_ns.video.cameras.resection import resect
from dyn3d_ns.video.cameras.two_view import PairPose, best_pair

OUTLIER = 4.0
"""Reprojection error in pixels from which an observation no longer supports a point."""
MIN_ANGLE = float(np.radians(1.0))
"""Angle that the rays of a point must span before its place is trusted."""
_MIN_KNOWN = 12
"""Points that a new camera must see."""


@dataclass(frozen=True)
class StaticTracks:
    """What the cameras are found from: tracks of what does not move."""

    xy: Float[np.ndarray, "F N 2"]
    """Pixels."""
    usable: Bool[np.ndarray, "F N"]
    """Seen, and not on something that moves."""
    width: int
    height: int

    @property
    def center(self) -> tuple[float, float]:
        """Return the middle of the image, which is taken for the principal point."""
        return (self.width - 1) / 2.0, (self.height - 1) / 2.0

    def observations(self, frames: Bool[np.ndarray, "F"], points: Bool[np.ndarray, "N"]) -> Observations:
        """Return what some frames see of some tracks."""
        frame_ids, track_ids = np.nonzero(self.usable & frames[:, None] & points[None, :])
        return Observations(frame_ids, track_ids, self.xy[frame_ids, track_ids].astype(np.float64))


@dataclass(frozen=True)
class Reconstruction:
    """Cameras and points that agree with the tracks."""

    bundle: Bundle
    registered: Bool[np.ndarray, "F"]
    """Frames whose pose was found."""
    known: Bool[np.ndarray, "N"]
    """Tracks whose point was found."""
    cost: float
    """Mean robust cost of all observations of the frames asked for; what is unknown counts as an outlier."""


def reconstruct(
    tracks: StaticTracks,
    frames: Int[np.ndarray, "K"],
    focal: float,
    robust_scale: float = 1.0,
    free_focal: bool = True,
    last_iterations: int = 40,
) -> Reconstruction | None:
    """Reconstruct some frames, starting from a focal length (pixels) that may be wrong by a third.

    Returns None where no pair of frames gives a start.
    """
    pair = best_pair(tracks.xy, tracks.usable, frames, focal, tracks.center)
    if pair is None or pair.angle < MIN_ANGLE / 2:
        return None
    growing = _start(tracks, pair, focal)
    options = BundleOptions(
        fixed_frames=(pair.first,),
        robust_scale=robust_scale,
        free_focal=False,
        max_iterations=15,
        tolerance=1e-4,
    )
    growing = triangulate_new(tracks, growing)
    growing = adjust_reconstruction(tracks, growing, options)
    adjusted_at = 2
    while True:
        grown = _add_camera(tracks, growing, frames)
        if grown is None:
            break
        growing = triangulate_new(tracks, grown)
        count = int(growing.registered.sum())
        if count >= 1.25 * adjusted_at:
            prior = replace(
                options, free_focal=free_focal and count >= 4, focal_prior=focal, focal_prior_sigma=0.3
            )
            growing = adjust_reconstruction(tracks, growing, prior)
            adjusted_at = count
    last = replace(options, free_focal=free_focal, max_iterations=last_iterations, tolerance=1e-5)
    for _ in range(2):
        growing = adjust_reconstruction(tracks, triangulate_new(tracks, growing), last)
    return replace(growing, cost=_total_cost(tracks, growing, frames, robust_scale))


def _start(tracks: StaticTracks, pair: PairPose, focal: float) -> Reconstruction:
    count_f, count_n = tracks.usable.shape
    rotations, translations = np.tile(np.eye(3), (count_f, 1, 1)), np.zeros((count_f, 3))
    rotations[pair.second], translations[pair.second] = pair.rotation, pair.translation
    registered = np.zeros(count_f, bool)
    registered[[pair.first, pair.second]] = True
    bundle = Bundle(rotations, translations, np.zeros((count_n, 3)), focal, tracks.center)
    return Reconstruction(bundle, registered, np.zeros(count_n, bool), np.inf)


def triangulate_new(tracks: StaticTracks, growing: Reconstruction) -> Reconstruction:
    """Add the points of tracks that registered cameras now see under a sufficient angle."""
    bundle = growing.bundle
    seen = tracks.observations(growing.registered, ~growing.known)
    if len(seen.frames) == 0:
        return growing
    rays = viewing_rays(seen.pixels, bundle.focal, bundle.center)
    world = np.einsum("oji,oj->oi", bundle.rotations[seen.frames], rays)
    count = len(bundle.points)
    points, angles, ahead = triangulate(bundle.positions[seen.frames], world, seen.points, count)
    trial = replace(bundle, points=np.where(growing.known[:, None], bundle.points, points))
    errors = reprojection_errors(trial, seen)
    worst = np.zeros(count)
    np.maximum.at(worst, seen.points, errors)
    new = ~growing.known & ahead & (angles > MIN_ANGLE) & (worst < OUTLIER)
    chosen = replace(bundle, points=np.where(new[:, None], points, bundle.points))
    return replace(growing, bundle=chosen, known=growing.known | new)


def _add_camera(
    tracks: StaticTracks, growing: Reconstruction, frames: Int[np.ndarray, "K"]
) -> Reconstruction | None:
    """Register the frame that sees most known points; None when no frame can be added."""
    left = frames[~growing.registered[frames]]
    visible = (tracks.usable[left] & growing.known).sum(1)
    bundle = growing.bundle
    for frame, count in sorted(zip(left, visible, strict=True), key=lambda pair: -pair[1]):
        if count < _MIN_KNOWN:
            return None
        ids = np.flatnonzero(tracks.usable[frame] & growing.known)
        done = np.flatnonzero(growing.registered)
        near = done[np.abs(done - frame).argmin()]
        found = resect(
            tracks.xy[frame, ids].astype(np.float64),
            bundle.points[ids],
            bundle.focal,
            bundle.center,
            (bundle.rotations[near], bundle.translations[near]),
        )
        if found is None or found[2].mean() < 0.25:
            continue
        rotations, translations = bundle.rotations.copy(), bundle.translations.copy()
        rotations[frame], translations[frame] = found[0], found[1]
        registered = growing.registered.copy()
        registered[frame] = True
        return replace(
            growing,
            bundle=replace(bundle, rotations=rotations, translations=translations),
            registered=registered,
        )
    return None


def adjust_reconstruction(
    tracks: StaticTracks, growing: Reconstruction, options: BundleOptions
) -> Reconstruction:
    """Adjust all, then forget points that do not fit."""
    seen = tracks.observations(growing.registered, growing.known)
    cameras, points, small, compact = _compact(growing, seen)
    fixed = tuple(int(np.searchsorted(cameras, f)) for f in options.fixed_frames)
    result = adjust_bundle(small, compact, replace(options, fixed_frames=fixed))
    bundle = growing.bundle
    rotations, translations, places = (
        bundle.rotations.copy(),
        bundle.translations.copy(),
        bundle.points.copy(),
    )
    rotations[cameras], translations[cameras] = result.bundle.rotations, result.bundle.translations
    places[points] = result.bundle.points
    good = np.bincount(compact.points, result.residuals < OUTLIER, len(points))
    total = np.bincount(compact.points, minlength=len(points))
    known = growing.known.copy()
    known[points] = (good >= 2) & (good >= 0.6 * total)
    moved = Bundle(rotations, translations, places, result.bundle.focal, bundle.center)
    return replace(growing, bundle=moved, known=known)


def _compact(
    growing: Reconstruction, seen: Observations
) -> tuple[Int[np.ndarray, "C"], Int[np.ndarray, "P"], Bundle, Observations]:
    """Renumber the cameras and points that take part, so that the rest cost nothing."""
    cameras, frame_index = np.unique(seen.frames, return_inverse=True)
    points, point_index = np.unique(seen.points, return_inverse=True)
    bundle = growing.bundle
    small = Bundle(
        bundle.rotations[cameras],
        bundle.translations[cameras],
        bundle.points[points],
        bundle.focal,
        bundle.center,
    )
    return cameras, points, small, Observations(frame_index, point_index, seen.pixels)


def _total_cost(
    tracks: StaticTracks, growing: Reconstruction, frames: Int[np.ndarray, "K"], scale: float
) -> float:
    asked = np.zeros(len(tracks.usable), bool)
    asked[frames] = True
    seen = tracks.observations(asked, np.ones(tracks.usable.shape[1], bool))
    errors = reprojection_errors(growing.bundle, seen)
    explained = growing.registered[seen.frames] & growing.known[seen.points]
    return robust_cost(np.where(explained, np.minimum(errors, OUTLIER), OUTLIER), scale)
