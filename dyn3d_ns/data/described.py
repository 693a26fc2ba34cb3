"""Scenes of dataparsers that know nothing of ours: Nerfstudio's own, and those of other packages."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float64
from nerfstudio.cameras.cameras import Cameras, CameraType
from nerfstudio.data.dataparsers.base_dataparser import DataParser, DataparserOutputs
from nerfstudio.utils.rich_utils import CONSOLE

from dyn3d_ns.geometry.bounds import group_poses
from dyn3d_ns.io.errors import DatasetError, UserError
from dyn3d_ns.io.scene_metadata import SceneMetadata, ScenePoints, knows_scene, our_dataparsers
from dyn3d_ns.io.transparency import first_transparent
from dyn3d_ns.timeline import TIME_EPS, Timeline

Asked = Literal["train", "val", "test"]


def described(
    parser: DataParser, asked: Asked, outputs: DataparserOutputs | None = None
) -> DataparserOutputs:
    """Return what a dataparser gives for a split, with a scene in time made of the cameras' times.

    Cameras without times make a scene of one time, which rests. What dataparsers of ours give is returned as
    it is.

    Args:
        parser: The dataparser.
        asked: Split.
        outputs: What it gives for that, if it has been asked.

    Raises:
        DatasetError: images have lenses that are not undone, or times that are no numbers.
    """
    found = parser.get_dataparser_outputs(split=asked) if outputs is None else outputs
    if knows_scene(found.metadata):
        return found
    name = type(parser).__name__
    _refuse_lenses(name, found.cameras)
    train = found if asked == "train" else parser.get_dataparser_outputs(split="train")
    others = [
        found if split == asked else parser.get_dataparser_outputs(split=split) for split in ("val", "test")
    ]
    times = [_times(name, part.cameras) for part in (found, train, *others)]
    everything = np.concatenate(times)
    first, last = float(everything.min()), float(everything.max())
    if first < -TIME_EPS or last > 1 + TIME_EPS:
        if asked == "train":
            CONSOLE.print(f"{name} gives times from {first:g} to {last:g}: they are taken as 0 to 1")
        times = [(part - first) / (last - first) for part in times]
    elif asked == "train" and found.cameras.times is None:
        CONSOLE.print(f"{name} gives its images no times: they show a scene that rests, at one time")
    mine, seen = times[0], float(times[1].max())
    timeline = Timeline.from_times(np.concatenate(times).tolist(), seen)
    cameras = replace_times(found.cameras, mine)
    groups = group_poses(np.concatenate([_poses(part.cameras) for part in (train, *others, found)]))
    xyz, rgb = found.metadata.get("points3D_xyz"), found.metadata.get("points3D_rgb")
    scene = SceneMetadata(
        timeline=timeline,
        splits=timeline.split_of(mine.tolist(), [asked == "train"] * len(mine)),
        source_files=[path.parent.name for path in found.image_filenames],
        camera_ids=torch.from_numpy(groups[len(groups) - len(mine) :]),
        has_alpha=first_transparent(train.image_filenames) is not None,
        points=None if xyz is None or rgb is None else ScenePoints(xyz, rgb),
    )
    return replace(found, cameras=cameras, metadata={**found.metadata, **scene.to_metadata()})


@contextmanager
def explaining_failures(config: Any) -> Iterator[None]:
    """Run what reads a dataset; say in one sentence what a dataparser that is not ours fails at.

    Raises:
        DatasetError: it fails.
    """
    try:
        yield
    except UserError:
        raise
    except (OSError, LookupError, ValueError, TypeError, AssertionError, RuntimeError) as error:
        parser = config.dataparser._target
        if parser.__module__.startswith("dyn3d_ns."):
            raise
        said = f"no {error}" if isinstance(error, KeyError) else str(error) or "an assertion of its own"
        raise DatasetError(
            f"{parser.__name__} cannot read {config.dataparser.data} ({said}); mend that, or name a "
            f"dataparser for scenes that move at the end of the command: {', '.join(our_dataparsers())}"
        ) from error


def replace_times(cameras: Cameras, times: Float64[np.ndarray, "N"]) -> Cameras:
    """Return cameras at other times."""
    return replace(cameras, times=torch.from_numpy(times).float()[:, None])


def _times(name: str, cameras: Cameras) -> Float64[np.ndarray, "N"]:
    if cameras.times is None:
        return np.zeros(len(cameras))
    times = cameras.times.flatten().double().numpy()
    if not np.isfinite(times).all():
        raise DatasetError(
            f"{name} gives image {int((~np.isfinite(times)).argmax())} a time that is no number"
        )
    return times


def _poses(cameras: Cameras) -> Float64[np.ndarray, "N 4 4"]:
    poses = np.tile(np.eye(4), (len(cameras), 1, 1))
    poses[:, :3] = cameras.camera_to_worlds.double().numpy()
    return poses


def _refuse_lenses(name: str, cameras: Cameras) -> None:
    """Refuse cameras that are no pinholes; their images would be taken for those of pinholes."""
    kinds = {CameraType(int(kind)).name for kind in cameras.camera_type.unique()} - {"PERSPECTIVE"}
    lens = cameras.distortion_params
    if kinds or (lens is not None and bool((lens.abs() > TIME_EPS).any())):
        what = f"{', '.join(sorted(kinds)).lower()} cameras" if kinds else "cameras whose lenses distort"
        raise DatasetError(
            f"{name} gives {what}, and leaves it to methods to undo that: name video-data or "
            "dynamic-object-data at the end of the command, which read the same files and undo lenses, or "
            "undistort the images first (`colmap image_undistorter`)"
        )
