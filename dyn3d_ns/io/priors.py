"""What is known of a dataset's images beside their colours, as the files have it.

A dataparser puts a :class:`PriorSource` of the images of a split into its ``SceneMetadata``; a datamanager
brings the maps to the size of its images.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Int64, UInt8

from dyn3d_ns.io.footage.base import Footage, Prior, Truth
from dyn3d_ns.io.images import read_image


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
    truths: frozenset[Truth] = frozenset()
    """Ground truth that there is; only the evaluation looks at it."""
    mask_source: str = "none"
    """Whose masks they are, for reports."""
    truth_source: str = "ground truth"
    """What true masks are, for reports."""
    camera_source: str = "given"
    """Whose cameras the images have, for reports."""
    advice: str = "only clips have any: `dyn3d process VIDEO OUT` makes one, dynamicverse-data reads it"
    """How to get what there is not."""

    def size(self, image: int) -> tuple[int, int]:
        """Return width and height of the image that tracks are counted in."""
        raise NotImplementedError

    def image(self, image: int) -> UInt8[np.ndarray, "H W 3"]:
        """Read the recorded image, at the size in which it is stored."""
        raise NotImplementedError

    def dynamic_mask(self, image: int) -> Bool[np.ndarray, "H W"]:
        """Read where something moves."""
        raise NotImplementedError

    def mask_is_made(self, image: int) -> bool:
        """Whether the image's mask was made for want of one, by rules that a method may better."""
        return False

    def motion(self, image: int) -> Float32[np.ndarray, "H W"]:
        """Read how likely each pixel moves by itself, in [0, 1]."""
        raise NotImplementedError

    def flow(self, image: int) -> FlowPrior | None:
        """Read the flow to the next moment; None where that is no image of the split."""
        raise NotImplementedError

    def flow_back(self, image: int) -> FlowPrior | None:
        """Read the flow to the moment before; None where that is no image of the split."""
        raise NotImplementedError

    def depth(self, image: int) -> Float32[np.ndarray, "H W"]:
        """Read planar z in scene units; 0 where nothing is known."""
        raise NotImplementedError

    def tracks(self) -> list[TrackPrior]:
        """Read the tracks of each recording, at the size of the stored images."""
        raise NotImplementedError

    def has_true_mask(self, image: int) -> bool:
        """Whether the image has a true mask; without one, measuring leaves it out."""
        return "dynamic_mask" in self.truths

    def true_mask(self, image: int) -> Bool[np.ndarray, "H W"]:
        """Read where something truly moves."""
        raise NotImplementedError

    def clean(self, image: int) -> UInt8[np.ndarray, "H W 3"]:
        """Read the image as it were without anything that moves."""
        raise NotImplementedError


@dataclass(frozen=True)
class FootagePriors(PriorSource):
    """Priors of some frames of one video."""

    footage: Footage
    frames: tuple[int, ...]
    """Frame of the video that each image is."""
    scale: float
    """Scene units in a unit of the video's own world."""

    @property
    def names(self) -> frozenset[Prior]:  # type: ignore[override]
        """What the video brings."""
        return self.footage.names

    @property
    def truths(self) -> frozenset[Truth]:  # type: ignore[override]
        """Ground truth that the video brings."""
        return self.footage.truths

    @property
    def mask_source(self) -> str:  # type: ignore[override]
        """Whose masks they are."""
        return self.footage.mask_source if "dynamic_mask" in self.names else "none"

    @property
    def truth_source(self) -> str:  # type: ignore[override]
        """What true masks are."""
        return self.footage.truth_source

    @property
    def camera_source(self) -> str:  # type: ignore[override]
        """Whose cameras the images have."""
        return self.footage.camera_source

    @property
    def advice(self) -> str:  # type: ignore[override]
        """How to get what there is not."""
        return self.footage.advice

    def size(self, image: int) -> tuple[int, int]:
        """Return width and height of the frames."""
        return self.footage.size

    def image(self, image: int) -> UInt8[np.ndarray, "H W 3"]:
        """Read the frame."""
        return read_image(self.footage.frames[self.frames[image]], alpha=False, bits=self.footage.bits)

    def dynamic_mask(self, image: int) -> Bool[np.ndarray, "H W"]:
        """Read where something moves."""
        return self.footage.dynamic_mask(self.frames[image])

    def motion(self, image: int) -> Float32[np.ndarray, "H W"]:
        """Read how likely each pixel moves by itself."""
        return self.footage.motion(self.frames[image])

    def flow(self, image: int) -> FlowPrior | None:
        """Read the flow to the next frame."""
        return self._flow_to(image, self.frames[image] + 1)

    def flow_back(self, image: int) -> FlowPrior | None:
        """Read the flow to the frame before."""
        return self._flow_to(image, self.frames[image] - 1)

    def _flow_to(self, image: int, to: int) -> FlowPrior | None:
        if to not in self._images:
            return None
        found = self.footage.flow(self.frames[image], to)
        return FlowPrior(found.flow, found.valid, self._images[to])

    def depth(self, image: int) -> Float32[np.ndarray, "H W"]:
        """Read planar z in scene units; 0 where nothing is known."""
        depth = self.footage.depth(self.frames[image])
        return np.where(np.isfinite(depth) & (depth > 0), depth * self.scale, 0).astype(np.float32)

    def tracks(self) -> list[TrackPrior]:
        """Read the tracks, in the frames that are images of the split."""
        found, rows = self.footage.tracks(), list(self.frames)
        # Whole numbers are pixel centres in footage.
        return [TrackPrior(np.arange(len(rows)), found.xy[rows] + np.float32(0.5), found.visible[rows])]

    def has_true_mask(self, image: int) -> bool:
        """Whether the image has a true mask; without one, measuring leaves it out."""
        return self.footage.has_true_mask(self.frames[image])

    def true_mask(self, image: int) -> Bool[np.ndarray, "H W"]:
        """Read where something truly moves."""
        return self.footage.true_mask(self.frames[image])

    def clean(self, image: int) -> UInt8[np.ndarray, "H W 3"]:
        """Read the image as it were without anything that moves."""
        return self.footage.clean(self.frames[image])

    @cached_property
    def _images(self) -> dict[int, int]:
        return {frame: image for image, frame in enumerate(self.frames)}
