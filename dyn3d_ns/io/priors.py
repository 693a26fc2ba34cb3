"""What is known of a dataset's images beside their colours, as the files have it.

A dataparser puts a :class:`PriorSource` of the images of a split into its ``SceneMetadata``; a datamanager
brings the maps to the size of its images.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Int64

from dyn3d_ns.io.clip.folder import ClipFolder

Prior = Literal["dynamic_mask", "flow", "depth", "disparity", "tracks"]


class FlowPrior(NamedTuple):
    """Flow of an image."""

    flow: Float32[np.ndarray, "H W 2"]
    """Pixels, x right, y down."""
    valid: Bool[np.ndarray, "H W"]
    """Where the flow back agrees."""
    to: int
    """Image of the split that it leads to."""


class TrackPrior(NamedTuple):
    """Points followed through the images of one recording."""

    images: Int64[np.ndarray, "I"]
    """Images of the split that the rows belong to, in the order of time."""
    xy: Float32[np.ndarray, "I P 2"]
    """Pixels of the image, pixel centres at +0.5; meaningless where not visible."""
    visible: Bool[np.ndarray, "I P"]


class PriorSource:
    """Reads priors of the images of a split; a dataset overrides what it has.

    Nothing of it may show images outside the split: those are held out to evaluate on.
    """

    names: frozenset[Prior] = frozenset()
    """What there is."""
    advice: str = (
        "only clips have any: `dyn3d process VIDEO OUT` makes one, the dataparser dynamicverse-data reads it"
    )
    """How to get what there is not."""

    def size(self, image: int) -> tuple[int, int]:
        """Return width and height of the image that tracks are counted in."""
        raise NotImplementedError

    def dynamic_mask(self, image: int) -> Bool[np.ndarray, "H W"]:
        """Read where something moves."""
        raise NotImplementedError

    def flow(self, image: int) -> FlowPrior | None:
        """Read the flow to the next moment; None where that is no image of the split."""
        raise NotImplementedError

    def depth(self, image: int) -> Float32[np.ndarray, "H W"]:
        """Read planar z in scene units; 0 where nothing is known."""
        raise NotImplementedError

    def tracks(self) -> list[TrackPrior]:
        """Read the tracks of each recording, at the size of the stored images."""
        raise NotImplementedError


@dataclass(frozen=True)
class ClipPriors(PriorSource):
    """Priors of a processed clip."""

    clip: ClipFolder
    frames: tuple[int, ...]
    """Frame of the clip that each image is."""
    scale: float
    """Scene units in a unit of the clip's own world."""

    @cached_property
    def names(self) -> frozenset[Prior]:  # type: ignore[override]
        """What the folder holds."""
        clip = self.clip
        found: dict[Prior, bool] = {
            "dynamic_mask": bool(clip.mask_files()),
            "flow": all(clip.has_flow(i, i + 1) for i in range(clip.num_frames - 1)),
            "depth": clip.has_depth(),
            "disparity": clip.has_depth(),
            "tracks": clip.has_tracks(),
        }
        return frozenset(name for name, there in found.items() if there)

    @property
    def advice(self) -> str:  # type: ignore[override]
        """How to get what there is not."""
        return f"`dyn3d process VIDEO {self.clip.root}` makes masks, flow, depth and tracks"

    def size(self, image: int) -> tuple[int, int]:
        """Return width and height of the clip's frames."""
        return self.clip.size

    def dynamic_mask(self, image: int) -> Bool[np.ndarray, "H W"]:
        """Read where something moves: every instance but the static 0."""
        return self.clip.dynamic_mask(self.frames[image])

    def flow(self, image: int) -> FlowPrior | None:
        """Read the flow to the clip's next frame."""
        after = self.frames[image] + 1
        if after not in self._images:
            return None
        found = self.clip.flow(after - 1, after)
        return FlowPrior(found.flow, found.valid, self._images[after])

    def depth(self, image: int) -> Float32[np.ndarray, "H W"]:
        """Read planar z in scene units; 0 where nothing is known."""
        depth = self.clip.depth(self.frames[image])
        return np.where(np.isfinite(depth) & (depth > 0), depth * self.scale, 0).astype(np.float32)

    def tracks(self) -> list[TrackPrior]:
        """Read the tracks, in the frames that are images of the split."""
        found, rows = self.clip.tracks(), list(self.frames)
        # Whole numbers are pixel centres in the clip.
        return [TrackPrior(np.arange(len(rows)), found.xy[rows] + np.float32(0.5), found.visible[rows])]

    @cached_property
    def _images(self) -> dict[int, int]:
        return {frame: image for image, frame in enumerate(self.frames)}
