"""Several scenes as one dataset, each in a world of its own, for methods that learn from many."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int64, UInt8
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs
from nerfstudio.data.scene_box import SceneBox
from torch import Tensor

from dyn3d_ns.io.footage.base import Prior, Truth
from dyn3d_ns.io.frame_source import FrameSource, JoinedFrames
from dyn3d_ns.io.priors import FlowPrior, PriorSource, TrackPrior
from dyn3d_ns.io.scene_metadata import SceneMetadata, scene_of
from dyn3d_ns.timeline import Timeline


def join_scenes(parts: Sequence[DataparserOutputs]) -> DataparserOutputs:
    """Put the images of several scenes after one another; ``scene_ids`` tells them apart.

    So does each camera's ``metadata["scene_id"]``. Recorded times are those of all scenes. Points and true
    poses are left out: the worlds have nothing to do with each other. A single scene comes back as it is.
    """
    if len(parts) == 1:
        return parts[0]
    boxes = torch.stack([part.scene_box.aabb for part in parts])
    aabb = torch.stack((boxes[:, 0].amin(0), boxes[:, 1].amax(0)))
    return DataparserOutputs(
        image_filenames=[path for part in parts for path in part.image_filenames],
        cameras=_join_cameras([part.cameras for part in parts]),
        scene_box=SceneBox(aabb=aabb),
        metadata=_join_metadata([scene_of(part.metadata) for part in parts]).to_metadata(),
    )


def _join_cameras(parts: Sequence[Cameras]) -> Cameras:
    def joined(name: str) -> Tensor | None:
        values = [getattr(part, name) for part in parts]
        return None if any(value is None for value in values) else torch.cat(values)

    names = ("camera_to_worlds", "fx", "fy", "cx", "cy", "width", "height", "times", "distortion_params")
    # Commands that take cameras from a dataset hand them on without its metadata, but with their own.
    scenes = _scene_ids([len(part) for part in parts])
    return Cameras(
        **{name: joined(name) for name in names},  # type: ignore[arg-type]
        camera_type=joined("camera_type"),  # type: ignore[arg-type]
        metadata={"scene_id": scenes[:, None]},
    )


def _scene_ids(counts: Sequence[int]) -> Int64[Tensor, "N"]:
    return torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))


def _join_metadata(scenes: Sequence[SceneMetadata]) -> SceneMetadata:
    counts = [len(scene.splits) for scene in scenes]
    ids, before = [], 0
    for scene in scenes:
        ids.append(scene.camera_ids + before)
        before = int(ids[-1].max()) + 1
    timelines = [scene.timeline for scene in scenes]
    times = [t for timeline in timelines for t in timeline.frame_times]
    last = max(timeline.t_obs for timeline in timelines)
    bounds = [scene.depth_bounds for scene in scenes if scene.depth_bounds is not None]
    known = len(bounds) == len(scenes)
    return SceneMetadata(
        timeline=Timeline.from_times(times, last, timelines[0].fps),
        splits=[split for scene in scenes for split in scene.splits],
        source_files=[source for scene in scenes for source in scene.source_files],
        camera_ids=torch.cat(ids),
        has_alpha=any(scene.has_alpha for scene in scenes),
        priors=JoinedPriors(tuple(scene.priors for scene in scenes), tuple(np.cumsum([0, *counts]).tolist())),
        frames=_join_frames(scenes),
        masks=[m for scene, n in zip(scenes, counts, strict=True) for m in scene.masks or [None] * n],
        undistortions=[
            undo
            for scene, count in zip(scenes, counts, strict=True)
            for undo in scene.undistortions or [None] * count
        ],
        depth_bounds=(min(b[0] for b in bounds), max(b[1] for b in bounds)) if known else None,
        scene_names=tuple(name for scene in scenes for name in scene.scene_names),
        scene_ids=_scene_ids(counts),
    )


def _join_frames(scenes: Sequence[SceneMetadata]) -> FrameSource | None:
    """Join what gives images; scenes come from one dataparser, so that all have it or none."""
    sources = [scene.frames for scene in scenes if scene.frames is not None]
    return JoinedFrames(sources, [len(scene.splits) for scene in scenes]) if sources else None


@dataclass(frozen=True)
class JoinedPriors(PriorSource):
    """Priors of several scenes: those that all of them have."""

    parts: tuple[PriorSource, ...]
    starts: tuple[int, ...]
    """First image of each scene, and their number."""

    @property
    def names(self) -> frozenset[Prior]:  # type: ignore[override]
        """What every scene has."""
        return frozenset.intersection(*(part.names for part in self.parts))

    @property
    def truths(self) -> frozenset[Truth]:  # type: ignore[override]
        """Ground truth that every scene has."""
        return frozenset.intersection(*(part.truths for part in self.parts))

    @property
    def advice(self) -> str:  # type: ignore[override]
        """How to get what there is not."""
        return "each of several scenes must have it: " + "; ".join(
            dict.fromkeys(part.advice for part in self.parts)
        )

    def size(self, image: int) -> tuple[int, int]:
        """Return width and height of the image that tracks are counted in."""
        part, inside, _ = self._of(image)
        return part.size(inside)

    def dynamic_mask(self, image: int) -> Bool[np.ndarray, "H W"]:
        """Read where something moves."""
        part, inside, _ = self._of(image)
        return part.dynamic_mask(inside)

    def image(self, image: int) -> UInt8[np.ndarray, "H W 3"]:
        """Read the recorded image."""
        part, inside, _ = self._of(image)
        return part.image(inside)

    def motion(self, image: int) -> Float32[np.ndarray, "H W"]:
        """Read how likely each pixel moves by itself."""
        part, inside, _ = self._of(image)
        return part.motion(inside)

    def mask_is_made(self, image: int) -> bool:
        """Whether the image's mask was made for want of one."""
        part, inside, _ = self._of(image)
        return part.mask_is_made(inside)

    def has_true_mask(self, image: int) -> bool:
        """Whether the image has a true mask."""
        part, inside, _ = self._of(image)
        return part.has_true_mask(inside)

    def true_mask(self, image: int) -> Bool[np.ndarray, "H W"]:
        """Read where something truly moves."""
        part, inside, _ = self._of(image)
        return part.true_mask(inside)

    def clean(self, image: int) -> UInt8[np.ndarray, "H W 3"]:
        """Read the image as it were without anything that moves."""
        part, inside, _ = self._of(image)
        return part.clean(inside)

    def flow(self, image: int) -> FlowPrior | None:
        """Read the flow to the next moment of the same scene."""
        part, inside, start = self._of(image)
        found = part.flow(inside)
        return None if found is None else found._replace(to=found.to + start)

    def flow_back(self, image: int) -> FlowPrior | None:
        """Read the flow to the moment before of the same scene."""
        part, inside, start = self._of(image)
        found = part.flow_back(inside)
        return None if found is None else found._replace(to=found.to + start)

    def depth(self, image: int) -> Float32[np.ndarray, "H W"]:
        """Read planar z in units of the image's scene."""
        part, inside, _ = self._of(image)
        return part.depth(inside)

    def tracks(self) -> list[TrackPrior]:
        """Read the tracks of every scene."""
        return [
            found._replace(images=found.images + start)
            for part, start in zip(self.parts, self.starts, strict=False)
            for found in part.tracks()
        ]

    def _of(self, image: int) -> tuple[PriorSource, int, int]:
        """Return the scene of an image, the image's number in it, and the scene's first image."""
        scene = int(np.searchsorted(self.starts, image, side="right")) - 1
        return self.parts[scene], image - self.starts[scene], self.starts[scene]
