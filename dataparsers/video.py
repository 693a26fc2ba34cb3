"""One video: what the layouts have in common, and the parser that tells them apart by itself."""

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
from dyn3d_ns.geometry.cameras import HALF_PIXEL, flip_axes, scale_intrinsics, shift_pixel_centers
from dyn3d_ns.geometry.world import World, training_world
from dyn3d_ns.io.clip import types as clip_types
from dyn3d_ns.io.errors import DatasetError, EmptySplitError
from dyn3d_ns.io.footage.base import Footage
from dyn3d_ns.io.footage.layouts import open_footage
from dyn3d_ns.io.images import bits_note
from dyn3d_ns.io.notes import tell
from dyn3d_ns.io.priors import FootagePriors
from dyn3d_ns.io.scene_metadata import SceneMetadata, ScenePoints
from dyn3d_ns.io.transparency import first_transparent
from dyn3d_ns.timeline import Split, Timeline, wanted_splits


@dataclass
class VideoDataParserConfig(DataParserConfig):
    """One video with cameras: a clip, DAVIS, Sintel, DAS3R's or MonST3R's tree, COLMAP, transforms.json"""

    _target: type = field(default_factory=lambda: VideoDataParser)
    """Target class to instantiate."""
    data: Path = Path("data/clip")
    """Folder of the video."""
    eval_interval: int = 10
    """Every so many frames one is held out of the training to evaluate on, from the half of it on (frames 5,
    15, 25, … of 10, as DAS3R does); 0 holds none out."""
    t_obs: float | None = None
    """Last observed time in [0, 1]; later frames do not train. The last frame's if None."""
    longer_side: int | None = 512
    """Longer side that images are shrunk to, pixels; None leaves them as they are."""
    orient: bool = True
    """Turn the scene so that the cameras' mean up is +z."""
    auto_scale: bool = True
    """Scale the scene so that what the cameras see lies 2 units away in the middle."""
    max_points: int = 100_000
    """Points that come with the video to start from, at most."""
    load_points: bool = True
    """Start from the points that come with the video."""


@dataclass
class VideoDataParser(DataParser):
    """Parse one video: a camera and a time a frame.

    The video's own world becomes Nerfstudio's by `dataparser_transform` and `dataparser_scale`. A parser of
    one layout overrides :meth:`open`.
    """

    config: VideoDataParserConfig
    includes_time: bool = True
    last_frame_trains = False
    """Whether the last frame is never held out; a method of what moves would have to predict it."""

    def open(self) -> Footage:
        """Open the video; mistakes that its files alone show are raised here."""
        return open_footage(Path(self.config.data))

    def _generate_dataparser_outputs(self, split: str = "train", **kwargs) -> DataparserOutputs:
        footage, splits = self._footage, self._splits
        wanted = wanted_splits(split, splits)
        chosen = [i for i, s in enumerate(splits) if s in wanted]
        world = self._world
        scene = SceneMetadata(
            timeline=self._timeline,
            splits=[splits[i] for i in chosen],
            source_files=["rgb"] * len(chosen),
            camera_ids=torch.from_numpy(group_poses(self._poses)[chosen]),
            bits=footage.bits,
            points=self._scene_points,
            world=world,
            priors=FootagePriors(footage, tuple(chosen), world.scale),
            true_poses=self._true_poses(chosen),
        )
        return DataparserOutputs(
            image_filenames=[footage.frames[i] for i in chosen],
            cameras=self._cameras(chosen),
            scene_box=SceneBox(aabb=torch.from_numpy(self._box).float()),
            dataparser_transform=torch.from_numpy(world.transform[:3]).float(),
            dataparser_scale=world.scale,
            metadata=scene.to_metadata(),
        )

    def _cameras(self, chosen: list[int]) -> Cameras:
        (width, height), (w, h) = self._footage.size, self._image_size
        # Whole numbers are pixel centres in footage, +0.5 in Nerfstudio.
        Ks = shift_pixel_centers(self._given.Ks[chosen], HALF_PIXEL)
        Ks = torch.from_numpy(scale_intrinsics(Ks, w / width, h / height)).float()
        return Cameras(
            camera_to_worlds=torch.from_numpy(self._poses[chosen][:, :3]).float(),
            fx=Ks[:, 0, 0],
            fy=Ks[:, 1, 1],
            cx=Ks[:, 0, 2],
            cy=Ks[:, 1, 2],
            width=w,
            height=h,
            camera_type=CameraType.PERSPECTIVE,
            times=torch.from_numpy(self._times[0][chosen]).float(),
        )

    def _true_poses(self, chosen: list[int]) -> torch.Tensor | None:
        if "cameras" not in self._footage.truths:
            return None
        return torch.from_numpy(flip_axes(self._footage.true_cameras())[chosen])

    @cached_property
    def _footage(self) -> Footage:
        footage = self.open()
        if len(footage.frames) < 2:
            raise DatasetError(f"{footage.root} holds {len(footage.frames)} frame; training takes at least 2")
        clear = first_transparent(footage.frames)
        if clear is not None:
            tell(
                footage.root, f"frames have transparent pixels ({clear.name}, …): colours are taken as stored"
            )
        if note := bits_note(footage.bits):
            tell(footage.root, note)
        return footage

    @cached_property
    def _image_size(self) -> tuple[int, int]:
        """Width and height that images train at."""
        width, height = self._footage.size
        side = self.config.longer_side
        if side is None or max(width, height) <= side:
            return width, height
        if side < 1:
            raise DatasetError(f"longer_side must be at least 1 pixel, got {side}")
        scale = side / max(width, height)
        return max(round(width * scale), 1), max(round(height * scale), 1)

    @cached_property
    def _times(self) -> tuple[Float64[np.ndarray, "F"], float | None]:
        return self._footage.times

    @cached_property
    def _given(self) -> clip_types.Cameras:
        """The cameras in the video's own world and convention, one a frame."""
        return self._footage.cameras()

    @cached_property
    def _timeline(self) -> Timeline:
        times, fps = self._times
        t_obs = self.config.t_obs
        # A held-out moment was seen by no other camera: to the methods it is no frame of the recording.
        recorded = self._trains | (times > (1.0 if t_obs is None else t_obs))
        if t_obs is not None:
            last = t_obs
        else:
            last = float(times[self._trains].max()) if self.last_frame_trains else 1.0
        return Timeline.from_times(times[recorded], last, fps)

    @cached_property
    def _trains(self) -> Bool[np.ndarray, "F"]:
        """Frames that are not held out, the future left aside."""
        every, index = self.config.eval_interval, np.arange(len(self._footage.frames))
        if every < 0 or every == 1:
            raise DatasetError(f"eval_interval must be 0 or at least 2, got {every}")
        if not every:
            return np.ones(len(index), bool)
        trains = index % every != every // 2
        if self.last_frame_trains:
            trains[-1] = True
        return trains

    @cached_property
    def _splits(self) -> list[Split]:
        times = self._times[0]
        splits = self._timeline.split_of(times.tolist(), self._trains.tolist())
        if "train" not in splits or len(set(splits)) < 2:
            raise EmptySplitError(
                f"{self._footage.root}: of {len(times)} frames none is left to "
                + ("evaluate on" if "train" in splits else "train on")
                + "; change --eval-interval (2 holds out every second frame) or --t-obs"
            )
        return splits

    @cached_property
    def _world(self) -> World:
        """From the video's world to Nerfstudio's."""
        world, known = self._oriented
        if known and self.config.auto_scale:
            return world
        poses = world.poses(flip_axes(self._given.camera_to_worlds))
        points = None if self._raw_points is None else world.points(self._raw_points[0])
        return world.then(training_world(self._box_of(poses, points)))

    @cached_property
    def _oriented(self) -> tuple[World, bool]:
        """The world that the settings ask for, and whether points or depth tell where and how large it is."""
        poses = flip_axes(self._given.camera_to_worlds)
        transform = np.eye(4)
        if self.config.orient:
            transform[:3, :3] = _turn_to_z(poses[:, :3, 1].mean(axis=0))
        points = self._raw_points
        depth = None
        if points is not None and len(points[0]):
            depth = float(np.median(np.linalg.norm(points[0] - poses[0, :3, 3], axis=1)))
            transform[:3, 3] = -transform[:3, :3] @ np.median(points[0], axis=0)
        elif "depth" in self._footage.names:
            depth = self._first_depth
            if depth is not None:
                center = poses[0, :3, 3] - depth * poses[0, :3, 2]
                transform[:3, 3] = -transform[:3, :3] @ center
        scale = 2.0 / depth if depth and self.config.auto_scale else 1.0
        return World(transform, scale), bool(depth)

    @cached_property
    def _first_depth(self) -> float | None:
        """Median depth of the first frame; None if nothing is known of it."""
        found = self._footage.depth(0)
        known = found[np.isfinite(found) & (found > 0)]
        return float(np.median(known)) if len(known) else None

    @cached_property
    def _poses(self) -> Float64[np.ndarray, "F 4 4"]:
        return self._world.poses(flip_axes(self._given.camera_to_worlds))

    @cached_property
    def _middle(self) -> int:
        """Frame in the middle of the observed time, where methods of what moves have their first scene."""
        observed = self._timeline.observed_times
        return int(np.abs(self._times[0] - observed[len(observed) // 2]).argmin())

    @cached_property
    def _raw_points(self) -> tuple[Float64[np.ndarray, "P 3"], UInt8[np.ndarray, "P 3"]] | None:
        """Points in the video's world, without those that are not finite."""
        found = self._footage.points(self._middle)
        if found is None or not np.isfinite(found[0]).all(axis=1).any():
            return None
        finite = np.isfinite(found[0]).all(axis=1)
        return found[0][finite], found[1][finite]

    @cached_property
    def _scene_points(self) -> ScenePoints | None:
        if self._raw_points is None or not self.config.load_points:
            return None
        xyz, rgb = self._raw_points
        if len(xyz) > self.config.max_points:
            chosen = np.random.default_rng(0).choice(len(xyz), self.config.max_points, replace=False)
            xyz, rgb = xyz[chosen], rgb[chosen]
        xyz, source = self._world.points(xyz), f"the points of {self._footage.root}"
        return ScenePoints(torch.from_numpy(xyz).float(), torch.from_numpy(rgb.copy()), source)

    @cached_property
    def _box(self) -> Float64[np.ndarray, "2 3"]:
        points = self._scene_points
        return self._box_of(self._poses, None if points is None else points.xyz.numpy().astype(np.float64))

    def _box_of(
        self, poses: Float64[np.ndarray, "F 4 4"], points: Float64[np.ndarray, "P 3"] | None
    ) -> Float64[np.ndarray, "2 3"]:
        """Return the box of the points, or else that of what the cameras see."""
        if points is not None:
            return bounds_of_points(points)
        tangents = 0.5 * np.array(self._footage.size) / self._given.Ks[:, (0, 1), (0, 1)]
        return surrounding_bounds(poses, tangents)


def _turn_to_z(up: Float64[np.ndarray, "3"]) -> Float64[np.ndarray, "3 3"]:
    """Return the smallest rotation that takes a direction to +z."""
    up = up / np.linalg.norm(up)
    axis, cosine = np.cross(up, [0.0, 0.0, 1.0]), up[2]
    if cosine < -1 + 1e-9:
        return np.diag([1.0, -1.0, -1.0])
    x, y, z = axis
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + cross + cross @ cross / (1 + cosine)


VideoDataParserSpecification = DataParserSpecification(
    config=VideoDataParserConfig(),
    description="One video with cameras, whoever made them; masks and depth where there are any",
)
