"""A datamanager that hands out rays of many images at once, for methods that render rays."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import Float, Int64
from nerfstudio.cameras.rays import RayBundle
from torch import Tensor

from dyn3d_ns.data.datamanager import DynamicDataManager, DynamicDataManagerConfig
from dyn3d_ns.data.sampling import Sampling
from dyn3d_ns.timeline import TIME_EPS


@dataclass
class RayDataManagerConfig(DynamicDataManagerConfig):
    """Configuration of a datamanager that hands out rays"""

    _target: type = field(default_factory=lambda: RayDataManager)
    """Target class to instantiate."""
    rays_per_batch: int = 4096
    """Rays of a training step."""
    images_per_batch: int = 64
    """Images that the rays of a step come from; each gives equally many."""
    background_share: float = 0.05
    """Part of the rays drawn from anywhere in an image that has alpha; the others show matter or its rim."""
    rim: int = 3
    """Pixels around matter that count as its rim."""


class RayDataManager(DynamicDataManager):
    """Hand out a bundle of rays with times, and the recorded colours of their pixels.

    Evaluation is by whole images, as in the class above.
    """

    config: RayDataManagerConfig

    def __init__(self, config: RayDataManagerConfig, *args: Any, **kwargs: Any) -> None:
        super().__init__(config, *args, **kwargs)
        frames = np.array([self.timeline.frame_index(t) for t in self._time_list])
        self._of_frame = [np.flatnonzero(frames == f) for f in range(self.timeline.num_frames)]
        self._recorded = torch.tensor([float(len(images) > 0) for images in self._of_frame])
        self._matter: dict[int, Int64[np.ndarray, "P"] | None] = {}
        seed = torch.initial_seed() + config.train_cameras_sampling_seed
        self._generator = torch.Generator().manual_seed(seed % 2**63)

    def get_state(self) -> dict[str, Any]:
        """Return what determines the coming rays."""
        return {**super().get_state(), "rays": self._generator.get_state()}

    def set_state(self, state: dict[str, Any]) -> None:
        """Continue the order of rays from a state of :meth:`get_state`."""
        super().set_state(state)
        self._generator.set_state(state["rays"].to("cpu", torch.uint8))

    def get_train_rays_per_batch(self) -> int:
        """Return the number of rays of a training step."""
        return self.config.rays_per_batch

    def next_train(self, step: int) -> tuple[RayBundle, dict[str, Any]]:  # type: ignore[override]
        """Return the rays of the next training step and the colours of their pixels, ``[R, 3 or 4]``."""
        count = min(self.config.images_per_batch, self.config.rays_per_batch)
        share = -(-self.config.rays_per_batch // count)
        images = self._draw_images(step, count)
        draws = torch.rand(count, share, 2, generator=self._generator).numpy()
        _ = self.cached_train  # decodes the images, once
        pixels, colors = [], []
        for image, draw in zip(images, draws, strict=True):
            picture = self.train_dataset.get_numpy_image(int(image))
            flat = self._pixels(int(image), picture, draw)
            pixels.append(flat)
            colors.append(picture.reshape(-1, picture.shape[-1])[flat])
        width = self.train_cameras.width[torch.from_numpy(images)].flatten().repeat_interleave(share).cpu()
        flat = torch.from_numpy(np.concatenate(pixels))
        coords = torch.stack([flat // width, flat % width], dim=-1).float() + 0.5
        indices = torch.from_numpy(np.repeat(images, share))
        rays = self.train_cameras.generate_rays(
            camera_indices=indices[:, None].to(self.device), coords=coords.to(self.device)
        )
        return rays, {
            "image": torch.from_numpy(np.concatenate(colors)).to(self.device).float() / 255.0,
            "indices": torch.cat([indices[:, None], coords.long()], dim=-1),
        }

    def _draw_images(self, step: int, count: int) -> Int64[np.ndarray, "M"]:
        """Draw a frame by its weight, then one of its images."""
        drawn = Sampling() if self.sampling is None else self.sampling(step)
        weights = self._recorded
        if drawn.frame_weights is not None:
            weights = weights * drawn.frame_weights
        if drawn.window is not None:
            weights = weights * self._within(*drawn.window)
        frames = torch.multinomial(weights, count, replacement=True, generator=self._generator).tolist()
        picks = torch.rand(count, generator=self._generator).tolist()
        return np.array(
            [self._of_frame[f][int(u * len(self._of_frame[f]))] for f, u in zip(frames, picks, strict=True)]
        )

    def _within(self, first: float, last: float) -> Float[Tensor, "F"]:
        """Return 1 for recorded times of a window, 0 for the others."""
        times = torch.tensor(self.timeline.frame_times)
        return ((times >= first - TIME_EPS) & (times <= last + TIME_EPS)).float()

    def _pixels(
        self, image: int, picture: np.ndarray, draw: Float[np.ndarray, "P 2"]
    ) -> Int64[np.ndarray, "P"]:
        """Turn random numbers into flat pixel indices of an image."""
        anywhere = (draw[:, 0] * (picture.shape[0] * picture.shape[1])).astype(np.int64)
        if image not in self._matter:
            self._matter[image] = _matter_pixels(picture, self.config.rim)
        matter = self._matter[image]
        if matter is None:
            return anywhere
        near = matter[(draw[:, 0] * len(matter)).astype(np.int64)]
        return np.where(draw[:, 1] < self.config.background_share, anywhere, near)


def _matter_pixels(picture: np.ndarray, rim: int) -> Int64[np.ndarray, "P"] | None:
    """Return the pixels within ``rim`` of any that is not transparent; None without alpha or matter."""
    if picture.shape[-1] < 4:
        return None
    mask = cv2.dilate((picture[..., 3] > 0).astype(np.uint8), np.ones((2 * rim + 1, 2 * rim + 1), np.uint8))
    found = np.flatnonzero(mask)
    return found if len(found) else None
