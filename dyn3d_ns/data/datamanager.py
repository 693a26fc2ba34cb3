"""A full-image datamanager for scenes that move."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, cast

import numpy as np
import torch
from jaxtyping import UInt8
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.configs.dataparser_configs import AnnotatedDataParserUnion
from nerfstudio.data.datamanagers.full_images_datamanager import (
    FullImageDatamanager,
    FullImageDatamanagerConfig,
)
from nerfstudio.utils.rich_utils import CONSOLE
from torch import Tensor
from tyro.conf import Suppress

from dyn3d_ns.data.dataset import DynamicDataset
from dyn3d_ns.data.described import Asked, described, explaining_failures
from dyn3d_ns.data.priors import Priors
from dyn3d_ns.data.sampling import Sampling, TimeWindowSampler
from dyn3d_ns.data.summary import DataSummary, summary_of
from dyn3d_ns.dataparsers.dynamic_object import (  # pyright: ignore[reportMissingImports]
    DynamicObjectDataParserConfig,
)
from dyn3d_ns.io.footage.base import Prior, Truth
from dyn3d_ns.io.images import resize_area
from dyn3d_ns.io.priors import TrackPrior
from dyn3d_ns.io.scene_metadata import scene_of
from dyn3d_ns.timeline import TIME_EPS, Timeline

Batch = dict[str, Any]
_MAX_SLICES = 1000
"""Cameras of single images that are kept of a recording, whose length knows no bound."""


@dataclass
class DynamicDataManagerConfig(FullImageDatamanagerConfig):
    """Configuration of a full-image datamanager for scenes that move"""

    _target: type = field(default_factory=lambda: DynamicDataManager)
    """Target class to instantiate."""
    dataparser: AnnotatedDataParserUnion = field(default_factory=DynamicObjectDataParserConfig)
    """Dataset layout."""
    cache_images_type: Literal["uint8", "float32"] = "uint8"
    """Type of the images handed out; they are kept as uint8 either way and converted on the device."""
    masks_on_gpu: Suppress[bool] = False
    """Masks are priors: they go where the image goes."""
    images_on_gpu: Suppress[bool] = False
    """``cache_images`` says so."""
    eval_num_images_to_sample_from: Suppress[int] = -1
    """Every evaluation image is used."""
    eval_num_times_to_repeat_images: Suppress[int] = -1
    """Each once."""
    eval_image_indices: Suppress[tuple[int, ...] | None] = None
    """All of them."""
    train_cameras_sampling_strategy: Suppress[Literal["random", "fps"]] = "random"
    """Images are drawn in shuffled rounds from the times that the schedule allows."""
    fps_reset_every: Suppress[int] = 100
    """Of the other strategy."""
    max_cache_gb: float = 24.0
    """Memory for decoded images and priors in GB; those beyond it are decoded each time they are used."""
    priors: tuple[Prior, ...] = ()
    """What the batch holds beside the image, at its size; data/priors.py says how."""


class DynamicDataManager(FullImageDatamanager[DynamicDataset]):
    """Hand out one camera with its time and its image per step.

    Every image is decoded once, in threads, and kept as uint8 in ordinary memory or, with
    ``cache_images = "gpu"``, on the device; those of a recording are decoded as they are asked for, and not
    kept. Cameras are sliced once. The cameras handed out are shallow
    copies, so that a caller may rescale them; images are shared and must not be written to.
    """

    config: DynamicDataManagerConfig
    train_dataset: DynamicDataset
    eval_dataset: DynamicDataset
    sampling: Callable[[int], Sampling] | None = None
    """Given the step: what may be drawn; None for everything."""

    def __init__(self, config: DynamicDataManagerConfig, *args, **kwargs) -> None:
        # The base class overrules "gpu" above 500 images, since it pins them; we keep uint8 and never pin.
        cache_images, config.cache_images = config.cache_images, "cpu"
        with explaining_failures(config):
            super().__init__(config, *args, **kwargs)
        config.cache_images = cache_images
        self.train_cameras = self.train_dataset.cameras.to(self.device)
        self._train_slices: dict[int, Cameras] = {}
        self._eval_slices: dict[int, Cameras] = {}
        self._on_device: dict[int, dict[str, Tensor]] = {}
        self._train_priors = Priors(self.train_dataset, self._train_prior_names())
        self._eval_priors = Priors(self.eval_dataset, self._eval_prior_names(), self._eval_truths())
        if self.test_mode != "inference":
            self._train_priors.check(self.get_datapath())
        times = self.train_dataset.cameras.times
        assert times is not None
        self._times = times.flatten()
        self._time_list: list[float] = self._times.tolist()
        seed = torch.initial_seed() + config.train_cameras_sampling_seed
        self.train_sampling = TimeWindowSampler(self._times, seed)
        order = torch.randperm(len(self.eval_dataset), generator=torch.Generator().manual_seed(seed % 2**63))
        self._eval_order: list[int] = order.tolist()

    def create_train_dataset(self) -> DynamicDataset:
        """Make the training images, those of a dataparser that knows nothing of ours too."""
        self.train_dataparser_outputs = described(self.dataparser, "train", self.train_dataparser_outputs)
        return super().create_train_dataset()

    def create_eval_dataset(self) -> DynamicDataset:
        """Make the evaluation images of the split that is asked for."""
        return self.dataset_type(
            dataparser_outputs=described(self.dataparser, cast(Asked, self.test_split)),
            scale_factor=self.config.camera_res_scale_factor,
        )

    @property
    def timeline(self) -> Timeline:
        """Times of the recording and where its observed part ends."""
        return scene_of(self.train_dataset.metadata).timeline

    @property
    def time_range(self) -> tuple[float, float]:
        """First and last normalised time of the images that :meth:`next_train` draws from."""
        return self.train_sampling.time_range

    @time_range.setter
    def time_range(self, limits: tuple[float, float]) -> None:
        self.train_sampling.time_range = limits

    @cached_property
    def summary(self) -> DataSummary:
        """Return what tells the training images from others."""
        return summary_of(self.train_dataset, self.get_datapath())

    def get_state(self) -> dict[str, Any]:
        """Return what determines the coming training images; tensors and plain numbers only."""
        return self.train_sampling.get_state()

    def set_state(self, state: dict[str, Any]) -> None:
        """Continue the order of training images from a state of :meth:`get_state`."""
        self.train_sampling.set_state(state)

    @cached_property
    def cached_train(self) -> Sequence[Batch]:  # type: ignore[override]
        """Training images with their indices; decoding starts with the first access."""
        self._preload(self.train_dataset, self._train_priors, "training")
        return _Images(self.train_dataset, self._train_priors)

    @cached_property
    def cached_eval(self) -> Sequence[Batch]:  # type: ignore[override]
        """Evaluation images with their indices; decoding starts with the first access."""
        self._preload(self.eval_dataset, self._eval_priors, "evaluation")
        return _Images(self.eval_dataset, self._eval_priors)

    @property
    def tracks(self) -> list[TrackPrior]:
        """Tracks through the training images, one entry a recording; empty unless priors ask for them."""
        return self._train_priors.tracks

    def _train_prior_names(self) -> tuple[Prior, ...]:
        """Return the priors that training reads."""
        return self.config.priors

    def _eval_prior_names(self) -> list[Prior]:
        """Return the priors of evaluation images: those of the training, and masks to score regions by."""
        there = scene_of(self.eval_dataset.metadata).priors.names
        asked: list[Prior] = [*self.config.priors, "dynamic_mask", "motion"]
        return [name for name in dict.fromkeys(asked) if name in there]

    def _eval_truths(self) -> list[Truth]:
        """Return the ground truth of evaluation images that comes with the batch."""
        there = scene_of(self.eval_dataset.metadata).priors.truths
        asked: tuple[Truth, ...] = ("dynamic_mask", "clean")
        return [name for name in asked if name in there]

    def _preload(self, dataset: DynamicDataset, priors: Priors, what: str) -> None:
        limit = self.config.max_cache_gb * 1e9
        needed = dataset.estimate_bytes() + priors.estimate_bytes()
        dataset.max_cache_bytes = limit
        if needed <= limit:
            dataset.preload(f"Decoding {what} images", self.config.max_thread_workers)
            priors.preload(self.config.max_thread_workers)
            return
        CONSOLE.print(
            f"[bold yellow]The {len(dataset)} {what} images and their priors take {needed / 1e9:.1f} GB "
            f"decoded, more than max_cache_gb = {self.config.max_cache_gb:g}: those beyond it are decoded at "
            "every use. The dataparser's --downscale-factor makes them smaller."
        )

    def next_train(self, step: int) -> tuple[Cameras, Batch]:
        """Return the camera (with its time) and the image of the next training step."""
        asked = Sampling() if self.sampling is None else self.sampling(step)
        if self.sampling is not None:
            self.time_range = asked.window or (0.0, 1.0)
        index = self.train_sampling.next() if asked.image is None else asked.image
        if self.train_dataset.frames is not None and len(self._train_slices) >= _MAX_SLICES:
            self._train_slices.clear()
        if index not in self._train_slices:
            self._train_slices[index] = self.train_cameras[index : index + 1]
        return _fresh(self._train_slices[index], index), self._batch(
            self.cached_train, index, self._on_device
        )

    def next_eval_image(self, step: int) -> tuple[Cameras, Batch]:
        """Return the camera and image of the next evaluation step, in a fixed shuffled order."""
        index = self._eval_order[self.eval_count % len(self._eval_order)]
        self.eval_count += 1
        return self.eval_item(index)

    def eval_item(self, index: int) -> tuple[Cameras, Batch]:
        """Return the camera and image of an evaluation frame."""
        if index not in self._eval_slices:
            self._eval_slices[index] = self._eval_cameras[index : index + 1]
        return _fresh(self._eval_slices[index], index), self._batch(self.cached_eval, index, None)

    @cached_property
    def _eval_cameras(self) -> Cameras:
        return self.eval_dataset.cameras.to(self.device)

    def _batch(
        self, images: Sequence[Batch], index: int, on_device: dict[int, dict[str, Tensor]] | None
    ) -> Batch:
        batch = images[index]
        moved = None if on_device is None else on_device.get(index)
        if moved is None:
            moved = {k: v.to(self.device) for k, v in batch.items() if isinstance(v, Tensor)}
            if on_device is not None and self._keeps_on_device and moved["image"].is_cuda:
                on_device[index] = moved
        batch.update(moved)
        if self.config.cache_images_type == "float32":
            batch["image"] = moved["image"].float() / 255.0
        return batch

    @cached_property
    def _keeps_on_device(self) -> bool:
        return self.config.cache_images == "gpu" and self.train_dataset.frames is None

    @property
    def fixed_indices_eval_dataloader(self) -> Sequence[tuple[Cameras, Batch]]:  # type: ignore[override]
        """Evaluation frames in the order of the dataset, moved to the device one at a time."""
        return _EvalFrames(self)

    def train_indices_at(self, time_index: int) -> list[int]:
        """Return the numbers of all training images of one recorded time; none if there are none."""
        t = self.timeline.frame_times[time_index]
        return ((self._times.double() - t).abs() <= TIME_EPS).nonzero().flatten().tolist()

    def images_at(self, time_index: int) -> tuple[Cameras, UInt8[Tensor, "C H W channels"]]:
        """Return cameras (on the device) and uint8 images of all training views at one recorded time.

        What a mask leaves out may be matter: alpha is full there, so that nothing is carved away by it.
        Where images are of several sizes, all are shrunk to the least width and height of them, and the
        cameras with them.

        Raises:
            ValueError: No training view was recorded at that time.
        """
        t = self.timeline.frame_times[time_index]
        indices = torch.tensor(self.train_indices_at(time_index))
        if len(indices) == 0:
            raise ValueError(
                f"frame {time_index} (time {t:.4f}) has no training view; "
                f"training ends at {self._times.max():.4f}"
            )
        images = [_solid(self.train_dataset, i) for i in indices.tolist()]
        cameras = self.train_cameras[indices.to(self.train_cameras.device)]
        if len({image.shape for image in images}) > 1:
            width, height = int(cameras.width.min()), int(cameras.height.min())
            images = [resize_area(image, width, height) for image in images]
            cameras = _of_size(cameras, width, height)
        return cameras, torch.stack([torch.from_numpy(image) for image in images]).to(self.device)

    def get_train_rays_per_batch(self) -> int:
        """Return the number of pixels of a training image, without decoding one."""
        cameras = self.train_dataset.cameras
        return int(cameras.width[0] * cameras.height[0])


def _solid(dataset: DynamicDataset, index: int) -> UInt8[np.ndarray, "H W channels"]:
    """Return an image, opaque where it does not count."""
    image, mask = dataset.get_numpy_image(index), dataset.get_mask(index)
    if mask is None or image.shape[-1] < 4:
        return image
    image = image.copy()
    image[~mask, 3] = 255
    return image


def _of_size(cameras: Cameras, width: int, height: int) -> Cameras:
    """Return cameras whose images were brought to one size."""
    x, y = width / cameras.width, height / cameras.height
    return Cameras(
        camera_to_worlds=cameras.camera_to_worlds,
        fx=cameras.fx * x,
        fy=cameras.fy * y,
        cx=cameras.cx * x,
        cy=cameras.cy * y,
        width=width,
        height=height,
        camera_type=cameras.camera_type,
        times=cameras.times,
    )


def _fresh(camera: Cameras, index: int) -> Cameras:
    """Copy a camera, its tensors shared; `copy.copy` takes the long way by the pickle protocol."""
    copied = object.__new__(type(camera))
    copied.__dict__.update(camera.__dict__, metadata={"cam_idx": index})
    return copied


class _Images(Sequence):
    """The items of a dataset as fresh dictionaries around shared uint8 images and priors."""

    def __init__(self, dataset: DynamicDataset, priors: Priors) -> None:
        self._dataset, self._priors = dataset, priors
        times = dataset.cameras.times
        self._times: list[float] = [] if times is None else times.flatten().tolist()

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index):
        batch = self._dataset.get_data(index, image_type="uint8")
        batch["time"] = self._times[index]
        batch.update(self._priors.of(index))
        return batch


class _EvalFrames(Sequence):
    """The evaluation dataloader that Nerfstudio expects, moving images to the device one at a time."""

    def __init__(self, datamanager: DynamicDataManager) -> None:
        self._datamanager = datamanager

    def __len__(self) -> int:
        return len(self._datamanager.eval_dataset)

    def __getitem__(self, index):
        return self._datamanager.eval_item(range(len(self))[index])

    def __iter__(self) -> Iterator[tuple[Cameras, Batch]]:
        return (self[i] for i in range(len(self)))
