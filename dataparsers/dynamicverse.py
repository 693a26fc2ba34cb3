"""Clips that `dyn3d process` made, and scenes of DynamicVerse."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float64, UInt8
from nerfstudio.cameras.cameras import Cameras, CameraType
from nerfstudio.data.dataparsers.base_dataparser import DataParser, DataParserConfig, DataparserOutputs
from nerfstudio.data.scene_box import SceneBox
from nerfstudio.plugins.registry_dataparser import DataParserSpecification

from dyn3d_ns.geometry.bounds import bounds_of_points, group_poses, surrounding_bounds
from dyn3d_ns.geometry.cameras import HALF_PIXEL, flip_axes, shift_pixel_centers
from dyn3d_ns.io.clip import types as clip_types
from dyn3d_ns.io.clip.folder import ClipFolder
from dyn3d_ns.io.errors import DatasetError, EmptySplitError
from dyn3d_ns.io.priors import ClipPriors
from dyn3d_ns.io.scene_metadata import SceneMetadata, ScenePoints
from dyn3d_ns.timeline import Split, Timeline, wanted_splits


@dataclass
class DynamicVerseDataParserConfig(DataParserConfig):
    """Clip made by `dyn3d process`, or scene of DynamicVerse"""

    _target: type = field(default_factory=lambda: DynamicVerseDataParser)
    """Target class to instantiate."""
    data: Path = Path("data/clip")
    """Folder of the clip: the one with rgb/."""
    eval_interval: int = 8
    """Every so many frames one is held out of the training to evaluate on; 0 holds none out."""
    t_obs: float | None = None
    """Last observed time in [0, 1]; later frames do not train. The last frame's if None."""
    orient: bool = True
    """Turn the scene so that the cameras' mean up is +z."""
    auto_scale: bool = True
    """Scale the scene so that what the cameras see lies 2 units away in the middle."""
    max_points: int = 100_000
    """Points of the fused scene that Gaussians start from, at most."""
    load_points: bool = True
    """Start from the fused scene, or from the points that the cameras were found with."""


@dataclass
class DynamicVerseDataParser(DataParser):
    """Parse one video: a camera and a time a frame.

    The clip's world becomes Nerfstudio's by `dataparser_transform` and `dataparser_scale`.
    """

    config: DynamicVerseDataParserConfig
    includes_time: bool = True

    def _generate_dataparser_outputs(self, split: str = "train", **kwargs) -> DataparserOutputs:
        clip, timeline = self._clip, self._timeline
        images, splits = clip.frames(), self._splits
        wanted = wanted_splits(split, splits)
        chosen = [i for i, s in enumerate(splits) if s in wanted]
        transform, scale = self._world
        points = self._points
        scene = SceneMetadata(
            timeline=timeline,
            splits=[splits[i] for i in chosen],
            source_files=["rgb"] * len(chosen),
            camera_ids=torch.from_numpy(group_poses(self._poses)[chosen]),
            points=None
            if points is None
            else ScenePoints(torch.from_numpy(points[0]).float(), torch.from_numpy(points[1].copy())),
            priors=ClipPriors(clip, tuple(chosen), scale),
        )
        return DataparserOutputs(
            image_filenames=[images[i] for i in chosen],
            cameras=self._cameras(chosen),
            scene_box=SceneBox(aabb=torch.from_numpy(self._box).float()),
            dataparser_transform=torch.from_numpy(transform[:3]).float(),
            dataparser_scale=scale,
            metadata=scene.to_metadata(),
        )

    def _cameras(self, chosen: list[int]) -> Cameras:
        width, height = self._clip.size
        # Whole numbers are pixel centres in the clip, +0.5 in Nerfstudio.
        Ks = torch.from_numpy(shift_pixel_centers(self._given.Ks[chosen], HALF_PIXEL)).float()
        times = torch.from_numpy(self._times[0][chosen]).float()
        return Cameras(
            camera_to_worlds=torch.from_numpy(self._poses[chosen][:, :3]).float(),
            fx=Ks[:, 0, 0],
            fy=Ks[:, 1, 1],
            cx=Ks[:, 0, 2],
            cy=Ks[:, 1, 2],
            width=width,
            height=height,
            camera_type=CameraType.PERSPECTIVE,
            times=times,
        )

    @cached_property
    def _clip(self) -> ClipFolder:
        if not Path(self.config.data).is_dir():
            raise DatasetError(f"{self.config.data} is not a folder; give the one that `dyn3d process` wrote")
        clip = ClipFolder(Path(self.config.data))
        if clip.num_frames < 2:
            raise DatasetError(f"{clip.root} holds {clip.num_frames} frame; training takes at least 2")
        return clip

    @cached_property
    def _times(self) -> tuple[Float64[np.ndarray, "F"], float | None]:
        return self._clip.times

    @cached_property
    def _given(self) -> clip_types.Cameras:
        """The clip's cameras in its own world and convention, one a frame."""
        cameras, count = self._clip.cameras(), self._clip.num_frames
        if len(cameras.Ks) != count:
            raise DatasetError(
                f"{self._clip.root} has {count} frames, but poses {cameras.camera_to_worlds.shape} "
                f"and intrinsics {cameras.Ks.shape}; run the stage `cameras` again"
            )
        return cameras

    @cached_property
    def _timeline(self) -> Timeline:
        times, fps = self._times
        t_obs = self.config.t_obs
        # A held-out moment was seen by no other camera: to the methods it is no frame of the recording.
        recorded = self._trains | (times > (1.0 if t_obs is None else t_obs))
        last = float(times[self._trains].max()) if t_obs is None else t_obs
        return Timeline.from_times(times[recorded], last, fps)

    @cached_property
    def _trains(self) -> Bool[np.ndarray, "F"]:
        """Frames that are not held out, the future left aside; the first and the last one always train."""
        every, index = self.config.eval_interval, np.arange(self._clip.num_frames)
        if every < 0 or every == 1:
            raise DatasetError(f"eval_interval must be 0 or at least 2, got {every}")
        if not every:
            return np.ones(len(index), bool)
        return (index % every != every // 2) | (index == len(index) - 1)

    @cached_property
    def _splits(self) -> list[Split]:
        times = self._times[0]
        splits = self._timeline.split_of(times.tolist(), self._trains.tolist())
        if "train" not in splits or len(set(splits)) < 2:
            raise EmptySplitError(
                f"{self._clip.root}: of {len(times)} frames none is left to "
                + ("evaluate on" if "train" in splits else "train on")
                + "; change --eval-interval or --t-obs"
            )
        return splits

    @cached_property
    def _world(self) -> tuple[Float64[np.ndarray, "4 4"], float]:
        """Rotation and shift, then scale, from the clip's world to Nerfstudio's."""
        poses = flip_axes(self._given.camera_to_worlds)
        transform = np.eye(4)
        if self.config.orient:
            transform[:3, :3] = _turn_to_z(poses[:, :3, 1].mean(axis=0))
        points = self._raw_points
        depth = None
        if points is not None and len(points[0]):
            depth = float(np.median(np.linalg.norm(points[0] - poses[0, :3, 3], axis=1)))
            transform[:3, 3] = -transform[:3, :3] @ np.median(points[0], axis=0)
        return transform, 2.0 / depth if depth and self.config.auto_scale else 1.0

    @cached_property
    def _poses(self) -> Float64[np.ndarray, "F 4 4"]:
        transform, scale = self._world
        poses = transform @ flip_axes(self._given.camera_to_worlds)
        poses[:, :3, 3] *= scale
        return poses

    @cached_property
    def _raw_points(self) -> tuple[Float64[np.ndarray, "P 3"], UInt8[np.ndarray, "P 3"]] | None:
        """Static points, and what moves as it lies in the middle of the observed time, in the clip's world.

        The middle is where the methods have their canonical scene.
        """
        fused = self._clip.fused()
        if fused is not None:
            observed = self._timeline.observed_times
            middle = int(np.abs(self._times[0] - observed[len(observed) // 2]).argmin())
            moving, colors, _ = fused.moving(middle)
            xyz, rgb = (
                np.concatenate((fused.static_points, moving)),
                np.concatenate((fused.static_rgbs, colors)),
            )
        else:
            sparse = self._clip.sparse_points()
            if sparse is None:
                return None
            xyz, rgb = sparse[0].astype(np.float64), sparse[1]
        finite = np.isfinite(xyz).all(axis=1)
        return (xyz[finite], rgb[finite]) if finite.any() else None

    @cached_property
    def _points(self) -> tuple[Float64[np.ndarray, "P 3"], UInt8[np.ndarray, "P 3"]] | None:
        if self._raw_points is None or not self.config.load_points:
            return None
        xyz, rgb = self._raw_points
        if len(xyz) > self.config.max_points:
            chosen = np.random.default_rng(0).choice(len(xyz), self.config.max_points, replace=False)
            xyz, rgb = xyz[chosen], rgb[chosen]
        transform, scale = self._world
        return (xyz @ transform[:3, :3].T + transform[:3, 3]) * scale, rgb

    @cached_property
    def _box(self) -> Float64[np.ndarray, "2 3"]:
        if self._points is not None:
            return bounds_of_points(self._points[0])
        width, height = self._clip.size
        Ks = self._given.Ks
        tangents = 0.5 * np.array([width, height]) / Ks[:, (0, 1), (0, 1)]
        return surrounding_bounds(self._poses, tangents)


def _turn_to_z(up: Float64[np.ndarray, "3"]) -> Float64[np.ndarray, "3 3"]:
    """Return the smallest rotation that takes a direction to +z."""
    up = up / np.linalg.norm(up)
    axis, cosine = np.cross(up, [0.0, 0.0, 1.0]), up[2]
    if cosine < -1 + 1e-9:
        return np.diag([1.0, -1.0, -1.0])
    x, y, z = axis
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + cross + cross @ cross / (1 + cosine)


DynamicVerseDataParserSpecification = DataParserSpecification(
    config=DynamicVerseDataParserConfig(),
    description="Clips made by dyn3d process, and scenes of DynamicVerse",
)
