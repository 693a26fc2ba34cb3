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
    frame: int, cameras: Cameras, seen: PointsByFrame, width: int, count: int
) -> Int[np.ndarray, "K"]:
    """Pick frames before and after that share most of the view: the furthest such, and some on the way."""
    points, _ = seen[frame]
    num_frames = len(cameras.Ks)
    if len(points) == 0 or cameras.static:
        return np.empty(0, int)
    here = _pixels(cameras, frame, points)
    reach = []
    for sign in (-1, 1):
        furthest = frame
        for other in range(frame + sign, frame + sign * (_FURTHEST + 1), sign):
            if not 0 <= other < num_frames:
                break
            shift = np.linalg.norm(_pixels(cameras, other, points) - here, axis=1)
            if np.median(shift) > _LARGEST_SHIFT * width:
                break
            furthest = other
        reach.append(furthest)
    before, after = frame - reach[0], reach[1] - frame
    half = max(1, count // 2)
    # What one side lacks at an end of the clip, the other gives.
    counts = (min(before, max(half, count - after)), min(after, max(half, count - before)))
    back = np.linspace(0, before, counts[0] + 1)[1:].round().astype(int)
    ahead = np.linspace(0, after, counts[1] + 1)[1:].round().astype(int)
    return np.unique(np.concatenate((frame - back, frame + ahead)))


def _pixels(cameras: Cameras, frame: int, points: Float[np.ndarray, "M 3"]) -> Float[np.ndarray, "M 2"]:
    return project(to_camera(points, cameras.world_to_cameras[frame]), cameras.Ks[frame])


def grown(mask: Bool[np.ndarray, "H W"], pixels: int) -> Bool[np.ndarray, "H W"]:
    """Return a mask widened by some pixels."""
    import cv2

    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * pixels + 1, 2 * pixels + 1))
    return cv2.dilate(mask.astype(np.uint8), kernel) > 0
