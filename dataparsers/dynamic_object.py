"""NVFi Dynamic Object, NVFi Dynamic Indoor Scene and D-NeRF scenes."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float64
from nerfstudio.cameras.cameras import Cameras, CameraType
from nerfstudio.data.dataparsers.base_dataparser import DataParser, DataParserConfig, DataparserOutputs
from nerfstudio.data.scene_box import SceneBox
from nerfstudio.plugins.registry_dataparser import DataParserSpecification

from dyn3d_ns.geometry.bounds import bounds_of_points, object_bounds, surrounding_bounds
from dyn3d_ns.io.errors import DatasetError
from dyn3d_ns.io.frames import SceneFrames, assemble_scene, is_transparent
from dyn3d_ns.io.ply import PointCloud, read_points
from dyn3d_ns.io.scene_metadata import SceneMetadata, ScenePoints
from dyn3d_ns.io.transforms_json import find_transforms, read_transforms
from dyn3d_ns.timeline import Timeline, wanted_splits

_POINT_FILES = ("points3d.ply", "points3D.ply", "sparse_pc.ply")


@dataclass
class DynamicObjectDataParserConfig(DataParserConfig):
    """NVFi Dynamic Object, NVFi Dynamic Indoor Scene or D-NeRF scene"""

    _target: type = field(default_factory=lambda: DynamicObjectDataParser)
    """Target class to instantiate."""
    data: Path = Path("data/fan-and-ball")
    """Folder of the scene: the one with transforms_train.json."""
    t_obs: float | None = None
    """Last observed time in [0, 1]; training frames after it become future frames. From the data if None."""
    hold_out_cameras: tuple[int, ...] = ()
    """Training cameras (numbered from 0 by first appearance) to evaluate on instead of training."""
    downscale_factor: float | None = None
    """Divide the image size by this factor (at least 1, area-averaged on premultiplied alpha)."""
    fps: float | None = None
    """Frames per second of real time; without it the recording counts as one second long."""
    scene_box: tuple[float, float, float, float, float, float] | None = None
    """Scene box x0 y0 z0 x1 y1 z1 in world units; from point cloud or cameras if not given."""
    load_points: bool = True
    """Start from points3d.ply where the scene has one."""


@dataclass
class DynamicObjectDataParser(DataParser):
    """Parse scenes whose frames are listed with a time and a pose each.

    Splits follow time and pose, whatever the files are called: the frames of the training file up to
    `t_obs` train, other frames up to `t_obs` interpolate, later frames lie in the future. Nerfstudio's
    `train` is the first, its `val` the second (the third if there is none), its `test` both of these.
    """

    config: DynamicObjectDataParserConfig
    includes_time: bool = True

    def __init__(self, config: DynamicObjectDataParserConfig) -> None:
        super().__init__(config=config)
        factor = config.downscale_factor
        if factor is not None and not factor >= 1:
            raise DatasetError(f"downscale_factor must be at least 1, got {factor}")

    def _generate_dataparser_outputs(self, split: str = "train", **kwargs) -> DataparserOutputs:
        frames, timeline = self._scene
        wanted = wanted_splits(split, frames.splits)
        chosen = [i for i, s in enumerate(frames.splits) if s in wanted]
        points = self._points
        scene = SceneMetadata(
            timeline=timeline,
            splits=[frames.splits[i] for i in chosen],
            source_files=[frames.sources[i] for i in chosen],
            camera_ids=torch.from_numpy(frames.camera_ids[chosen]),
            has_alpha=self._has_alpha,
            points=None
            if points is None
            else ScenePoints(torch.from_numpy(points.xyz.copy()), torch.from_numpy(points.rgb.copy())),
            true_poses=torch.from_numpy(frames.poses[chosen]),
            undistortions=[frames.undistortions[i] for i in chosen],
        )
        return DataparserOutputs(
            image_filenames=[frames.images[i] for i in chosen],
            cameras=self._cameras(chosen),
            alpha_color=None,
            scene_box=SceneBox(aabb=torch.from_numpy(self._box).float()),
            metadata=scene.to_metadata(),
        )

    def _cameras(self, chosen: list[int]) -> Cameras:
        frames = self._scene[0]
        full = frames.intrinsics[chosen]
        factor = self.config.downscale_factor or 1.0
        size = np.maximum(np.rint(full[:, 4:] / factor), 1)
        ratio = size / full[:, 4:]
        # Pixel centres lie at +0.5, so focal lengths and principal points scale alike.
        fx, fy, cx, cy = (full[:, :4] * ratio[:, [0, 1, 0, 1]]).T
        return Cameras(
            camera_to_worlds=torch.from_numpy(frames.poses[chosen][:, :3]).float(),
            fx=torch.from_numpy(fx.copy()).float(),
            fy=torch.from_numpy(fy.copy()).float(),
            cx=torch.from_numpy(cx.copy()).float(),
            cy=torch.from_numpy(cy.copy()).float(),
            width=torch.from_numpy(size[:, 0].copy()).long(),
            height=torch.from_numpy(size[:, 1].copy()).long(),
            camera_type=CameraType.PERSPECTIVE,
            times=torch.from_numpy(frames.times[chosen]).float(),
        )

    @cached_property
    def _scene(self) -> tuple[SceneFrames, Timeline]:
        """Read all files once; every mistake in any split is reported before training starts."""
        root = Path(self.config.data)
        files = [read_transforms(path, root, label) for label, path in find_transforms(root)]
        c = self.config
        scene, timeline = assemble_scene(files, c.t_obs, c.fps, c.hold_out_cameras)
        if note := scene.lens_note():
            print(f"{root}: lens {note}", file=sys.stderr)
        return scene, timeline

    @cached_property
    def _has_alpha(self) -> bool:
        """Whether training images have pixels that are not opaque (looked for in four of them)."""
        frames = self._scene[0]
        train = [i for i, s in enumerate(frames.splits) if s == "train"]
        picks = sorted({train[round(k * (len(train) - 1) / 3)] for k in range(4)})
        return any(is_transparent(frames.images[i]) for i in picks)

    @cached_property
    def _points(self) -> PointCloud | None:
        if not self.config.load_points:
            return None
        found = [p for name in _POINT_FILES if (p := Path(self.config.data) / name).is_file()]
        return read_points(found[0]) if found else None

    @cached_property
    def _box(self) -> Float64[np.ndarray, "2 3"]:
        given = self.config.scene_box
        if given is not None:
            box = np.array(given, dtype=np.float64).reshape(2, 3)
            if (box[1] <= box[0]).any():
                raise DatasetError(f"scene_box must be x0 y0 z0 x1 y1 z1, minimum first, got {given}")
            return box
        frames = self._scene[0]
        _, first = np.unique(frames.camera_ids, return_index=True)
        poses, intrinsics = frames.poses[first], frames.intrinsics[first]
        tangents = 0.5 * intrinsics[:, 4:] / intrinsics[:, :2]
        if self._points is not None:
            return bounds_of_points(self._points.xyz.astype(np.float64))
        if self._has_alpha:
            return object_bounds(poses, tangents.max(axis=1))
        return surrounding_bounds(poses, tangents)


DynamicObjectDataParserSpecification = DataParserSpecification(
    config=DynamicObjectDataParserConfig(),
    description="NVFi Dynamic Object, NVFi Dynamic Indoor Scene and D-NeRF scenes",
)
