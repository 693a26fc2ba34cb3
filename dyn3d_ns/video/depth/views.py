"""Which frames a frame is matched with."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int

from dyn3d_ns.geometry.cameras import project, to_camera
from dyn3d_ns.io.clip.types import Cameras, SparsePoints

_LARGEST_SHIFT = 0.15
"""Median motion, as a part of the image's width, up to which flow is trusted."""
_FURTHEST = 40
"""Frames away that are looked at."""


class PointsByFrame:
    """The points that each frame saw, found without searching all observations."""

    def __init__(self, points: SparsePoints, num_frames: int) -> None:
        self.points = points
        order = np.argsort(points.frame_ids, kind="stable")
        self._order = order
        self._bounds = np.searchsorted(points.frame_ids[order], np.arange(num_frames + 1))

    def __getitem__(self, frame: int) -> tuple[Float[np.ndarray, "M 3"], Float[np.ndarray, "M 2"]]:
        """Return the world positions and pixels of what one frame saw."""
        mine = self._order[self._bounds[frame] : self._bounds[frame + 1]]
        return self.points.xyz[self.points.point_ids[mine]].astype(np.float64), self.points.xy[mine]


def matching_frames(
    cameras: Cameras, seen: PointsByFrame, width: int, count: int
) -> list[Int[np.ndarray, "K"]]:
    """Pick for each frame those that it is matched with: the furthest that share most of the view, and some
    on the way.

    Frames are matched both ways, so that the flow between two serves both: each picks later ones, half as
    many as it is to have, or what earlier frames did not bring it.
    """
    num_frames = len(cameras.Ks)
    partners: list[set[int]] = [set() for _ in range(num_frames)]
    for frame in range(num_frames if not cameras.static else 0):
        reach = _reach(frame, cameras, seen, width)
        steps = min(reach, max(count // 2, count - len(partners[frame])))
        for ahead in np.linspace(0, reach, steps + 1)[1:].round().astype(int).tolist():
            partners[frame].add(frame + ahead)
            partners[frame + ahead].add(frame)
    return [np.array(sorted(others), int) for others in partners]


def _reach(frame: int, cameras: Cameras, seen: PointsByFrame, width: int) -> int:
    """Return how many frames later the points of a frame have moved as far as flow is trusted."""
    points, _ = seen[frame]
    if len(points) == 0:
        return 0
    here = _pixels(cameras, frame, points)
    last = min(frame + _FURTHEST, len(cameras.Ks) - 1)
    for other in range(frame + 1, last + 1):
        shift = np.linalg.norm(_pixels(cameras, other, points) - here, axis=1)
        if np.median(shift) > _LARGEST_SHIFT * width:
            return other - frame - 1
    return last - frame


def _pixels(cameras: Cameras, frame: int, points: Float[np.ndarray, "M 3"]) -> Float[np.ndarray, "M 2"]:
    return project(to_camera(points, cameras.world_to_cameras[frame]), cameras.Ks[frame])


def grown(mask: Bool[np.ndarray, "H W"], pixels: int) -> Bool[np.ndarray, "H W"]:
    """Return a mask widened by some pixels."""
    import cv2

    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * pixels + 1, 2 * pixels + 1))
    return cv2.dilate(mask.astype(np.uint8), kernel) > 0
