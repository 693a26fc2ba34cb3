"""A trained scene as the commands read it: its config, its model, and the cameras that it was trained on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

import numpy as np
from jaxtyping import Float64, Int64

from dyn3d_ns.cli.errors import CommandError
from dyn3d_ns.data.described import described
from dyn3d_ns.engine import places
from dyn3d_ns.engine.checkpoint import checkpoints_in
from dyn3d_ns.engine.config_file import load_config
from dyn3d_ns.geometry.bounds import focus_point, group_poses
from dyn3d_ns.geometry.cameras import field_of_view
from dyn3d_ns.geometry.world import SAME, World
from dyn3d_ns.io.scene_metadata import knows_scene, scene_of
from dyn3d_ns.io.splats import View
from dyn3d_ns.timeline import Timeline

if TYPE_CHECKING:
    from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs
    from nerfstudio.pipelines.base_pipeline import VanillaPipeline

    from dyn3d_ns.engine.method import DynamicMethod


@dataclass(frozen=True)
class CameraRig:
    """Distinct training cameras (OpenGL camera-to-world, in the world of training) and the timeline of their
    recording."""

    poses: Float64[np.ndarray, "C 4 4"]
    camera_ids: Int64[np.ndarray, "C"]
    fovs: Float64[np.ndarray, "C"]
    """Vertical fields of view, degrees; of the first image of each camera."""
    resolutions: Int64[np.ndarray, "C 2"]
    """Widths and heights of the images, pixels."""
    timeline: Timeline
    world: World = SAME
    """The data's world in that of training."""

    @property
    def resolution(self) -> tuple[int, int]:
        """Width and height of the first camera's images, pixels."""
        return self.view(int(self.camera_ids[0]))[1]

    def view(self, camera_id: int) -> tuple[float, tuple[int, int]]:
        """Return the vertical field of view (degrees) and the image size of one camera."""
        row = self._row(camera_id)
        width, height = self.resolutions[row].tolist()
        return float(self.fovs[row]), (width, height)

    def pose(self, camera_id: int) -> Float64[np.ndarray, "4 4"]:
        """Return the pose of one camera."""
        return self.poses[self._row(camera_id)]

    def views(self, poses: Float64[np.ndarray, "C 4 4"]) -> tuple[View, ...]:
        """Return the cameras as exports hold them, where they stand in the world of these poses."""
        return tuple(
            View(pose, float(fov), (int(width), int(height)))
            for pose, fov, (width, height) in zip(poses, self.fovs, self.resolutions, strict=True)
        )

    def _row(self, camera_id: int) -> int:
        found = np.flatnonzero(self.camera_ids == camera_id)
        if len(found) == 0:
            known = ", ".join(str(i) for i in self.camera_ids[:20]) + (
                ", …" if len(self.camera_ids) > 20 else ""
            )
            raise CommandError(f"there is no training camera {camera_id}; the scene has {known}")
        return int(found[0])

    @cached_property
    def center(self) -> Float64[np.ndarray, "3"]:
        """The point that the cameras look at."""
        return focus_point(self.poses)

    @cached_property
    def up(self) -> Float64[np.ndarray, "3"]:
        """The common up direction: the world axis within 35 degrees of the cameras' mean, or that mean."""
        mean = self.poses[:, :3, 1].mean(axis=0)
        mean = mean / max(float(np.linalg.norm(mean)), 1e-9)
        axis = np.zeros(3)
        axis[np.abs(mean).argmax()] = np.sign(mean[np.abs(mean).argmax()])
        return axis if axis @ mean > np.cos(np.radians(35)) else mean

    @cached_property
    def radius(self) -> float:
        """Median distance of the cameras from the centre."""
        return float(np.median(np.linalg.norm(self.poses[:, :3, 3] - self.center, axis=1)))

    @cached_property
    def elevation(self) -> float:
        """Median angle of the cameras above the horizontal plane through the centre, degrees."""
        offsets = self.poses[:, :3, 3] - self.center
        distances = np.maximum(np.linalg.norm(offsets, axis=1), 1e-9)
        return float(np.degrees(np.median(np.arcsin(np.clip(offsets @ self.up / distances, -1, 1)))))

    @cached_property
    def azimuths(self) -> tuple[float, float]:
        """Where the cameras stand around the up axis: first azimuth and extent in degrees.

        The extent is 360 less the widest gap between neighbours; it is 360 where no gap exceeds 120.
        """
        offsets = self.poses[:, :3, 3] - self.center
        x, y = horizontal_axes(self.up)
        angles = np.sort(np.degrees(np.arctan2(offsets @ y, offsets @ x)))
        gaps = np.diff(angles, append=angles[0] + 360)
        widest = int(gaps.argmax())
        first = float(angles[(widest + 1) % len(angles)])
        return (first, 360.0) if gaps[widest] <= 120 else (first, 360.0 - float(gaps[widest]))


def horizontal_axes(
    up: Float64[np.ndarray, "3"],
) -> tuple[Float64[np.ndarray, "3"], Float64[np.ndarray, "3"]]:
    """Return two unit vectors that make a right-handed frame with an up direction."""
    helper = np.eye(3)[np.abs(up).argmin()]
    x = np.cross(helper, up)
    x = x / np.linalg.norm(x)
    return x, np.cross(up, x)


def rig_of_config(config_path: Path, scene: str | None = None) -> CameraRig:
    """Read the cameras of a trained scene through the dataparser in its saved config; loads no model.

    Of a training on several scenes, those of the named one, or of the first.

    Raises:
        CommandError: there is no such scene, or config_path is none of a training.
    """
    config = load_config(config_path)
    datamanager = config.pipeline.datamanager
    with places.opened(config_path):
        places.find_data(datamanager)
    rig = rig_of_outputs(described(datamanager.dataparser.setup(), "train"), scene)
    # A stock method takes camera paths in the world of training alone.
    return rig if is_ours(config) else replace(rig, world=SAME)


def is_ours(config: Any) -> bool:
    """Whether a training's config is of a method of ours."""
    from dyn3d_ns.engine.pipeline import DynamicPipelineConfig

    return isinstance(config.pipeline, DynamicPipelineConfig)


def rig_of_data(data: Path) -> CameraRig:
    """Read the cameras of a scene folder in the layout of Dynamic Object and D-NeRF."""
    # The folder dataparsers/ is mapped to this name at install time, which pyright does not follow.
    from dyn3d_ns.dataparsers.dynamic_object import (  # pyright: ignore[reportMissingImports]
        DynamicObjectDataParserConfig,
    )

    if not data.is_dir():
        raise CommandError(f"--data must be the folder of a scene, but {data} is not a folder")
    return rig_of_outputs(DynamicObjectDataParserConfig(data=data).setup().get_dataparser_outputs("train"))


def load_method(config_path: Path) -> DynamicMethod:
    """Load the model of a training's last checkpoint, through Nerfstudio's own loader."""
    return cast("DynamicMethod", load_pipeline(config_path, "inference").model)


class Loaded(NamedTuple):
    """A trained scene and the cameras that it was trained on."""

    model: DynamicMethod
    method: str
    rig: CameraRig


def load_scene(config_path: Path) -> Loaded:
    """Load the model of a training's last checkpoint, and its cameras from the same reading of the dataset.

    Raises:
        CommandError: it is a training of a method that is not ours.
    """
    config = load_config(config_path)
    if not is_ours(config):
        raise CommandError(
            f"{config_path} is a training of {config.method_name}; this command takes dyn3d-* methods "
            "(`ns-export gaussian-splat` writes those of Nerfstudio)"
        )
    pipeline = load_pipeline(config_path, "inference")
    outputs: DataparserOutputs = pipeline.datamanager.train_dataparser_outputs  # type: ignore[assignment]
    return Loaded(cast("DynamicMethod", pipeline.model), config.method_name, rig_of_outputs(outputs))


def load_pipeline(config_path: Path, test_mode: Literal["test", "val", "inference"]) -> VanillaPipeline:
    """Load the pipeline of a training's last checkpoint, through Nerfstudio's own loader."""
    from nerfstudio.utils.eval_utils import eval_setup

    with places.opened(config_path):
        require_checkpoint(load_config(config_path))
        _, pipeline, _, _ = eval_setup(config_path, test_mode=test_mode)
    return cast("VanillaPipeline", pipeline)


def require_checkpoint(config: Any) -> None:
    """Refuse a training that has no checkpoint yet.

    Raises:
        CommandError: there is none.
    """
    folder = places.checkpoints_of(config)
    if not checkpoints_in(folder):
        raise CommandError(
            f"{folder} holds no checkpoint; run the command in the folder in which the training ran, "
            "or train first"
        )


@contextmanager
def telling_what_lacks(config_path: Path) -> Iterator[None]:
    """Run what asks a method for its scene.

    Raises:
        CommandError: the method has no Gaussians, or no velocity field.
    """
    from dyn3d_ns.engine.method import NoGaussiansError, NoVelocityError

    try:
        yield
    except (NoGaussiansError, NoVelocityError) as error:
        lacks = "Gaussians that move" if isinstance(error, NoGaussiansError) else "velocity field"
        raise CommandError(
            f"{config_path} is a training of {load_config(config_path).method_name}, which has no {lacks}; "
            "this command takes dyn3d-* methods that have"
        ) from error


def rig_of_outputs(outputs: DataparserOutputs, named: str | None = None) -> CameraRig:
    """Collect the distinct cameras and the timeline of what a dataparser returned, of one scene of several.

    Raises:
        CommandError: there is no scene of that name, or images have no times.
    """
    cameras = outputs.cameras
    scene = scene_of(outputs.metadata) if knows_scene(outputs.metadata) else None
    names = () if scene is None else scene.scene_names
    if named is not None and named not in names:
        raise CommandError(
            f"no scene is called {named}; there is {', '.join(names) or 'one, without a name'}"
        )
    ids = None if scene is None else scene.camera_ids
    if scene is not None and scene.scene_ids is not None:
        chosen = scene.scene_ids == (0 if named is None else names.index(named))
        cameras, ids = cameras[chosen], scene.camera_ids[chosen]
        ids = ids - ids.min()
    poses = np.tile(np.eye(4), (len(cameras), 1, 1))
    poses[:, :3] = cameras.camera_to_worlds.double().numpy()
    ids = group_poses(poses) if ids is None else ids.numpy()
    distinct, first = np.unique(ids, return_index=True)
    if scene is not None:
        timeline = scene.timeline
    elif cameras.times is not None:
        timeline = Timeline.from_times(cameras.times.flatten().tolist())
    else:
        raise CommandError("the dataset gives its images no times, so no path through time can be made")
    sizes = np.concatenate([cameras.width.numpy(), cameras.height.numpy()], axis=1)[first]
    focals = cameras.fy.flatten().tolist()
    return CameraRig(
        poses=poses[first],
        camera_ids=distinct.astype(np.int64),
        fovs=np.degrees([field_of_view(focals[i], h) for i, h in zip(first, sizes[:, 1], strict=True)]),
        resolutions=sizes,
        timeline=timeline,
        world=SAME if scene is None else scene.world,
    )
