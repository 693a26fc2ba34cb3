"""Tracks of what does not move, and the cameras and points that are found from them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int

from dyn3d_ns.video.cameras.adjustment import BundleOptions, adjust_bundle
from dyn3d_ns.video.cameras.bundle import Bundle, Observations, reprojection_errors, robust_cost
from dyn3d_ns.video.cameras.projection import triangulate, viewing_rays

OUTLIER = 4.0
"""Reprojection error in pixels from which an observation no longer supports a point."""
MIN_ANGLE = float(np.radians(1.0))
"""Angle that the rays of a point must span before its place is trusted."""


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


def adjust_reconstruction(
    tracks: StaticTracks, growing: Reconstruction, options: BundleOptions
) -> Reconstruction:
    """Adjust all, then forget points that do not fit."""
    seen = tracks.observations(growing.registered, growing.known)
    bundle = adjust_bundle(growing.bundle, seen, options)
    count = len(growing.known)
    good = np.bincount(seen.points, reprojection_errors(bundle, seen) < OUTLIER, count)
    total = np.bincount(seen.points, minlength=count)
    return replace(growing, bundle=bundle, known=growing.known & (good >= 2) & (good >= 0.6 * total))


def unexplained(tracks: StaticTracks, found: Reconstruction, frames: Int[np.ndarray, "K"]) -> float:
    """Return the mean Cauchy cost of what some frames see; what is unknown counts as an outlier."""
    asked = np.zeros(len(tracks.usable), bool)
    asked[frames] = True
    seen = tracks.observations(asked, np.ones(tracks.usable.shape[1], bool))
    errors = reprojection_errors(found.bundle, seen)
    explained = found.registered[seen.frames] & found.known[seen.points]
    return robust_cost(np.where(explained, np.minimum(errors, OUTLIER), OUTLIER), 1.0)
