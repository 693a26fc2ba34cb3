"""Priors of a dataset's images, at the size of the images, as they stand in a batch.

- `dynamic_mask`: bool [H, W, 1], True where something moves.
- `motion`: [H, W, 1] in 0..1, how likely each pixel moves by itself.
- `flow`: [H, W, 2] in pixels of the image, x right, y down, with `flow_valid`, bool [H, W, 1], and
  `flow_to` [], the image of the dataset that it leads to: the next moment's.
- `flow_back`, with `flow_back_valid` and `flow_back_to`: the same to the moment before.
- `depth`: [H, W, 1], planar z in scene units, 0 = unknown.
- `disparity`: [H, W, 1], 1 / depth, 0 = unknown.
- `tracks`: `track_xy` [V, 2], pixels (centres at +0.5) of the points visible in the image, and
  `track_ids` [V], their columns in the datamanager's `tracks`.

An image without flow onwards (the last one; one whose next frame is held out) has `flow_valid` False
everywhere and `flow_to` -1, likewise backwards. Maps are resampled without mixing values across edges; a
pixel of a mask is True if anything moves in it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property

import cv2
import numpy as np
import torch
from jaxtyping import Float32, Int64
from torch import Tensor

from dyn3d_ns.data.dataset import DynamicDataset
from dyn3d_ns.io.errors import DatasetError
from dyn3d_ns.io.footage.base import Prior, Truth
from dyn3d_ns.io.images import resize_area
from dyn3d_ns.io.priors import FlowPrior, TrackPrior
from dyn3d_ns.io.resampling import mask_to, nearest_to
from dyn3d_ns.io.scene_metadata import scene_of

_BYTES: dict[str, int] = {
    "dynamic_mask": 1, "motion": 4, "flow": 9, "flow_back": 9, "depth": 4, "disparity": 4, "tracks": 0,
    "clean": 3,
}  # fmt: skip
"""Memory of a pixel."""


class Priors:
    """Priors of the images of a dataset, decoded at most once, within the memory that its images may take.

    Ground truth that is asked for comes along: a true mask in the place of the prior one (an image without
    has none), and `clean`, uint8 [H, W, 3], the image without anything that moves.
    """

    def __init__(self, dataset: DynamicDataset, names: Sequence[Prior], truths: Sequence[Truth] = ()) -> None:
        cameras = dataset.cameras
        self._dataset, self.names, self.truths = dataset, tuple(names), tuple(truths)
        self._source = scene_of(dataset.metadata).priors
        self._sizes = [(int(w), int(h)) for w, h in zip(cameras.width, cameras.height, strict=True)]
        self._decoded: dict[int, dict[str, Tensor]] = {}

    def check(self, where: object) -> None:
        """Raise the error that names what the dataset lacks, if it lacks anything.

        Raises:
            DatasetError: a prior that was asked for does not exist.
        """
        missing = [name for name in self.names if name not in self._source.names]
        if missing:
            there = ", ".join(sorted(self._source.names)) or "none"
            raise DatasetError(
                f"{where} has no {', '.join(missing)} (its priors: {there}), but "
                f"`--pipeline.datamanager.priors {' '.join(self.names)}` asks for it; {self._source.advice}"
            )

    def of(self, image: int) -> dict[str, Tensor]:
        """Return the priors of an image by their name in the batch; shared, not to be written to."""
        found = self._decoded.get(image)
        if found is None:
            found = self._read(image)
            if self._dataset.may_keep(sum(value.nbytes for value in found.values())):
                self._decoded[image] = found
        return found

    def at(self, image: int, pixels: Int64[np.ndarray, "P"]) -> dict[str, Tensor]:
        """Return the priors of some pixels (flat indices) of an image, one row a pixel; tracks have none."""
        index = torch.from_numpy(pixels)
        return {
            name: value.expand(len(index)) if value.ndim == 0 else value.flatten(0, 1)[index]
            for name, value in self.of(image).items()
            if not name.startswith("track_")
        }

    @cached_property
    def tracks(self) -> list[TrackPrior]:
        """Tracks of each recording at the size of its images; empty unless they are asked for."""
        if "tracks" not in self.names:
            return []
        return [self._sized_tracks(found) for found in self._source.tracks()]

    def estimate_bytes(self) -> int:
        """Return the memory that the priors of all images take."""
        return sum(w * h for w, h in self._sizes) * sum(_BYTES[name] for name in {*self.names, *self.truths})

    def preload(self, max_workers: int | None = None) -> None:
        """Decode the priors of all images in threads."""
        if self.names or self.truths:
            with ThreadPoolExecutor(max_workers or min(16, os.cpu_count() or 1)) as pool:
                list(pool.map(self.of, range(len(self._sizes))))

    def _read(self, image: int) -> dict[str, Tensor]:
        size, found = self._sizes[image], {}
        if "dynamic_mask" in self.truths and self._source.has_true_mask(image):
            found["dynamic_mask"] = mask_to(self._source.true_mask(image), size)[..., None]
        elif "dynamic_mask" in self.names and "dynamic_mask" not in self.truths:
            found["dynamic_mask"] = mask_to(self._source.dynamic_mask(image), size)[..., None]
        if "motion" in self.names:
            found["motion"] = area_to(self._source.motion(image), size)[..., None]
        if "clean" in self.truths:
            found["clean"] = resize_area(self._source.clean(image), *size)
        if "flow" in self.names:
            found |= _flow_to("flow", self._source.flow(image), size)
        if "flow_back" in self.names:
            found |= _flow_to("flow_back", self._source.flow_back(image), size)
        if "depth" in self.names or "disparity" in self.names:
            depth = nearest_to(self._source.depth(image), size)[..., None]
            known = depth > 0
            if "depth" in self.names:
                found["depth"] = depth
            if "disparity" in self.names:
                found["disparity"] = np.where(known, 1 / np.where(known, depth, 1), 0).astype(np.float32)
        for tracks in self.tracks:
            rows = np.flatnonzero(tracks.images == image)
            if len(rows):
                ids = np.flatnonzero(tracks.visible[rows[0]])
                found["track_xy"], found["track_ids"] = tracks.xy[rows[0]][ids], ids
        return {name: torch.tensor(value) for name, value in found.items()}

    def _sized_tracks(self, found: TrackPrior) -> TrackPrior:
        first = int(found.images[0])
        width, height = self._source.size(first)
        scale = np.array(self._sizes[first], np.float32) / np.array([width, height], np.float32)
        return found._replace(xy=found.xy * scale)


def area_to(values: Float32[np.ndarray, "h w"], size: tuple[int, int]) -> Float32[np.ndarray, "H W"]:
    """Average what an output pixel covers, or interpolate where the map is enlarged."""
    if (values.shape[1], values.shape[0]) == size:
        return values
    shrinks = values.shape[1] >= size[0] and values.shape[0] >= size[1]
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(values, size, interpolation=how), dtype=np.float32)


def _flow_to(name: str, found: FlowPrior | None, size: tuple[int, int]) -> dict[str, np.ndarray]:
    width, height = size
    if found is None:
        flow, valid = np.zeros((height, width, 2), np.float32), np.zeros((height, width, 1), bool)
        return {name: flow, f"{name}_valid": valid, f"{name}_to": np.array(-1)}
    scale = np.array([width / found.flow.shape[1], height / found.flow.shape[0]], np.float32)
    return {
        name: nearest_to(found.flow, size) * scale,
        f"{name}_valid": nearest_to(found.valid, size)[..., None],
        f"{name}_to": np.array(found.to),
    }
