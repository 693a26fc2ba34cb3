"""The world of a scene: recentred on the average pose and scaled so that nothing lies nearer than 1."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64

from dyn3d_ns.geometry.world import World

NEAREST = 5.0
"""Percentile of the near bounds that counts as the nearest depth."""
MARGIN = 0.9
"""Part of the nearest depth that becomes 1 unit, so that a near plane at 1 cuts nothing off."""


def ndc_world(camera_to_worlds: Float64[np.ndarray, "F 4 4"], bounds: Float64[np.ndarray, "F 2"]) -> World:
    """Return LLFF's world: the average pose at the origin, looking along -z with y up.

    Args:
        camera_to_worlds: OpenGL's axes.
        bounds: Nearest and farthest depth that each camera sees.
    """
    return World(np.linalg.inv(average_pose(camera_to_worlds)), 1.0 / float(MARGIN * _nearest(bounds)))


def average_pose(camera_to_worlds: Float64[np.ndarray, "F 4 4"]) -> Float64[np.ndarray, "4 4"]:
    """Return the mean place, the mean viewing direction, and the mean up as far as it is square to that."""
    back = _unit(camera_to_worlds[:, :3, 2].sum(0))
    right = _unit(np.cross(camera_to_worlds[:, :3, 1].sum(0), back))
    pose = np.eye(4)
    pose[:3] = np.stack([right, np.cross(back, right), back, camera_to_worlds[:, :3, 3].mean(0)], axis=1)
    return pose


def _nearest(bounds: Float64[np.ndarray, "F 2"]) -> float:
    return float(np.percentile(bounds[:, 0], NEAREST))


def _unit(vector: Float64[np.ndarray, "3"]) -> Float64[np.ndarray, "3"]:
    return vector / np.linalg.norm(vector)
