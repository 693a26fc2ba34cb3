"""A few numbers that tell the images of one training from those of another."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from dyn3d_ns.data.dataset import DynamicDataset
from dyn3d_ns.io.scene_metadata import scene_of

_CLOSE = 1e-3
"""Difference of poses, relative to their size, that arithmetic on another machine may leave."""


class DataSummary(NamedTuple):
    """What a checkpoint notes of its training images; plain numbers and text."""

    place: str
    """Folder or file of the data."""
    images: int
    """Number of training images."""
    times: int
    """Number of recorded times, the future included."""
    width: int
    """Pixels of the first image."""
    height: int
    """Pixels of the first image."""
    poses: list[float]
    """Mean camera-to-world pose of the images, and the same with later images counting more."""
    nbytes: int
    """Size of the images' files together; 0 where a recording is decoded."""

    def differs_from(self, before: Mapping[str, Any]) -> str | None:
        """Return in words what is not as in another summary, None where all is; places do not count."""
        for name, unit in (("images", "training images"), ("times", "recorded times")):
            old, new = before[name], getattr(self, name)
            if old != new:
                return f"there are {new} {unit} instead of {old}"
        if (self.width, self.height) != (before["width"], before["height"]):
            return f"images are {self.width}x{self.height} instead of {before['width']}x{before['height']}"
        size = 1 + max(abs(value) for value in self.poses)
        if any(abs(a - b) > _CLOSE * size for a, b in zip(self.poses, before["poses"], strict=True)):
            return "the cameras stand elsewhere"
        return None if self.nbytes == before["nbytes"] else "the image files are others"


def summary_of(dataset: DynamicDataset, place: Path) -> DataSummary:
    """Return the summary of training images that lie at a place."""
    cameras, scene = dataset.cameras, scene_of(dataset.metadata)
    poses = cameras.camera_to_worlds.detach().cpu().double().flatten(1)
    later = torch.linspace(0, 1, len(poses), dtype=poses.dtype)[:, None]
    return DataSummary(
        str(Path(place).absolute()),
        len(dataset),
        scene.timeline.num_frames,
        int(cameras.width.flatten()[0]),
        int(cameras.height.flatten()[0]),
        torch.cat([poses.mean(0), (poses * later).mean(0)]).tolist(),
        0 if dataset.frames is not None else sum(path.stat().st_size for path in dataset.image_filenames),
    )
