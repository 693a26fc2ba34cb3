"""Priors of a scene's frames, and the masks of its images to evaluate on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, UInt8

from dyn3d_ns.io.dynamic_scene.maps import SceneMaps
from dyn3d_ns.io.dynamic_scene.true_masks import EvaluationMasks
from dyn3d_ns.io.footage.base import Prior, Truth
from dyn3d_ns.io.images import read_image
from dyn3d_ns.io.priors import FlowPrior, PriorSource


@dataclass(frozen=True)
class FramePriors(PriorSource):
    """Masks, flow both ways and depth of the frames: image i is frame i."""

    maps: SceneMaps
    scale: float
    """Scene units in a unit of the scene's own world."""
    names: frozenset[Prior] = frozenset({"dynamic_mask", "flow", "flow_back", "depth", "disparity"})
    mask_source: str = "dataset"
    camera_source: str = "dataset"
    advice: str = "a scene brings masks, flow and depth, or they are made; it has no tracks"

    def size(self, image: int) -> tuple[int, int]:
        """Return width and height of the frames."""
        return self.maps.files.size

    def image(self, image: int) -> UInt8[np.ndarray, "H W 3"]:
        """Read the frame."""
        return read_image(self.maps.files.frames[image], alpha=False)

    def dynamic_mask(self, image: int) -> Bool[np.ndarray, "H W"]:
        """Return where something moves."""
        return self.maps.mask(image)

    def mask_is_made(self, image: int) -> bool:
        """Whether the frame's mask comes from no file."""
        return not self.maps.has_mask_file(image)

    def flow(self, image: int) -> FlowPrior | None:
        """Return the flow to the next frame."""
        return self._flow_to(image, image + 1)

    def flow_back(self, image: int) -> FlowPrior | None:
        """Return the flow to the frame before."""
        return self._flow_to(image, image - 1)

    def depth(self, image: int) -> Float32[np.ndarray, "H W"]:
        """Return planar z in scene units; 0 where nothing is known."""
        inverse = self.maps.inverse_depth(image)
        known = inverse > 0
        return np.where(known, self.scale / np.where(known, inverse, 1), 0).astype(np.float32)

    def _flow_to(self, image: int, to: int) -> FlowPrior | None:
        if not 0 <= to < len(self.maps.files.frames):
            return None
        found = self.maps.flow(image, to)
        return FlowPrior(found.flow, found.valid, to)


@dataclass(frozen=True)
class EvaluationPriors(PriorSource):
    """What moves in the images to evaluate on, and nothing that a method could learn from."""

    masks: EvaluationMasks
    views: tuple[int, ...]
    """View that each image is."""
    truths: frozenset[Truth] = frozenset({"dynamic_mask"})
    truth_source: str = "masks of the dataset, and differences from the median of each camera"
    camera_source: str = "dataset"

    def has_true_mask(self, image: int) -> bool:
        """Whether the image has a mask; of a camera with few times only training views have."""
        return self.masks.has(self.views[image])

    def true_mask(self, image: int) -> Bool[np.ndarray, "H W"]:
        """Return where something moves."""
        return self.masks.of(self.views[image])
