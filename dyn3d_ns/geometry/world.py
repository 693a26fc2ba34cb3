"""From the data's own world to that of training, and back."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64

SMALLEST, LARGEST = 1.0, 1000.0
"""Diagonals of a scene's box between which scenes train as they are."""
USUAL = 6.0
"""Diagonal that others are brought near, by a power of two: that of a D-NeRF scene."""
FAR = 50.0
"""Distance from the origin, in diagonals, from which on a scene is trained near the origin."""
COARSE = 1000.0
"""The same distance from which on float32 is too coarse to write places with: they miss by 1e-4 of the room
that they take."""


class World(NamedTuple):
    """The data's world in that of training: ``scale * (transform @ point)``; all of it in float64."""

    transform: Float64[np.ndarray, "4 4"] = np.eye(4)
    """Rigid."""
    scale: float = 1.0
    """Units of training in one of the data's."""

    @property
    def same(self) -> bool:
        """Whether the two worlds are one."""
        return self.scale == 1.0 and bool((self.transform == np.eye(4)).all())

    def poses(self, camera_to_worlds: Float64[np.ndarray, "F 4 4"]) -> Float64[np.ndarray, "F 4 4"]:
        """Bring poses over."""
        moved = self.transform @ camera_to_worlds
        moved[:, :3, 3] *= self.scale
        return moved

    def points(self, xyz: Float64[np.ndarray, "P 3"]) -> Float64[np.ndarray, "P 3"]:
        """Bring places over."""
        return (xyz @ self.transform[:3, :3].T + self.transform[:3, 3]) * self.scale

    def poses_back(self, camera_to_worlds: Float[np.ndarray, "F 4 4"]) -> Float64[np.ndarray, "F 4 4"]:
        """Bring poses back to the data's world."""
        moved = np.array(camera_to_worlds, dtype=np.float64)
        moved[:, :3, 3] /= self.scale
        return np.linalg.inv(self.transform) @ moved

    def points_back(self, xyz: Float[np.ndarray, "P 3"]) -> Float64[np.ndarray, "P 3"]:
        """Bring places back to the data's world."""
        return (xyz.astype(np.float64) / self.scale - self.transform[:3, 3]) @ self.transform[:3, :3]

    def vectors_back(self, vectors: Float[np.ndarray, "P 3"]) -> Float64[np.ndarray, "P 3"]:
        """Bring shifts and velocities back to the data's world."""
        return vectors.astype(np.float64) @ self.transform[:3, :3] / self.scale

    def then(self, other: World) -> World:
        """Return the way through this world to another one that is given in it."""
        if other.same:
            return self
        transform = other.transform @ self.transform
        # Its shift is in units of this world, which the data's are scaled to.
        transform[:3, 3] = other.transform[:3, :3] @ self.transform[:3, 3]
        transform[:3, 3] += other.transform[:3, 3] / self.scale
        return World(transform, other.scale * self.scale)


SAME = World()
"""The world of training is the data's own."""


def training_world(box: Float64[np.ndarray, "2 3"]) -> World:
    """Return the world to train a scene in: its own, unless that is of unusual size or far from its origin.

    Step sizes, near planes and float32 are made for scenes of some units near the origin. Others are shifted
    by a multiple of a power of two above their size and scaled by a power of two, so that nothing is rounded.

    Args:
        box: Where the scene lies, in the data's world.
    """
    low, high = box
    size = float(np.linalg.norm(high - low))
    if not (np.isfinite(size) and size > 0):
        return SAME
    transform = np.eye(4)
    center = 0.5 * (low + high)
    if np.abs(center).max() > FAR * size:
        grid = 2.0 ** np.ceil(np.log2(size))
        transform[:3, 3] = -grid * np.rint(center / grid)
    usual = SMALLEST <= size <= LARGEST
    return World(transform, 1.0 if usual else float(2.0 ** np.rint(np.log2(USUAL / size))))


def far_from_origin(points: Float[np.ndarray, "*P 3"]) -> bool:
    """Tell whether float32 is too coarse for places: whether they lie far away, for the room they take."""
    flat = points.reshape(-1, 3)
    if not len(flat):
        return False
    size = float(np.linalg.norm(np.ptp(flat, axis=0))) or 1.0
    return bool(np.abs(flat).max() > COARSE * size)


def coordinates(points: Float64[np.ndarray, "*P 3"]) -> Float[np.ndarray, "*P 3"]:
    """Return places as files hold them: in float32, or in float64 where that is too coarse."""
    return points.astype(np.float64 if far_from_origin(points) else np.float32)
