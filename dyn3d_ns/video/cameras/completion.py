"""From some located cameras to all: bad points go, other frames are fitted, the world gets its unit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float

from dyn3d_ns.video.cameras.adjustment import refine_poses
from dyn3d_ns.video.cameras.bundle import Bundle, reprojection_errors
from dyn3d_ns.video.cameras.incremental import Reconstruction, StaticTracks, triangulate_new
from dyn3d_ns.video.cameras.static_camera import interpolate_poses


@dataclass(frozen=True)
class CameraSolution:
    """Cameras and points of a clip."""

    rotations: Float[np.ndarray, "F 3 3"]
    """World to camera."""
    translations: Float[np.ndarray, "F 3"]
    focal: float
    center: tuple[float, float]
    registered: Bool[np.ndarray, "F"]
    """False where a pose was filled in from the neighbours."""
    points: Float[np.ndarray, "N 3"]
    """One for each track."""
    known: Bool[np.ndarray, "N"]
    """Tracks whose point is a place in the world (none where the camera does not move)."""
    kind: str
    """"moving", "turning" or "still"."""

    @property
    def bundle(self) -> Bundle:
        """Return cameras and points as a bundle."""
        return Bundle(self.rotations, self.translations, self.points, self.focal, self.center)


def median_error(tracks: StaticTracks, found: Reconstruction) -> float:
    """Return the median reprojection error in pixels, within 0.02 and 0.5; 0.5 where nothing is seen."""
    seen = tracks.observations(found.registered, found.known)
    errors = reprojection_errors(found.bundle, seen)
    return float(np.clip(np.median(errors), 0.02, 0.5)) if len(errors) else 0.5


def forget_worst(tracks: StaticTracks, found: Reconstruction, factor: float = 3.0) -> Reconstruction:
    """Forget points whose RMS error is several times the usual one: tracks that slide along an edge."""
    if not found.known.any():
        return found
    seen = tracks.observations(found.registered, found.known)
    squared = np.minimum(reprojection_errors(found.bundle, seen), 10.0) ** 2
    count = np.bincount(seen.points, minlength=len(found.known))
    rms = np.sqrt(np.bincount(seen.points, squared, len(found.known)) / np.maximum(count, 1))
    limit = max(factor * float(np.median(rms[found.known])), 0.1)
    return replace(found, known=found.known & (rms < limit))


def extend_to_all(tracks: StaticTracks, found: Reconstruction) -> Reconstruction:
    """Fit the poses of all other frames to the points that they see."""
    bundle = found.bundle
    rotations, positions = interpolate_poses(bundle.rotations, bundle.positions, found.registered)
    start = replace(bundle, rotations=rotations, translations=-np.einsum("fij,fj->fi", rotations, positions))
    everywhere = np.ones(len(found.registered), bool)
    seen = tracks.observations(~found.registered, found.known)
    fitted = refine_poses(start, seen, ~found.registered)
    errors = reprojection_errors(fitted, seen)
    good = np.bincount(seen.frames, errors < 4.0, len(everywhere))
    total = np.bincount(seen.frames, minlength=len(everywhere))
    registered = found.registered | ((good >= 8) & (good > 0.4 * total))
    return replace(found, bundle=fitted, registered=registered)


def complete(
    tracks: StaticTracks, found: Reconstruction, kind: str, note: Callable[[str], None]
) -> CameraSolution:
    """Give every frame a pose, the first one the world's axes, and the world the unit of median depth."""
    full = extend_to_all(tracks, found)
    if kind == "moving":
        full = forget_worst(tracks, triangulate_new(tracks, full))
    bundle, registered = full.bundle, full.registered
    rotations, positions = interpolate_poses(bundle.rotations, bundle.positions, registered)
    lacking = np.flatnonzero(~registered)
    if len(lacking):
        note(
            f"{len(lacking)} of {len(registered)} frames have no pose of their own (the first is "
            f"{lacking[0]}): they are interpolated"
        )
    first, origin = rotations[0], positions[0]
    points = (bundle.points - origin) @ first.T
    rotations, positions = rotations @ first.T, (positions - origin) @ first.T
    known = full.known if kind == "moving" else np.zeros_like(full.known)
    scale = _unit(tracks, points, rotations, positions, known)
    return CameraSolution(
        rotations,
        -np.einsum("fij,fj->fi", rotations, positions) * scale,
        bundle.focal,
        bundle.center,
        registered,
        points * scale,
        known,
        kind,
    )


def _unit(
    tracks: StaticTracks,
    points: Float[np.ndarray, "N 3"],
    rotations: Float[np.ndarray, "F 3 3"],
    positions: Float[np.ndarray, "F 3"],
    known: Bool[np.ndarray, "N"],
) -> float:
    """Return the scale at which the median depth of all observations is 1."""
    if not known.any():
        return 1.0
    seen = tracks.observations(np.ones(len(rotations), bool), known)
    towards = points[seen.points] - positions[seen.frames]
    depth = np.einsum("oj,oj->o", rotations[seen.frames, 2], towards)
    return 1.0 / float(np.median(depth[depth > 0]))
