"""NVFi Dynamic Object, NVFi Dynamic Indoor Scene and D-NeRF scenes."""

from __future__ import annotations

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
from dyn3d_ns.geometry.world import World, training_world
from dyn3d_ns.io.errors import DatasetError
from dyn3d_ns.io.frames import SceneFrames, assemble_scene, points_of
from dyn3d_ns.io.images import bits_note, bits_used
from dyn3d_ns.io.loss_masks import check_not_black
from dyn3d_ns.io.notes import tell
from dyn3d_ns.io.ply import PointCloud, read_points
from dyn3d_ns.io.scene_metadata import SceneMetadata, ScenePoints
from dyn3d_ns.io.transforms_scene import TransformsScene, read_scene
from dyn3d_ns.io.transparency import first_transparent
from dyn3d_ns.timeline import Timeline, wanted_splits


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
    """Frames per second of real time; by default as timestamps say, without any one second for all."""
    scene_box: tuple[float, float, float, float, float, float] | None = None
    """Scene box x0 y0 z0 x1 y1 z1 in world units; from point cloud or cameras if not given."""
    load_points: bool = True
    """Start from the point cloud that the scene names, or points3d.ply."""
    load_masks: bool = True
    """Leave what `mask_path` blackens out of the loss."""


@dataclass
class DynamicObjectDataParser(DataParser):
    """Parse scenes whose frames are listed with a time and a pose each.

    Splits follow time and pose, whatever the files are called: the frames of the training file up to
    `t_obs` train, other frames up to `t_obs` interpolate, later frames lie in the future. Nerfstudio's
    `train` is the first, its `val` the second (the third if there is none), its `test` both of these.

    The data's world is that of training, but for scenes of unusual size or far from the origin
    (:func:`~dyn3d_ns.geometry.world.training_world`).
    """

    config: DynamicObjectDataParserConfig
    includes_time: bool = True

    def __init__(self, config: DynamicObjectDataParserConfig) -> None:
        super().__init__(config=config)
        factor = config.downscale_factor
        if factor is not None and not factor >= 1:
            raise DatasetError(f"downscale_factor must be at least 1, got {factor}")

    def _generate_dataparser_outputs(self, split: str = "train", **kwargs) -> DataparserOutputs:
        (frames, timeline), world = self._scene, self._world
        wanted = wanted_splits(split, frames.splits)
        chosen = [i for i, s in enumerate(frames.splits) if s in wanted]
        masks = [frames.masks[i] if self.config.load_masks else None for i in chosen]
        scene = SceneMetadata(
            timeline=timeline,
            splits=[frames.splits[i] for i in chosen],
            source_files=[frames.sources[i] for i in chosen],
            camera_ids=torch.from_numpy(frames.camera_ids[chosen]),
            has_alpha=self._has_alpha,
            bits=self._bits,
            points=self._scene_points,
            world=world,
            true_poses=torch.from_numpy(frames.poses[chosen]),
            masks=masks,
            undistortions=[frames.undistortions[i] for i in chosen],
        )
        known = [mask for mask in masks if mask is not None]
        return DataparserOutputs(
            image_filenames=[frames.images[i] for i in chosen],
            # Of stock methods; ours take the scene's.
            mask_filenames=known if known and len(known) == len(chosen) else None,
            cameras=self._cameras(chosen),
            alpha_color=None,
            scene_box=SceneBox(aabb=torch.from_numpy(world.points(self._box)).float()),
            dataparser_transform=torch.from_numpy(world.transform[:3]).float(),
            dataparser_scale=world.scale,
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
            camera_to_worlds=torch.from_numpy(self._world.poses(frames.poses[chosen])[:, :3]).float(),
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
        c = self.config
        frames, timeline = assemble_scene(self._files, c.t_obs, c.fps, c.hold_out_cameras)
        for note in frames.notes:
            tell(Path(c.data), note)
        if lens := frames.lens_note():
            tell(Path(c.data), f"lens {lens}")
        if any(frames.masks):
            if c.load_masks:
                train = zip(frames.masks, frames.splits, strict=True)
                check_not_black(mask for mask, split in train if mask is not None and split == "train")
            told = "what `mask_path` blackens is left out of the loss"
            tell(Path(c.data), told if c.load_masks else "masks are not used (--load-masks False)")
        return frames, timeline

    @cached_property
    def _files(self) -> TransformsScene:
        return read_scene(Path(self.config.data))

    @cached_property
    def _has_alpha(self) -> bool:
        """Whether any image has pixels that are not opaque; training images are looked at first."""
        frames = self._scene[0]
        order = sorted(range(len(frames.images)), key=lambda i: frames.splits[i] != "train")
        images = [frames.images[i] for i in order]
        found = first_transparent(images)
        if found not in (None, images[0]):
            tell(Path(self.config.data), f"some images have transparent pixels ({found}, …): alpha counts")
        return found is not None

    @cached_property
    def _bits(self) -> int:
        """Bits in use of images of 16 a channel, all splits together."""
        bits = bits_used(self._scene[0].images)
        if note := bits_note(bits):
            tell(Path(self.config.data), note)
        return bits

    @cached_property
    def _world(self) -> World:
        return training_world(self._box)

    @cached_property
    def _points_file(self) -> Path | None:
        if not self.config.load_points:
            return None
        return points_of(Path(self.config.data), self._files)

    @cached_property
    def _points(self) -> PointCloud | None:
        return None if self._points_file is None else read_points(self._points_file)

    @cached_property
    def _scene_points(self) -> ScenePoints | None:
        if self._points is None:
            return None
        xyz = torch.from_numpy(self._world.points(self._points.xyz)).float()
        return ScenePoints(xyz, torch.from_numpy(self._points.rgb.copy()), str(self._points_file))

    @cached_property
    def _box(self) -> Float64[np.ndarray, "2 3"]:
        """The box of the scene in the data's world."""
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
            return bounds_of_points(self._points.xyz)
        if self._has_alpha:
            return object_bounds(poses, tangents.max(axis=1))
        return surrounding_bounds(poses, tangents)


DynamicObjectDataParserSpecification = DataParserSpecification(
    config=DynamicObjectDataParserConfig(),
    description="NVFi Dynamic Object, NVFi Dynamic Indoor Scene and D-NeRF scenes",
)
