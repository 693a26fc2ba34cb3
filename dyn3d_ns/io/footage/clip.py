"""A clip that `dyn3d process` made, or a scene of DynamicVerse, as footage."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, Float64, UInt8

from dyn3d_ns.io.clip.folder import ClipFolder
from dyn3d_ns.io.clip.types import Cameras, Flow, Tracks
from dyn3d_ns.io.errors import DatasetError
from dyn3d_ns.io.footage.base import Footage, Prior
from dyn3d_ns.io.fused_4d import FusedScene


class ClipFootage(Footage):
    """What the folder of a clip holds; nothing is kept but which files there are."""

    mask_source = "dyn3d process"
    camera_source = "dyn3d process"

    def __init__(self, root: Path) -> None:
        """Open a folder.

        Raises:
            DatasetError: it is no folder.
        """
        if not root.is_dir():
            raise DatasetError(f"{root} is not a folder; give the one that `dyn3d process` wrote")
        self.root, self.clip = root, ClipFolder(root)
        self.advice = f"`dyn3d process VIDEO {root}` makes masks, flow, depth and tracks"

    @cached_property
    def frames(self) -> list[Path]:  # type: ignore[override]
        """Images in the order of time."""
        return self.clip.frames()

    @property
    def times(self) -> tuple[Float64[np.ndarray, "F"], float | None]:
        """Times in [0, 1], and frames per second."""
        return self.clip.times

    def cameras(self) -> Cameras:
        """Read the best cameras there are.

        Raises:
            DatasetError: there is not one for each frame.
        """
        cameras, count = self.clip.cameras(), len(self.frames)
        if len(cameras.Ks) != count:
            raise DatasetError(
                f"{self.root} has {count} frames, but poses {cameras.camera_to_worlds.shape} "
                f"and intrinsics {cameras.Ks.shape}; run the stage `cameras` again"
            )
        return cameras

    @cached_property
    def names(self) -> frozenset[Prior]:  # type: ignore[override]
        """What the folder holds."""
        clip, count = self.clip, len(self.frames)
        masks = bool(clip.mask_files())
        found: dict[Prior, bool] = {
            "dynamic_mask": masks,
            "motion": masks,
            "flow": all(clip.has_flow(i, i + 1) for i in range(count - 1)),
            "flow_back": all(clip.has_flow(i + 1, i) for i in range(count - 1)),
            "depth": clip.has_depth(),
            "disparity": clip.has_depth(),
            "tracks": clip.has_tracks(),
        }
        return frozenset(name for name, there in found.items() if there)

    def dynamic_mask(self, i: int) -> Bool[np.ndarray, "h w"]:
        """Read where frame i moves by itself: every instance but the static 0."""
        return self.clip.dynamic_mask(i)

    def motion(self, i: int) -> Float32[np.ndarray, "h w"]:
        """Read how likely each pixel moves: 1 in the masks, outside at most one half, as the flow says."""
        mask = self.dynamic_mask(i).astype(np.float32)
        if not self.clip.motion_path(i).is_file():
            return mask
        probability = self.clip.motion(i)
        return np.maximum(mask, 0.5 * probability) if probability.shape == mask.shape else mask

    def depth(self, i: int) -> Float32[np.ndarray, "h w"]:
        """Read planar z of frame i."""
        return self.clip.depth(i)

    def has_flow(self, i: int, j: int) -> bool:
        """Whether the flow from frame i to frame j is on disk."""
        return self.clip.has_flow(i, j)

    def flow(self, i: int, j: int) -> Flow:
        """Read the flow from frame i to frame j."""
        return self.clip.flow(i, j)

    def tracks(self) -> Tracks:
        """Read the tracks."""
        return self.clip.tracks()

    def points(self, middle: int) -> tuple[Float64[np.ndarray, "P 3"], UInt8[np.ndarray, "P 3"]] | None:
        """Read the fused scene, static points before moving ones, or what the cameras were found with."""
        if self._fused is None:
            sparse = self.clip.sparse_points()
            return None if sparse is None else (sparse[0].astype(np.float64), sparse[1])
        moving, colors, _ = self._fused.moving(middle)
        return (
            np.concatenate((self._fused.static_points, moving)).astype(np.float64),
            np.concatenate((self._fused.static_rgbs, colors)),
        )

    @cached_property
    def _fused(self) -> FusedScene | None:
        return self.clip.fused()
