"""Where to start a reconstruction: the pair of frames with the best-conditioned relative pose."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from dyn3d_ns.video.cameras.projection import triangulate, viewing_rays

_MIN_MATCHES = 20
_GOOD_ANGLE = np.radians(8.0)
"""Angle of triangulation beyond which more parallax is no better start."""


@dataclass(frozen=True)
class PairPose:
    """Two cameras, the first at the origin, at distance 1, and the points that both see."""

    first: int
    second: int
    rotation: Float[np.ndarray, "3 3"]
    """From the first camera's axes to the second's."""
    translation: Float[np.ndarray, "3"]
    tracks: Int[np.ndarray, "M"]
    """Tracks that agree with the pose."""
    angle: float
    """Median angle of triangulation in radians."""

    @property
    def score(self) -> float:
        """Return how good a start it is: many points under a wide angle."""
        return len(self.tracks) * min(self.angle, float(_GOOD_ANGLE))


def best_pair(
    xy: Float[np.ndarray, "F N 2"],
    usable: Bool[np.ndarray, "F N"],
    frames: Int[np.ndarray, "K"],
    focal: float,
    center: tuple[float, float],
    pairs: int = 24,
) -> PairPose | None:
    """Return the best pair among frames, or None if no two share enough points.

    Pairs are ranked by common points and their median shift, and the most promising are solved.
    """
    ranked: list[tuple[float, int, int]] = []
    for i, a in enumerate(frames[:-1]):
        for b in frames[i + 1 :]:
            common = usable[a] & usable[b]
            count = int(common.sum())
            if count >= _MIN_MATCHES:
                shift = np.median(np.linalg.norm(xy[b, common] - xy[a, common], axis=1))
                ranked.append((float(np.sqrt(count) * min(shift, 0.15 * focal)), int(a), int(b)))
    ranked.sort(reverse=True)
    found = [relative_pose(xy, usable, a, b, focal, center) for _, a, b in ranked[:pairs]]
    solved = [pair for pair in found if pair is not None]
    return max(solved, key=lambda pair: pair.score) if solved else None


def relative_pose(
    xy: Float[np.ndarray, "F N 2"],
    usable: Bool[np.ndarray, "F N"],
    first: int,
    second: int,
    focal: float,
    center: tuple[float, float],
    threshold: float = 1.0,
) -> PairPose | None:
    """Return the pose of one frame relative to another from an essential matrix (five points, RANSAC)."""
    import cv2

    tracks = np.flatnonzero(usable[first] & usable[second])
    if len(tracks) < _MIN_MATCHES:
        return None
    a, b = xy[first, tracks].astype(np.float64), xy[second, tracks].astype(np.float64)
    matrix = np.array([[focal, 0, center[0]], [0, focal, center[1]], [0, 0, 1.0]])
    cv2.setRNGSeed(0)
    essential, inliers = cv2.findEssentialMat(a, b, matrix, cv2.RANSAC, 0.999, threshold)
    if essential is None or essential.shape != (3, 3):
        return None
    count, rotation, translation, inliers = cv2.recoverPose(essential, a, b, matrix, mask=inliers)
    keep = inliers[:, 0] > 0
    if count < _MIN_MATCHES // 2:
        return None
    rays_a = viewing_rays(a[keep], focal, center)
    rays_b = viewing_rays(b[keep], focal, center) @ rotation
    origins = np.concatenate(
        (np.zeros_like(rays_a), np.tile(-translation[:, 0] @ rotation, (len(rays_b), 1)))
    )
    index = np.tile(np.arange(len(rays_a)), 2)
    _, angles, _ = triangulate(origins, np.concatenate((rays_a, rays_b)), index, len(rays_a))
    return PairPose(first, second, rotation, translation[:, 0], tracks[keep], float(np.median(angles)))
