"""Follow points through a clip with pyramidal Lucas-Kanade, forward and back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, UInt8

from dyn3d_ns.io.clip.types import Flow, Tracks
from dyn3d_ns.video.parts import Configured, FlowGuided

Gray = UInt8[np.ndarray, "H W"]


@dataclass(frozen=True)
class LucasKanade(Configured, FlowGuided):
    """Pyramidal Lucas-Kanade (Bouguet, 2001), each step checked by following the point back.

    Where dense flow is at hand it guides every step: a point is lost where the two disagree, and else goes to
    the middle of both. Lucas-Kanade drifts less, dense flow holds better at the edges of what moves.

    New points are picked every `interval` frames in those cells of a grid that hold no live track: the
    strongest corner of the cell. Every track runs from its first frame both ways until it is lost.
    """

    window: int = 0
    """Side of the window that is matched, pixels; 0: a thirtieth of the image's width, 11 to 21."""
    levels: int = 3
    """Pyramid levels above the full size."""
    max_error: float = 1.0
    """A point is lost if following it back misses it by more pixels."""
    max_tracks: int = 20_000
    """Most tracks of a clip: of later frames fewer cells are filled."""
    guide: Callable[[int, int], Flow] | None = None
    """Returns the dense flow from one frame to a neighbouring one."""

    @classmethod
    def from_settings(cls, settings: Any) -> LucasKanade:
        """Build it from the settings of the stage `tracks`."""
        return cls(settings.window, settings.levels, settings.max_error, settings.max_tracks)

    def guided_by(self, flow: Callable[[int, int], Flow]) -> LucasKanade:
        """Return the tracker that `flow` guides."""
        return replace(self, guide=flow)

    def __call__(
        self,
        images: Sequence[UInt8[np.ndarray, "H W 3"]],
        interval: int,
        grid: int,
    ) -> Tracks:
        """Return the tracks; every image is read twice, and memory holds two."""
        first = _gray(images[0])
        height, width = first.shape
        table = _Table(len(images), (height, width))
        previous = first
        budget = self.max_tracks // max(-(-len(images) // interval), 1)
        for t in range(len(images)):
            current = _gray(images[t]) if t else first
            if t:
                table.extend(t - 1, t, *self._follow((t - 1, previous), (t, current), *table.live(t - 1)))
            if t % interval == 0:
                # What earlier frames left of their share is there for the later ones.
                share = budget * (t // interval + 1) - table.count
                table.add(t, new_points(current, table.live(t)[1], grid)[: max(share, 0)])
            previous = current
        for t in range(len(images) - 1, -1, -1):
            current = _gray(images[t])
            if t < len(images) - 1:
                ids, xy = table.live(t + 1)
                late = table.init_frames[ids] > t
                table.extend(t + 1, t, *self._follow((t + 1, previous), (t, current), ids[late], xy[late]))
            previous = current
        return table.tracks()

    def _follow(
        self,
        a: tuple[int, Gray],
        b: tuple[int, Gray],
        ids: np.ndarray,
        xy: Float32[np.ndarray, "n 2"],
    ) -> tuple[np.ndarray, Float32[np.ndarray, "m 2"], Float32[np.ndarray, "m"]]:
        """Return those points of frame a that are found in frame b: ids, places, confidences."""
        if len(xy) == 0:
            return ids, xy, np.zeros(0, np.float32)
        there, error = self._lucas_kanade(a[1], b[1], xy)
        if self.guide is not None:
            guided = xy + sample(self.guide(a[0], b[0]).flow, xy)
            back = guided + sample(self.guide(b[0], a[0]).flow, guided)
            error = np.maximum(error, np.linalg.norm(back - xy, axis=1))
            error = np.maximum(error, np.linalg.norm(guided - there, axis=1))
            there = (there + guided) / 2
        inside = ((there >= 0) & (there <= np.array(a[1].shape[::-1]) - 1)).all(axis=1)
        good = (error < self.max_error) & inside
        confidence = np.exp(-((error / self.max_error) ** 2)).astype(np.float32)
        return ids[good], there[good].astype(np.float32), confidence[good]

    def _lucas_kanade(
        self, a: Gray, b: Gray, xy: Float32[np.ndarray, "n 2"]
    ) -> tuple[Float32[np.ndarray, "n 2"], Float32[np.ndarray, "n"]]:
        """Return where points of image a are in image b, and by how much the way back misses (pixels)."""
        import cv2

        side = self.window or int(np.clip(a.shape[1] // 60 * 2 + 1, 11, 21))
        window, levels = (side, side), self.levels
        start, there, back = xy[:, None], np.zeros_like(xy[:, None]), np.zeros_like(xy[:, None])
        _, found, _ = cv2.calcOpticalFlowPyrLK(a, b, start, there, winSize=window, maxLevel=levels)
        _, found_back, _ = cv2.calcOpticalFlowPyrLK(b, a, there, back, winSize=window, maxLevel=levels)
        error = np.linalg.norm(back[:, 0] - xy, axis=1)
        error[(found[:, 0] == 0) | (found_back[:, 0] == 0)] = np.inf
        return there[:, 0], error


class _Table:
    """Grows by blocks of tracks; one block holds the tracks that were picked in one frame."""

    def __init__(self, frames: int, shape: tuple[int, int]) -> None:
        self.frames, self.shape = frames, shape
        self.xy = np.zeros((frames, 0, 2), np.float32)
        self.visible = np.zeros((frames, 0), bool)
        self.confidence = np.zeros((frames, 0), np.float32)
        self.init_frames = np.zeros(0, np.int64)

    @property
    def count(self) -> int:
        return len(self.init_frames)

    def add(self, t: int, points: Float32[np.ndarray, "n 2"]) -> None:
        n = len(points)
        self.xy = np.concatenate((self.xy, np.zeros((self.frames, n, 2), np.float32)), axis=1)
        self.visible = np.concatenate((self.visible, np.zeros((self.frames, n), bool)), axis=1)
        self.confidence = np.concatenate((self.confidence, np.zeros((self.frames, n), np.float32)), axis=1)
        self.init_frames = np.concatenate((self.init_frames, np.full(n, t, np.int64)))
        self.extend(t, t, np.arange(self.count - n, self.count), points, np.ones(n, np.float32))

    def live(self, t: int) -> tuple[np.ndarray, Float32[np.ndarray, "n 2"]]:
        ids = np.flatnonzero(self.visible[t])
        return ids, self.xy[t, ids]

    def extend(
        self, source: int, t: int, ids: np.ndarray, xy: Float32[np.ndarray, "n 2"], confidence: np.ndarray
    ) -> None:
        """Continue tracks; their confidence forgets slowly what earlier steps missed by."""
        self.xy[t, ids], self.visible[t, ids] = xy, True
        before = self.confidence[source, ids] if source != t else 1.0
        self.confidence[t, ids] = confidence * before**0.5

    def tracks(self) -> Tracks:
        seen = self.visible.sum(axis=0) >= 2
        return Tracks(
            self.xy[:, seen],
            self.visible[:, seen],
            self.confidence[:, seen],
            self.init_frames[seen],
            *self.shape,
        )


def sample(
    values: Float32[np.ndarray, "H W C"], xy: Float32[np.ndarray, "n 2"]
) -> Float32[np.ndarray, "n C"]:
    """Read an image between its pixels, bilinearly; outside it the nearest pixel counts."""
    import cv2

    x, y = np.ascontiguousarray(xy[:, 0]), np.ascontiguousarray(xy[:, 1])
    return np.asarray(cv2.remap(values, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))[:, 0]


def new_points(
    gray: Gray, live: Float32[np.ndarray, "n 2"], grid: int, min_quality: float = 1e-3
) -> Float32[np.ndarray, "m 2"]:
    """Pick the strongest corner of every grid cell that holds no live point, strongest cells first.

    Cells without texture (smaller eigenvalue of the structure tensor below `min_quality` of the image's
    99th percentile) give none.
    """
    import cv2

    height, width = gray.shape
    strength = cv2.cornerMinEigenVal(gray, 5)
    size = max((height * width) ** 0.5 / grid, 1.0)
    rows, cols = max(round(height / size), 1), max(round(width / size), 1)
    ys, xs = np.mgrid[:height, :width]
    cell = (ys * rows // height) * cols + xs * cols // width
    taken: Bool[np.ndarray, "cells"] = np.zeros(rows * cols, bool)
    if len(live):
        at = np.clip(np.rint(live).astype(int), 0, (width - 1, height - 1))
        taken[cell[at[:, 1], at[:, 0]]] = True
    order = np.argsort(-strength.ravel(), kind="stable")
    cells, where = np.unique(cell.ravel()[order], return_index=True)
    best = order[where]
    values = strength.ravel()[best]
    floor = max(min_quality * float(np.percentile(strength, 99)), 1e-9)
    use = ~taken[cells] & (values > floor)
    best = best[use][np.argsort(-values[use], kind="stable")]
    return np.stack((best % width, best // width), axis=1).astype(np.float32)


def _gray(image: UInt8[np.ndarray, "H W 3"]) -> Gray:
    import cv2

    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))
