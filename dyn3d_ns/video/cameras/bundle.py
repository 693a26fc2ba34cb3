"""Poses, points and one focal length, where points were seen, and by how much the two disagree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from dyn3d_ns.video.cameras.projection import camera_points, project

NEAR = 1e-6
"""Depth at which a point counts as behind its camera."""


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


def reprojection_errors(bundle: Bundle, seen: Observations) -> Float[np.ndarray, "O"]:
    """Return the distance in pixels of each observation from its point's image; infinite behind."""
    at = camera_points(bundle.rotations, bundle.translations, bundle.points, seen.frames, seen.points)
    errors = np.linalg.norm(project(at, bundle.focal, bundle.center) - seen.pixels, axis=1)
    return np.where(at[:, 2] > NEAR, errors, np.inf)


def robust_cost(errors: Float[np.ndarray, "O"], scale: float) -> float:
    """Return the mean Cauchy cost s^2 log(1 + e^2 / s^2) in squared pixels; errors are cut at 1e3 px."""
    return float(scale**2 * np.log1p((np.minimum(errors, 1e3) / scale) ** 2).mean())
