"""Any video that is read as footage (a clip of `dyn3d process`, transforms.json, COLMAP, …) as a scene."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, Float64

from dyn3d_ns.geometry.cameras import depths_in
from dyn3d_ns.io.clip.types import Cameras, Flow
from dyn3d_ns.io.dynamic_scene.base import Points, SceneFiles, name_of
from dyn3d_ns.io.errors import DatasetError
from dyn3d_ns.io.footage.base import Footage
from dyn3d_ns.io.footage.layouts import open_footage

_PERCENTILES = (5.0, 95.0)
"""Of the depths that a frame sees, as LLFF takes them for its bounds."""


class FootageScene(SceneFiles):
    """A video with its cameras and what else it brings; it has no other views."""

    def __init__(self, root: Path) -> None:
        """Open a video.

        Raises:
            DatasetError: it is in no layout that is read, or has less than two frames.
        """
        self.root, self.name = root, name_of(root)
        self.footage: Footage = open_footage(root)
        self.source = self.footage.camera_source
        if len(self.frames) < 2:
            raise DatasetError(f"{root} holds {len(self.frames)} frame; a scene takes at least 2")

    @cached_property
    def frames(self) -> list[Path]:  # type: ignore[override]
        """Frames of the video."""
        return self.footage.frames

    @cached_property
    def times(self) -> Float64[np.ndarray, "F"]:  # type: ignore[override]
        """Times that the video states."""
        return self.footage.times[0]

    @property
    def fps(self) -> float | None:
        """Frames per second that the video states."""
        return self.footage.times[1]

    def cameras(self) -> Cameras:
        """Read the cameras."""
        return self.footage.cameras()

    def bounds(self) -> Float64[np.ndarray, "F 2"] | None:
        """Take percentiles of the depths of each frame, of its maps or of the points ahead of it."""
        depths = [self._seen_depths(i) for i in range(len(self.frames))]
        if any(len(found) < 10 for found in depths):
            return None
        return np.array([np.percentile(found, _PERCENTILES) for found in depths])

    def mask(self, i: int) -> Bool[np.ndarray, "h w"] | None:
        """Read the mask of frame i."""
        return self.footage.dynamic_mask(i) if "dynamic_mask" in self.footage.names else None

    def flow(self, i: int, j: int) -> Flow | None:
        """Read the flow between neighbours."""
        return self.footage.flow(i, j) if self.footage.has_flow(i, j) else None

    def depth(self, i: int) -> Float32[np.ndarray, "h w"] | None:
        """Read the depth of frame i."""
        if "depth" not in self.footage.names:
            return None
        depth = self.footage.depth(i)
        return np.where(np.isfinite(depth) & (depth > 0), depth, 0).astype(np.float32)

    def points(self) -> Points | None:
        """Read the points, what moves as it lies in the middle of the video."""
        found = self.footage.points(len(self.frames) // 2)
        if found is None:
            return None
        finite = np.isfinite(found[0]).all(1)
        return (found[0][finite], found[1][finite]) if finite.any() else None

    def side_files(self) -> list[Path]:
        """List what stands beside the frames: a clip's folders, whose files are too many to be named."""
        return sorted(path for path in self.root.iterdir() if path.name != "dyn3d")

    def _seen_depths(self, i: int) -> Float64[np.ndarray, "P"]:
        depth = self.depth(i)
        if depth is not None:
            some = depth[::4, ::4]
            return some[some > 0].astype(np.float64)
        if self._cloud is None:
            return np.empty(0)
        found = depths_in(self._cloud[0], self._poses[i])
        return found[found > 0]

    @cached_property
    def _cloud(self) -> Points | None:
        return self.points()

    @cached_property
    def _poses(self) -> Float64[np.ndarray, "F 4 4"]:
        return self.cameras().camera_to_worlds
