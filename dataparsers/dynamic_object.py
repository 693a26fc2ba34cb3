"""NVFi Dynamic Object, NVFi Dynamic Indoor Scene and D-NeRF scenes."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from nerfstudio.cameras.cameras import Cameras, CameraType
from nerfstudio.data.dataparsers.base_dataparser import DataParser, DataParserConfig, DataparserOutputs
from nerfstudio.data.scene_box import SceneBox
from nerfstudio.plugins.registry_dataparser import DataParserSpecification
from PIL import Image

from dyn3d_ns.geometry.bounds import (
    SceneBounds,
    bounds_of_points,
    group_poses,
    object_bounds,
    surrounding_bounds,
)
from dyn3d_ns.io.errors import DamagedFileError, DatasetError, EmptySplitError, ImageSizeError
from dyn3d_ns.io.ply import PointCloud, read_points
from dyn3d_ns.io.transforms_json import TransformsFile, find_transforms, read_transforms
from dyn3d_ns.timeline import TIME_EPS, Split, Timeline

_POINT_FILES = ("points3d.ply", "points3D.ply", "sparse_pc.ply")


@dataclass
class DynamicObjectDataParserConfig(DataParserConfig):
    """NVFi Dynamic Object, NVFi Dynamic Indoor Scene or D-NeRF scene"""

    _target: type = field(default_factory=lambda: DynamicObjectDataParser)
    """Target class to instantiate."""
    data: Path = Path("data/fan-and-ball")
    """Folder of the scene: the one with transforms_train.json."""
    t_obs: float | None = None
    """Last observed time in [0, 1]; training frames after it become future frames. From the data if not given."""
    hold_out_cameras: tuple[int, ...] = ()
    """Training cameras (numbered from 0 by first appearance) to evaluate on instead of training."""
    downscale_factor: float | None = None
    """Divide the image size by this factor (at least 1, area-averaged on premultiplied alpha)."""
    fps: float | None = None
    """Frames per second of real time; without it the recording counts as one second long."""
    scene_box: tuple[float, float, float, float, float, float] | None = None
    """Scene box x0 y0 z0 x1 y1 z1 in world units; from point cloud or cameras if not given."""
    near: float | None = None
    """Nearest planar depth of the scene in world units; from the cameras if not given."""
    far: float | None = None
    """Farthest planar depth of the scene in world units; from the cameras if not given."""
    load_points: bool = True
    """Start from points3d.ply where the scene has one."""


class SceneFrames(NamedTuple):
    """Every frame of a scene with what is known of it, as parallel sequences."""

    images: list[Path]
    times: np.ndarray
    poses: np.ndarray
    splits: list[Split]
    sources: list[str]
    camera_ids: np.ndarray
    intrinsics: np.ndarray
    """fx, fy, cx, cy, width, height at full resolution."""


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
        wanted = _wanted_splits(split, frames.splits)
        chosen = [i for i, s in enumerate(frames.splits) if s in wanted]
        metadata = {
            "timeline": timeline,
            "splits": [frames.splits[i] for i in chosen],
            "source_files": [frames.sources[i] for i in chosen],
            "camera_ids": torch.from_numpy(frames.camera_ids[chosen]),
            "has_alpha": self._has_alpha,
            "near": self._bounds.near,
            "far": self._bounds.far,
        }
        if self._points is not None:
            metadata["points3D_xyz"] = torch.from_numpy(self._points.xyz.copy())
            metadata["points3D_rgb"] = torch.from_numpy(self._points.rgb.copy())
        return DataparserOutputs(
            image_filenames=[frames.images[i] for i in chosen],
            cameras=self._cameras(chosen),
            alpha_color=None,
            scene_box=SceneBox(aabb=torch.from_numpy(self._bounds.aabb).float()),
            metadata=metadata,
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
        return assemble_scene(files, self.config)

    @cached_property
    def _has_alpha(self) -> bool:
        """Whether training images have pixels that are not opaque (looked for in four of them)."""
        frames = self._scene[0]
        train = [i for i, s in enumerate(frames.splits) if s == "train"]
        picks = sorted({train[round(k * (len(train) - 1) / 3)] for k in range(4)})
        return any(_is_transparent(frames.images[i]) for i in picks)

    @cached_property
    def _points(self) -> PointCloud | None:
        if not self.config.load_points:
            return None
        found = [p for name in _POINT_FILES if (p := Path(self.config.data) / name).is_file()]
        return read_points(found[0]) if found else None

    @cached_property
    def _bounds(self) -> SceneBounds:
        frames = self._scene[0]
        _, first = np.unique(frames.camera_ids, return_index=True)
        poses, intrinsics = frames.poses[first], frames.intrinsics[first]
        tangents = 0.5 * intrinsics[:, 4:] / intrinsics[:, :2]
        if self._points is not None:
            bounds = bounds_of_points(self._points.xyz.astype(np.float64), poses)
        elif self._has_alpha:
            bounds = object_bounds(poses, tangents.max(axis=1))
        else:
            bounds = surrounding_bounds(poses, tangents)
        box = self.config.scene_box
        aabb = bounds.aabb if box is None else np.array(box, dtype=np.float64).reshape(2, 3)
        near = bounds.near if self.config.near is None else self.config.near
        far = bounds.far if self.config.far is None else self.config.far
        if (aabb[1] <= aabb[0]).any() or not 0 <= near < far:
            raise DatasetError(
                f"need scene_box minimum < maximum and 0 <= near < far, got {aabb}, {near}, {far}"
            )
        return SceneBounds(aabb, float(near), float(far))


def assemble_scene(
    files: list[TransformsFile], config: DynamicObjectDataParserConfig
) -> tuple[SceneFrames, Timeline]:
    """Merge the files of a scene, recover the cameras and give every frame its split."""
    entries = [(file, frame) for file in files for frame in file.frames]
    labels = {file.label for file in files}
    train_label = "train" if "train" in labels else next(iter(labels))
    if train_label != "train" and len(files) > 1:
        raise EmptySplitError(
            f"none of {', '.join(str(f.path) for f in files)} holds the training frames; "
            "name the file with them transforms_train.json"
        )
    times = np.array([frame.time for _, frame in entries])
    poses = np.stack([frame.camera_to_world for _, frame in entries])
    camera_ids = group_poses(poses)
    held_out = np.isin(camera_ids, np.array(config.hold_out_cameras, dtype=np.int64))
    training = np.array([file.label == train_label for file, _ in entries]) & ~held_out
    timeline = _timeline(times, training, config)
    splits = timeline.split_of(times.tolist(), training.tolist())
    keep = _first_of_each_view(camera_ids, times)
    _check_splits([splits[i] for i in keep], files)
    intrinsics = _full_intrinsics([entries[i] for i in keep])
    scene = SceneFrames(
        images=[entries[i][1].image for i in keep],
        times=times[keep],
        poses=poses[keep],
        splits=[splits[i] for i in keep],
        sources=[entries[i][0].label for i in keep],
        camera_ids=camera_ids[keep],
        intrinsics=intrinsics,
    )
    return scene, timeline


def _timeline(times: np.ndarray, training: np.ndarray, config: DynamicObjectDataParserConfig) -> Timeline:
    if not training.any():
        raise EmptySplitError(f"no training frame is left; hold_out_cameras is {config.hold_out_cameras}")
    t_obs = float(times[training].max()) if config.t_obs is None else config.t_obs
    if not times[training].min() <= t_obs + TIME_EPS:
        raise EmptySplitError(
            f"t_obs {t_obs} lies before the first training frame at {times[training].min()}"
        )
    # Held-out frames at times of their own (D-NeRF's test and val) are no frames of the recording.
    recorded = training | (times > t_obs + TIME_EPS)
    return Timeline.from_times(times[recorded], t_obs, config.fps)


def _first_of_each_view(camera_ids: np.ndarray, times: np.ndarray) -> list[int]:
    """Drop frames of a camera and time that an earlier file has: merged test files repeat frames."""
    seen: set[tuple[int, int]] = set()
    keep: list[int] = []
    for i, key in enumerate(
        zip(camera_ids.tolist(), np.rint(times / TIME_EPS).astype(int).tolist(), strict=True)
    ):
        if key not in seen:
            seen.add(key)
            keep.append(i)
    return keep


def _check_splits(splits: list[Split], files: list[TransformsFile]) -> None:
    if "interp" not in splits and "future" not in splits:
        raise EmptySplitError(
            f"{', '.join(str(f.path) for f in files)}: no frame is left to evaluate on; add transforms_val.json or "
            "transforms_test.json with frames that are not in training, or hold some training frames back with "
            "the dataparser's options `--hold-out-cameras <ids>` or `--t-obs <time>`"
        )


def _wanted_splits(split: str, present: list[Split]) -> tuple[Split, ...]:
    if split == "train":
        return ("train",)
    if split == "val":
        return ("interp",) if "interp" in present else ("future",)
    if split == "test":
        return ("interp", "future")
    raise ValueError(f"split must be train, val or test, got {split!r}")


def _full_intrinsics(entries: list) -> np.ndarray:
    """Return fx, fy, cx, cy, width, height of every frame after checking the size of every image."""
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        sizes = list(pool.map(lambda entry: _image_size(entry[1].image), entries))
    expected: dict[Path, tuple[int, int]] = {}
    rows = []
    for (file, frame), (w, h) in zip(entries, sizes, strict=True):
        stated = (file.intrinsics.w or w, file.intrinsics.h or h)
        want = expected.setdefault(file.path, stated)
        if (w, h) != want:
            raise ImageSizeError(
                f"{frame.image} is {w}x{h}, but {file.path} expects {want[0]}x{want[1]}; all images of a file share "
                "one size: resize the image, or correct `w`, `h` and the focal length in the file"
            )
        rows.append((*file.intrinsics.resolve(w, h), w, h))
    return np.array(rows, dtype=np.float64)


def _image_size(path: Path) -> tuple[int, int]:
    try:
        with Image.open(path) as image:
            return image.size
    except OSError as error:
        raise DamagedFileError(
            f"{path} is not a readable image ({error}); restore it from the original"
        ) from error


def _is_transparent(path: Path) -> bool:
    try:
        with Image.open(path) as image:
            if "A" not in image.getbands() and "transparency" not in image.info:
                return False
            return image.convert("RGBA").getextrema()[3][0] < 250
    except OSError as error:
        raise DamagedFileError(
            f"{path} is not a readable image ({error}); restore it from the original"
        ) from error


DynamicObjectDataParserSpecification = DataParserSpecification(
    config=DynamicObjectDataParserConfig(),
    description="NVFi Dynamic Object, NVFi Dynamic Indoor Scene and D-NeRF scenes",
)
