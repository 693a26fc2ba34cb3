"""Monocular videos of scenes that move, one or several: NVIDIA's Dynamic Scene, DyCheck, processed clips."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float64
from nerfstudio.cameras.cameras import Cameras, CameraType
from nerfstudio.data.dataparsers.base_dataparser import DataParser, DataParserConfig, DataparserOutputs
from nerfstudio.data.scene_box import SceneBox
from nerfstudio.plugins.registry_dataparser import DataParserSpecification

from dyn3d_ns.geometry.bounds import group_poses
from dyn3d_ns.geometry.cameras import (
    HALF_PIXEL,
    flip_axes,
    scale_intrinsics,
    shift_pixel_centers,
    to_world,
    unproject,
)
from dyn3d_ns.geometry.world import World
from dyn3d_ns.io.clip.types import Cameras as SceneCameras
from dyn3d_ns.io.dynamic_scene.base import SceneFiles, View
from dyn3d_ns.io.dynamic_scene.maps import Kind, SceneMaps
from dyn3d_ns.io.dynamic_scene.opening import find_scenes, open_scene, scene_names
from dyn3d_ns.io.dynamic_scene.priors import EvaluationPriors, FramePriors
from dyn3d_ns.io.dynamic_scene.splits import (
    SceneSplits,
    check_splits,
    frames_of,
    make_splits,
    read_splits,
    write_splits,
)
from dyn3d_ns.io.dynamic_scene.true_masks import EvaluationMasks
from dyn3d_ns.io.dynamic_scene.world import ndc_world
from dyn3d_ns.io.errors import DatasetError
from dyn3d_ns.io.joined_scenes import join_scenes
from dyn3d_ns.io.scene_metadata import SceneMetadata, ScenePoints
from dyn3d_ns.timeline import Split, Timeline

Source = Literal["auto", "made"]
_LONGEST = 512
"""Longer side of the images at most, pixels, where no factor is given."""


@dataclass
class DynamicSceneDataParserConfig(DataParserConfig):
    """Monocular videos of scenes that move, one or several: Dynamic Scene (NVIDIA), DyCheck, clips"""

    _target: type = field(default_factory=lambda: DynamicSceneDataParser)
    """Target class to instantiate."""
    data: Path = Path("data/Balloon1")
    """Folder of a scene, or of several scenes."""
    scenes: tuple[str, ...] = ()
    """Scenes to take: names below --data, or paths of further folders; the one there is if empty."""
    factor: int = 0
    """Images are shrunk by it (area average); 0 takes the least that brings the longer side to 512 pixels."""
    protocol: Literal["all", "fixed"] = "all"
    """Views to evaluate: every time from every camera (MonoNeRF), or from the first camera (DynamicNeRF)."""
    train_frames: str | None = None
    """Frames that what moves trains on, such as 0:5 (0 to 4); the others are unseen. All if None."""
    splits: Path | None = None
    """JSON file of the splits: read if it is there, else written with those in use."""
    masks: Source = "auto"
    """Motion masks: the files' where there are any, or made from the flow and the cameras."""
    flow: Source = "auto"
    """Flow: the files' where there is any, or made by `dyn3d process`'s flow."""
    disparity: Source = "auto"
    """Depth: the files' where there is any, or triangulated from the flow of what stands still."""


@dataclass
class DynamicSceneDataParser(DataParser):
    """Parse monocular videos, each in a world of its own in which normalised device coordinates work.

    Nerfstudio's `train` is every frame, in the order of time, scene after scene; `val` and `test` are the
    images to evaluate on. A frame's split tells whether what moves trains on it.
    """

    config: DynamicSceneDataParserConfig
    includes_time: bool = True

    def _generate_dataparser_outputs(self, split: str = "train", **kwargs) -> DataparserOutputs:
        if split not in ("train", "val", "test"):
            raise ValueError(f"split must be train, val or test, got {split!r}")
        splits = self._splits
        parts = [
            scene.training(splits[scene.name]) if split == "train" else scene.evaluation(splits[scene.name])
            for scene in self._scenes
        ]
        return join_scenes(parts)

    @cached_property
    def _scenes(self) -> list[_Scene]:
        files = [open_scene(path) for path in find_scenes(Path(self.config.data), self.config.scenes)]
        names = scene_names(files)
        return [_Scene(found, name, self.config) for found, name in zip(files, names, strict=True)]

    @cached_property
    def _splits(self) -> dict[str, SceneSplits]:
        """Read the splits from their file, or make them, and the file."""
        config, path = self.config, self.config.splits
        if path is not None and path.is_file():
            found = read_splits(path, [scene.name for scene in self._scenes])
            for scene in self._scenes:
                frames = len(scene.files.frames)
                check_splits(path, scene.name, found[scene.name], scene.views, frames)
                asked = frames_of(config.train_frames, frames)
                if config.train_frames is not None and asked != found[scene.name].train:
                    raise DatasetError(
                        f"{path} trains {scene.name} on frames {list(found[scene.name].train)}, but "
                        f"--train-frames asks for {list(asked)}; leave one of the two out"
                    )
            return found
        made = {
            scene.name: make_splits(
                scene.views, len(scene.files.frames), config.protocol, config.train_frames
            )
            for scene in self._scenes
        }
        if path is not None:
            write_splits(path, made)
        return made


class _Scene:
    """One scene, with its world and its maps."""

    def __init__(self, files: SceneFiles, name: str, config: DynamicSceneDataParserConfig) -> None:
        self.files, self.name, self._factor = files, name, config.factor
        sources: dict[Kind, Source] = {
            "masks": config.masks,
            "flow": config.flow,
            "disparity": config.disparity,
        }
        self._maps = SceneMaps(files, [kind for kind, source in sources.items() if source == "made"])

    @cached_property
    def views(self) -> list[View]:
        """Views to evaluate on; the frames themselves where there are no others."""
        found = self.files.views()
        if found:
            return found
        print(f"{self.files.root}: no held-out views; evaluation is on the training views", file=sys.stderr)
        rows = zip(self.files.frames, self._cameras.camera_to_worlds, self._cameras.Ks, strict=True)
        return [View(image, i, i, pose, K) for i, (image, pose, K) in enumerate(rows)]

    def training(self, splits: SceneSplits) -> DataparserOutputs:
        """Return all frames."""
        count = len(self.files.frames)
        of: list[Split] = ["train" if i in splits.train else "unseen" for i in range(count)]
        scene = SceneMetadata(
            timeline=self._timeline,
            splits=of,
            source_files=[self.name] * count,
            camera_ids=torch.from_numpy(group_poses(self._poses)),
            points=self._points,
            world=self._world,
            priors=FramePriors(self._maps, self._world.scale, camera_source=self.files.source),
            depth_bounds=self._depth_bounds,
            scene_names=(self.name,),
        )
        images = self.files.frames
        return self._outputs(images, self._poses, self._Ks, np.arange(count), scene)

    def evaluation(self, splits: SceneSplits) -> DataparserOutputs:
        """Return the views that are evaluated."""
        views = {(view.frame, view.camera): view for view in self.views}
        chosen = [views[frame, camera] for frame, camera, _ in splits.evaluation]
        of: list[Split] = [split for *_, split in splits.evaluation]
        # The median of a camera is over all of its times, those included that are not evaluated.
        order = {key: k for k, key in enumerate(views)}
        picked = [order[frame, camera] for frame, camera, _ in splits.evaluation]
        scene = SceneMetadata(
            timeline=self._timeline,
            splits=of,
            source_files=[f"{self.name}_{split}" for split in of],
            camera_ids=torch.tensor([view.camera for view in chosen]),
            world=self._world,
            priors=EvaluationPriors(self._masks, tuple(picked), camera_source=self.files.source),
            depth_bounds=self._depth_bounds,
            scene_names=(self.name,),
        )
        poses = self._world.poses(flip_axes(np.stack([view.pose for view in chosen])))
        Ks = self._resized(np.stack([view.K for view in chosen]))
        frames = np.array([view.frame for view in chosen])
        return self._outputs([view.image for view in chosen], poses, Ks, frames, scene)

    def _outputs(
        self,
        images: Sequence[Path],
        poses: Float64[np.ndarray, "N 4 4"],
        Ks: Float64[np.ndarray, "N 3 3"],
        frames: np.ndarray,
        scene: SceneMetadata,
    ) -> DataparserOutputs:
        intrinsics = torch.from_numpy(Ks).float()
        width, height = self._size
        return DataparserOutputs(
            image_filenames=list(images),
            cameras=Cameras(
                camera_to_worlds=torch.from_numpy(poses[:, :3]).float(),
                fx=intrinsics[:, 0, 0],
                fy=intrinsics[:, 1, 1],
                cx=intrinsics[:, 0, 2],
                cy=intrinsics[:, 1, 2],
                width=width,
                height=height,
                camera_type=CameraType.PERSPECTIVE,
                times=torch.from_numpy(self.files.times[frames]).float(),
            ),
            scene_box=SceneBox(aabb=torch.from_numpy(self._box).float()),
            dataparser_transform=torch.from_numpy(self._world.transform[:3]).float(),
            dataparser_scale=self._world.scale,
            metadata=scene.to_metadata(),
        )

    @cached_property
    def _cameras(self) -> SceneCameras:
        return self.files.cameras()

    @cached_property
    def _size(self) -> tuple[int, int]:
        """Width and height that images have in training."""
        width, height = self.files.size
        factor = self._factor or -(-max(width, height) // _LONGEST)
        if not 1 <= factor <= min(width, height):
            raise DatasetError(f"factor must lie between 1 and the images' shorter side, got {factor}")
        return round(width / factor), round(height / factor)

    def _resized(self, Ks: Float64[np.ndarray, "N 3 3"]) -> Float64[np.ndarray, "N 3 3"]:
        """Bring intrinsics to the size of training, and to Nerfstudio's pixel centres at +0.5."""
        (width, height), (to_width, to_height) = self.files.size, self._size
        return scale_intrinsics(shift_pixel_centers(Ks, HALF_PIXEL), to_width / width, to_height / height)

    @cached_property
    def _Ks(self) -> Float64[np.ndarray, "F 3 3"]:
        return self._resized(self._cameras.Ks)

    @cached_property
    def _world(self) -> World:
        return ndc_world(flip_axes(self._cameras.camera_to_worlds), self._bounds)

    @cached_property
    def _poses(self) -> Float64[np.ndarray, "F 4 4"]:
        return self._world.poses(flip_axes(self._cameras.camera_to_worlds))

    @cached_property
    def _bounds(self) -> Float64[np.ndarray, "F 2"]:
        """Nearest and farthest depth of each frame, in the scene's own units."""
        found = self.files.bounds()
        return self._maps.measured_bounds() if found is None else found

    @cached_property
    def _depth_bounds(self) -> tuple[float, float]:
        scaled = self._bounds * self._world.scale
        return float(scaled[:, 0].min()), float(scaled[:, 1].max())

    @cached_property
    def _timeline(self) -> Timeline:
        return Timeline.from_times(self.files.times, fps=self.files.fps)

    @cached_property
    def _masks(self) -> EvaluationMasks:
        return EvaluationMasks(self._maps, self.views, self._size)

    @cached_property
    def _points(self) -> ScenePoints | None:
        found = self.files.points()
        if found is None:
            return None
        xyz = self._world.points(found[0])
        return ScenePoints(
            torch.from_numpy(xyz).float(),
            torch.from_numpy(found[1].copy()),
            f"the points of {self.files.root}",
        )

    @cached_property
    def _box(self) -> Float64[np.ndarray, "2 3"]:
        """Box of what the cameras see between their bounds."""
        width, height = self._size
        corners = np.array([[0, 0], [width, 0], [0, height], [width, height]], dtype=np.float64)
        places = []
        for pose, K, bounds in zip(self._poses, self._Ks, self._bounds * self._world.scale, strict=True):
            for depth in bounds:
                seen = unproject(corners, np.full(len(corners), depth), K)
                places.append(to_world(seen, flip_axes(pose)))
        points = np.concatenate(places)
        return np.stack((points.min(0), points.max(0)))


DynamicSceneDataParserSpecification = DataParserSpecification(
    config=DynamicSceneDataParserConfig(),
    description="Monocular videos of scenes that move, one or several: Dynamic Scene, DyCheck, clips",
)
