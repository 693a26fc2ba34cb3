"""A datamanager that hands out rays of many images at once, for methods that render rays."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int64
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.cameras.rays import RayBundle
from torch import Tensor

from dyn3d_ns.data.datamanager import Batch, DynamicDataManager, DynamicDataManagerConfig
from dyn3d_ns.data.pixel_draws import MaskHalves, MatterAndRim, PixelDraw
from dyn3d_ns.data.sampling import Sampling
from dyn3d_ns.io.footage.base import Prior
from dyn3d_ns.io.scene_metadata import scene_of
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
    pixels: Literal["matter", "mask-halves"] = "matter"
    """Which pixels rays go through: matter and its rim, or half of them where the dynamic mask is True."""


class RayDataManager(DynamicDataManager):
    """Hand out a bundle of rays with times, and the recorded colours of their pixels.

    A batch holds ``image`` [R, 3 or 4], ``indices`` [R, 3] (image, row, column), ``scene_ids`` [R], the
    priors of the pixels and, where the dataset has masks, ``mask`` [R, 1]. Evaluation is by whole images, as
    in the class above; of several scenes, a camera's ``metadata["scene_id"]`` tells which it belongs to.
    """

    config: RayDataManagerConfig

    def __init__(self, config: RayDataManagerConfig, *args: Any, **kwargs: Any) -> None:
        super().__init__(config, *args, **kwargs)
        frames = np.array([self.timeline.frame_index(t) for t in self._time_list])
        found = scene_of(self.train_dataset.metadata).scene_ids
        self._scene_ids = torch.zeros(len(frames), dtype=torch.long) if found is None else found
        scenes = self._scene_ids.numpy()
        self._of_frame = [
            [np.flatnonzero((scenes == s) & (frames == f)) for f in range(self.timeline.num_frames)]
            for s in range(int(scenes.max()) + 1)
        ]
        self._recorded = torch.tensor([[float(len(f) > 0) for f in scene] for scene in self._of_frame])
        self._pixels: PixelDraw = (
            MaskHalves(self._train_priors)
            if config.pixels == "mask-halves"
            else MatterAndRim(self.train_dataset, config.background_share, config.rim)
        )
        seed = torch.initial_seed() + config.train_cameras_sampling_seed
        self._generator = torch.Generator().manual_seed(seed % 2**63)

    def _train_prior_names(self) -> tuple[Prior, ...]:
        drawn: tuple[Prior, ...] = ("dynamic_mask",) if self.config.pixels == "mask-halves" else ()
        return tuple(dict.fromkeys((*self.config.priors, *drawn)))

    def eval_item(self, index: int) -> tuple[Cameras, Batch]:
        """Return the camera and image of an evaluation frame."""
        camera, batch = super().eval_item(index)
        scene_ids = scene_of(self.eval_dataset.metadata).scene_ids
        if scene_ids is not None and camera.metadata is not None:
            camera.metadata["scene_id"] = int(scene_ids[index])
        return camera, batch

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
        pixels, colors, priors, masks = [], [], [], []
        for image, draw in zip(images.tolist(), draws, strict=True):
            picture = self.train_dataset.get_numpy_image(image)
            flat = self._pixels(image, draw)
            pixels.append(flat)
            colors.append(picture.reshape(-1, picture.shape[-1])[flat])
            priors.append(self._train_priors.at(image, flat))
            if self.train_dataset.first_mask is not None:
                mask = self.train_dataset.get_mask(image)
                masks.append(np.ones(len(flat), bool) if mask is None else mask.ravel()[flat])
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
            "scene_ids": self._scene_ids[indices].to(self.device),
            **({"mask": torch.from_numpy(np.concatenate(masks))[:, None].to(self.device)} if masks else {}),
            **{name: torch.cat([found[name] for found in priors]).to(self.device) for name in priors[0]},
        }

    def _draw_images(self, step: int, count: int) -> Int64[np.ndarray, "M"]:
        """Draw a scene, a frame of it by its weight, then one of the frame's images."""
        drawn = Sampling() if self.sampling is None else self.sampling(step)
        weights = self._recorded
        if drawn.frame_weights is not None:
            weights = weights * drawn.frame_weights
        if drawn.window is not None:
            weights = weights * self._within(*drawn.window)
        scenes = self._draw_scenes(weights, count)
        if len(weights) == 1:
            frames = torch.multinomial(weights[0], count, replacement=True, generator=self._generator)
        else:
            frames = torch.multinomial(weights[scenes], 1, generator=self._generator)[:, 0]
        picks = torch.rand(count, generator=self._generator).tolist()
        chosen = [self._of_frame[s][f] for s, f in zip(scenes.tolist(), frames.tolist(), strict=True)]
        return np.array([found[int(u * len(found))] for found, u in zip(chosen, picks, strict=True)])

    def _within(self, first: float, last: float) -> Float[Tensor, "F"]:
        """Return 1 for recorded times of a window, 0 for the others."""
        times = torch.tensor(self.timeline.frame_times)
        return ((times >= first - TIME_EPS) & (times <= last + TIME_EPS)).float()

    def _draw_scenes(self, weights: Float[Tensor, "S F"], count: int) -> Int64[Tensor, "M"]:
        """Draw scenes evenly from those that have a frame to draw; a single one takes no random numbers."""
        if len(weights) == 1:
            return torch.zeros(count, dtype=torch.long)
        usable = (weights.sum(1) > 0).nonzero()[:, 0]
        return usable[torch.randint(len(usable), (count,), generator=self._generator)]
