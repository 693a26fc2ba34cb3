"""DyCheck's iPhone captures, in Nerfies' layout: a camera that moves trains, others at rest evaluate."""

from __future__ import annotations

import json
import re
import sys
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32, Float64

from dyn3d_ns.geometry.cameras import HALF_PIXEL, scale_intrinsics, shift_pixel_centers
from dyn3d_ns.io.clip.types import Cameras
from dyn3d_ns.io.damage import CONTENT_ERRORS, JSON_ERRORS
from dyn3d_ns.io.dynamic_scene.base import Points, SceneFiles, View, name_of
from dyn3d_ns.io.errors import DamagedFileError, DatasetError, MissingFileError, PoseError, UnsafePathError
from dyn3d_ns.io.footage.files import checked_cameras, read_array
from dyn3d_ns.io.recognised import IMAGE_SUFFIXES

_NEEDED = ("scene.json", "dataset.json", "metadata.json", "camera", "rgb")
_TRAINS = 0
"""Number of the camera that trains."""


class _Item(NamedTuple):
    """An image of the capture."""

    name: str
    camera: int
    moment: int


def is_dycheck(path: Path) -> bool:
    """Tell whether a folder is a capture in this layout."""
    return all((path / name).exists() for name in _NEEDED)


class DyCheckScene(SceneFiles):
    """`camera/<id>.json` and `rgb/<factor>x/<id>.png`, with `scene.json`, `dataset.json`, `metadata.json`.

    A camera's `orientation` takes the world to its axes (OpenCV's), `position` is its place in the world, and
    pixel centres lie at +0.5; `scene.json` has near and far over its scale. Lidar depth is planar z, in units
    of the positions.
    """

    source = "dataset"

    def __init__(self, root: Path) -> None:
        """Open a capture.

        Raises:
            DatasetError: a file is missing or damaged, or fewer than two frames train.
        """
        self.root, self.name = root, name_of(root)
        if len(self._train) < 2:
            raise DatasetError(
                f"{root}: camera {_TRAINS} has {len(self._train)} frame in dataset.json and metadata.json; "
                "training takes at least 2"
            )
        if (root / "covisible").is_dir():
            print(f"{root}: covisible/ is not read; whole images are evaluated", file=sys.stderr)

    @cached_property
    def frames(self) -> list[Path]:  # type: ignore[override]
        """Images of the camera that trains."""
        return [self._image(item.name) for item in self._train]

    @cached_property
    def times(self) -> Float64[np.ndarray, "F"]:  # type: ignore[override]
        """Times in [0, 1] by the moments' numbers."""
        moments = np.array([item.moment for item in self._train], dtype=np.float64)
        return (moments - moments[0]) / (moments[-1] - moments[0])

    @property
    def fps(self) -> float | None:
        """Frames per second of `extra.json`."""
        path = self.root / "extra.json"
        found = _read(path).get("fps") if path.is_file() else None
        return float(found) if isinstance(found, int | float) and 0 < found < 1e6 else None

    def cameras(self) -> Cameras:
        """Read the cameras of the frames."""
        found = [self._camera(item.name) for item in self._train]
        Ks, poses = np.stack([K for K, _ in found]), np.stack([pose for _, pose in found])
        return checked_cameras(self.root, Ks, poses, len(found))

    def bounds(self) -> Float64[np.ndarray, "F 2"]:
        """Read near and far of `scene.json`, the same for all frames."""
        path = self.root / "scene.json"
        content = _read(path)
        try:
            near, far, scale = (float(content[name]) for name in ("near", "far", "scale"))
        except CONTENT_ERRORS as error:
            raise DamagedFileError(f"{path} must hold numbers near, far and scale; restore it") from error
        if not (0 < near < far < np.inf and scale > 0):
            raise DamagedFileError(
                f"{path}: 0 < near < far and 0 < scale must hold, got near {near}, far {far}, scale {scale}; "
                "restore it"
            )
        return np.tile([near / scale, far / scale], (len(self._train), 1))

    def depth(self, i: int) -> Float32[np.ndarray, "h w"] | None:
        """Read `depth/<factor>x/<id>.npy` of the lidar; 0 where it saw nothing."""
        path = self._depth_path(self._train[i].name)
        if path is None:
            return None
        depth = read_array(path)
        return np.where(np.isfinite(depth) & (depth > 0), depth, 0).astype(np.float32)

    def points(self) -> Points | None:
        """Read `points.npy`, the ground behind what moves; it has no colours."""
        path = self.root / "points.npy"
        if not path.is_file():
            return None
        found = read_array(path)
        if found.shape[1] != 3:
            raise DamagedFileError(f"{path} must hold points [P, 3], got {found.shape}; restore or remove it")
        xyz = found[np.isfinite(found).all(1)].astype(np.float64)
        return (xyz, np.full(xyz.shape, 128, np.uint8)) if len(xyz) else None

    def views(self) -> list[View]:
        """List the images of the other cameras that were taken at a training frame's moment."""
        frame_of = {item.moment: i for i, item in enumerate(self._train)}
        others = [item for item in self._items if item.camera != _TRAINS]
        known = sorted(
            (frame_of[item.moment], item.camera, item.name) for item in others if item.moment in frame_of
        )
        if len(known) < len(others):
            left = len(others) - len(known)
            print(f"{self.root}: {left} held-out images are of no training moment; not used", file=sys.stderr)
        views = []
        for frame, camera, name in known:
            K, pose = self._camera(name)
            # Numbers below the frames' count are places of frames.
            views.append(View(self._image(name), frame, len(self._train) + camera, pose, K))
        return views

    def side_files(self) -> list[Path]:
        """List cameras and depths of the frames."""
        names = [item.name for item in self._train]
        depths = [path for name in names if (path := self._depth_path(name)) is not None]
        return [*(self.root / f"camera/{name}.json" for name in names), *depths]

    @cached_property
    def _train(self) -> list[_Item]:
        found = [item for item in self._items if item.camera == _TRAINS]
        return sorted(found, key=lambda item: item.moment)

    @cached_property
    def _items(self) -> list[_Item]:
        """Images of `dataset.json`, of which the files in `splits/` may leave out some."""
        path = self.root / "dataset.json"
        ids = _read(path).get("ids")
        if not isinstance(ids, list) or not ids:
            raise DamagedFileError(f"{path} must hold `ids`, the names of all images; restore it")
        listed = [self._listed(name) for name in ("train", "val")]
        kept = None if None in listed else {name for names in listed if names for name in names}
        path = self.root / "metadata.json"
        about, found = _read(path), []
        for name in ids:
            plain = _safe(path, str(name))
            if kept is not None and plain not in kept:
                continue
            try:
                entry = about[name]
                moment = entry["warp_id"] if "warp_id" in entry else entry["time_id"]
                found.append(_Item(plain, int(entry["camera_id"]), int(moment)))
            except CONTENT_ERRORS as error:
                raise DamagedFileError(
                    f"{path} must hold warp_id and camera_id of {name}, which dataset.json lists; restore it"
                ) from error
        return found

    def _listed(self, split: str) -> list[str] | None:
        path = self.root / f"splits/{split}.json"
        if not path.is_file():
            return None
        names = _read(path).get("frame_names")
        if not isinstance(names, list):
            raise DamagedFileError(f"{path} must hold `frame_names`; restore it, or remove the folder")
        return [_safe(path, str(name)) for name in names]

    @cached_property
    def _folder(self) -> Path:
        """Folder of the largest images."""
        found = {
            int(match[1]): path
            for path in (self.root / "rgb").iterdir()
            if path.is_dir() and (match := re.fullmatch(r"(\d+)x", path.name)) is not None
        }
        if not found:
            raise MissingFileError(f"{self.root / 'rgb'} has no folder 1x or 2x of images; restore it")
        return found[min(found)]

    def _image(self, name: str) -> Path:
        found = (self._folder / f"{name}{suffix}" for suffix in IMAGE_SUFFIXES)
        path = next((path for path in found if path.is_file()), None)
        if path is None:
            raise MissingFileError(
                f"{self._folder / name}.png does not exist, though dataset.json lists it; restore it"
            )
        return path

    def _depth_path(self, name: str) -> Path | None:
        places = (self.root / f"depth/{folder}/{name}.npy" for folder in (self._folder.name, "1x", "2x"))
        return next((path for path in places if path.is_file()), None)

    def _camera(self, name: str) -> tuple[Float64[np.ndarray, "3 3"], Float64[np.ndarray, "4 4"]]:
        """Read intrinsics at the size of the frames (whole numbers are centres) and pose of an image."""
        path = self.root / f"camera/{name}.json"
        content = _read(path)
        try:
            focal = float(content["focal_length"])
            center = np.array(content["principal_point"], dtype=np.float64).reshape(2)
            size = np.array(content["image_size"], dtype=np.float64).reshape(2)
            rotation = np.array(content["orientation"], dtype=np.float64).reshape(3, 3)
            position = np.array(content["position"], dtype=np.float64).reshape(3)
            aspect, skew = float(content.get("pixel_aspect_ratio", 1)), float(content.get("skew", 0))
            bent = [content.get("radial_distortion") or [0], content.get("tangential_distortion") or [0]]
            distortion = float(np.abs(np.concatenate(bent).astype(np.float64)).max())
        except CONTENT_ERRORS as error:
            raise DamagedFileError(
                f"{path} must hold focal_length, principal_point, image_size, orientation and position, as "
                f"Nerfies writes them ({error}); restore it"
            ) from error
        if np.abs(rotation @ rotation.T - np.eye(3)).max() > 1e-2 or np.linalg.det(rotation) < 0:
            raise PoseError(f"{path}: `orientation` is no rotation; restore it, or leave the image out")
        if distortion > 1e-6 or abs(skew) > 1e-3:
            raise DatasetError(f"{path}: the lens is distorted or skewed; undistort the images first")
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = rotation.T, position
        K = np.diag([focal, focal * aspect, 1.0])
        K[:2, 2] = center
        scaled = scale_intrinsics(K, self.size[0] / size[0], self.size[1] / size[1])
        return shift_pixel_centers(scaled, -HALF_PIXEL), pose


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise MissingFileError(f"{path} does not exist; the iPhone layout of DyCheck has it: restore it")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except JSON_ERRORS as error:
        raise DamagedFileError(f"{path} is not readable JSON ({error}); restore it") from error
    if not isinstance(content, dict):
        raise DamagedFileError(f"{path} must hold an object, got a {type(content).__name__}; restore it")
    return content


def _safe(path: Path, name: str) -> str:
    """Return an image's name as it stands in the folders, separators of Windows turned round.

    Raises:
        UnsafePathError: it leads out of the folder.
    """
    plain = name.replace("\\", "/")
    if plain.startswith("/") or ".." in plain.split("/") or re.match(r"[A-Za-z]:", plain):
        raise UnsafePathError(f"{path}: the image name {name!r} leads out of the folder")
    return plain
