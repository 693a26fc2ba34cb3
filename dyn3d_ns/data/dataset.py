"""A dataset that decodes every image at most once, at the size of its camera."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, UInt8
from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs
from nerfstudio.data.datasets.base_dataset import InputDataset
from rich.progress import track

from dyn3d_ns.io.errors import ImageSizeError
from dyn3d_ns.io.images import read_image, resize_area
from dyn3d_ns.io.loss_masks import read_mask
from dyn3d_ns.io.resampling import nearest_to
from dyn3d_ns.io.scene_metadata import scene_of


class DynamicDataset(InputDataset):
    """Images as 8-bit arrays with as many channels as the scene has: four if it has transparency.

    What a lens bends is undone as an image is decoded, at its full size. Images larger than their cameras
    are area-averaged on premultiplied alpha. Decoded images stay in memory up to ``max_cache_bytes``; later
    ones are decoded whenever they are asked for. A recording that decodes its own images
    (``SceneMetadata.frames``) is asked for each, and nothing of it is kept here.

    Where there are masks an item has ``mask``, bool [H, W, 1]: True where the image counts.
    """

    max_cache_bytes: float = float("inf")
    shown_only: bool = False
    """Whether items are only looked at, as the viewer's thumbnails are: those that would take decoding a
    recording are left grey."""

    def __init__(self, dataparser_outputs: DataparserOutputs, scale_factor: float = 1.0) -> None:
        self._image_files = list(dataparser_outputs.image_filenames)
        # `ns-render dataset` names pictures after these. Masks the base class would read anew each time.
        names = distinct_names(self._image_files)
        super().__init__(
            replace(dataparser_outputs, image_filenames=names, mask_filenames=None), scale_factor
        )
        scene = scene_of(dataparser_outputs.metadata)
        self.has_alpha, self.frames, self._bits = scene.has_alpha, scene.frames, scene.bits
        self._mask_files = list(scene.masks) or [None] * len(self)
        self._undistortions = scene.undistortions or [None] * len(self)
        self._sizes = [(int(w), int(h)) for w, h in zip(self.cameras.width, self.cameras.height, strict=True)]
        self._decoded: dict[int, np.ndarray] = {}
        self._masks: dict[int, np.ndarray] = {}
        self._cached_bytes = 0

    @property
    def image_filenames(self) -> list[Path]:
        """Files of the images; one may stand for several frames."""
        return self._image_files

    def require_one_size(self, who: str) -> None:
        """Refuse images of several sizes, for who cannot do with them.

        Raises:
            ImageSizeError: there are such.
        """
        other = next((i for i, size in enumerate(self._sizes) if size != self._sizes[0]), None)
        if other is not None:
            (w, h), (width, height) = self._sizes[0], self._sizes[other]
            names = self._image_files
            raise ImageSizeError(
                f"{who} takes images of one size, but {names[0]} trains at {w}x{h} and {names[other]} at "
                f"{width}x{height}; make them of one size, or train dyn3d-velocity, which takes any"
            )

    def get_numpy_image(self, image_idx: int) -> UInt8[np.ndarray, "H W C"]:
        """Return an image; the array is shared with the cache and must not be written to."""
        if self.frames is not None:
            return resize_area(self.frames.image(image_idx), *self._sizes[image_idx])
        image = self._decoded.get(image_idx)
        if image is None:
            image = read_image(self._image_files[image_idx], self.has_alpha, self._bits)
            undo = self._undistortions[image_idx]
            image = resize_area(image if undo is None else undo.colors(image), *self._sizes[image_idx])
            if self.may_keep(image.nbytes):
                self._decoded[image_idx] = image
        return image

    def get_mask(self, image_idx: int) -> Bool[np.ndarray, "H W"] | None:
        """Return where an image counts; None where all of it does. The array must not be written to."""
        path, mask = self._mask_files[image_idx], self._masks.get(image_idx)
        if mask is None and path is not None:
            mask, undo = read_mask(path), self._undistortions[image_idx]
            mask = nearest_to(mask if undo is None else undo.nearest(mask), self._sizes[image_idx])
            if self.may_keep(mask.nbytes):
                self._masks[image_idx] = mask
        return mask

    @property
    def first_mask(self) -> Path | None:
        """File of the first mask; None where all of every image counts."""
        return next((path for path in self._mask_files if path is not None), None)

    def get_metadata(self, data: dict) -> dict[str, Any]:
        """Return the mask of an item, where there is one."""
        mask = self.get_mask(data["image_idx"])
        return {} if mask is None else {"mask": torch.from_numpy(mask)[..., None]}

    def may_keep(self, nbytes: int) -> bool:
        """Return whether so much more may stay in memory, and count it if so."""
        if self._cached_bytes + nbytes > self.max_cache_bytes:
            return False
        self._cached_bytes += nbytes
        return True

    def __getitem__(self, image_idx: int) -> dict:
        """Return an item for display, as viewer and `ns-render dataset` ask for it: float RGB over white.

        Stock colour mapping takes four channels for features. Training and evaluation use `get_data`,
        which keeps the alpha.
        """
        if self.shown_only and self.frames is not None and not self.frames.is_ready(image_idx):
            width, height = self._sizes[image_idx]
            return {"image_idx": image_idx, "image": torch.full((height, width, 3), 0.5)}
        item = self.get_data(image_idx, image_type="uint8")
        # NumPy, since torch's threads cost more than they give on hundreds of small images.
        values = self.get_numpy_image(image_idx).astype(np.float32) / 255.0
        alpha = values[..., 3:] if self.has_alpha else np.float32(1.0)
        item["image"] = torch.from_numpy(values[..., :3] * alpha + (1.0 - alpha))
        return item

    def estimate_bytes(self) -> int:
        """Return the memory that decoded images take once all were asked for."""
        if self.frames is not None:
            return 0
        channels = (4 if self.has_alpha else 3) + (self.first_mask is not None)
        return sum(w * h for w, h in self._sizes) * channels

    def preload(self, description: str, max_workers: int | None = None) -> None:
        """Decode all images that are kept, in threads behind a progress bar."""
        if self.frames is not None:
            return
        missing = [i for i in range(len(self)) if i not in self._decoded]
        if not missing:
            return

        def decode(image_idx: int) -> None:
            self.get_numpy_image(image_idx)
            self.get_mask(image_idx)

        with ThreadPoolExecutor(max_workers or min(16, os.cpu_count() or 1)) as pool:
            done = pool.map(decode, missing)
            for _ in track(done, description=description, total=len(missing), transient=True):
                pass


def distinct_names(files: Sequence[Path]) -> list[Path]:
    """Number files that differ in nothing but their extension, or are the same, from the second on."""
    taken: set[Path] = set()
    names = []
    for path in files:
        name, number = path, 1
        while name.with_suffix("") in taken:
            number += 1
            name = path.with_name(f"{path.stem}-{number}{path.suffix}")
        taken.add(name.with_suffix(""))
        names.append(name)
    return names
