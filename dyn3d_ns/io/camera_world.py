"""Which world the cameras of a camera path are in: the data's, or that of training.

Nerfstudio's viewer writes paths in the world of training and says nothing of it; `dyn3d path` writes them in
the data's, and marks the file where these are two.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float64

from dyn3d_ns.geometry.world import World

WORLD, DATA = "world", "data"
"""Key and value of the mark."""
_NEAR = 100.0
"""Sizes of the scene within which cameras of a path lie."""


_ELSEWHERE, _ALIKE = 7.0, 3.0
"""Ratios of distances from the scene that speak against a world, and for one."""


def to_training(
    content: dict[str, Any],
    world: World,
    eyes: Float64[np.ndarray, "C 3"],
    center: Float64[np.ndarray, "3"],
) -> tuple[dict[str, Any], bool]:
    """Bring a camera path to the world of training.

    Args:
        content: The file.
        world: The data's world in that of training.
        eyes: Where the training cameras stand, in the world of training.
        center: Middle of the scene there.

    Returns:
        The content, and whether its world was guessed: a path without a mark is the data's where its cameras
        stand as far from the scene as the training's in that world, and by no means in that of training.
    """
    if world.same:
        return content, False
    frames = content["camera_path"]
    poses = np.array([frame["camera_to_world"] for frame in frames], dtype=np.float64).reshape(-1, 4, 4)
    moved = world.poses(poses)
    marked = content.get(WORLD) == DATA
    usual = _distance(eyes, center)
    as_is, as_data = (abs(np.log(_distance(p[:, :3, 3], center) / usual)) for p in (poses, moved))
    if not marked and not (as_is > np.log(_ELSEWHERE) and as_data < np.log(_ALIKE)):
        return content, False
    cameras = [
        {**frame, "camera_to_world": pose.flatten().tolist()}
        for frame, pose in zip(frames, moved, strict=True)
    ]
    return {**content, "camera_path": cameras}, not marked


def _distance(places: Float64[np.ndarray, "F 3"], center: Float64[np.ndarray, "3"]) -> float:
    return float(np.median(np.linalg.norm(places - center, axis=1))) + 1e-12
