"""Read the folder of a processed clip: ours, or one of DynamicVerse itself.

Frames, masks, depth and flow belong together by order, whatever they are called and from wherever their
numbers start.
"""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int32, Int64, UInt8
from PIL import Image

from dyn3d_ns.io.errors import DamagedFileError, DatasetError, MissingFileError
from dyn3d_ns.io.flow_files import read_flow_npz
from dyn3d_ns.io.fused_4d import FusedScene, read_fused

_IMAGES = (".png", ".jpg", ".jpeg")
_MASK_FOLDERS = ("segmentation/label", "qwen/Annotations", "segmentation/frames/masks")
_POSE_FILES = ("dynamicBA/*/poses*.npz", "dynamicBA/*/pose.npz", "cameras/poses.npz", "poses.npz", "pose.npz")
_DEPTH_FILES = ("unidepth/depth.npy", "unidepth_gt_K/depth.npy", "unidepth*/depth.npy", "depth.npy")


@dataclass(frozen=True)
class ClipTracks:
    """Points followed through a clip, in pixels."""

    xy: Float32[np.ndarray, "F N 2"]
    visible: Bool[np.ndarray, "F N"]
    init_frames: Int64[np.ndarray, "N"]


@dataclass(frozen=True)
class ClipFolder:
    """A processed clip; files are looked for and read when they are asked for."""

    root: Path

    @cached_property
    def images(self) -> list[Path]:
        """The frames in the order of their names."""
        found = _images_in(self.root / "rgb")
        if not found:
            raise MissingFileError(
                f"{self.root} has no frames in rgb/; give the folder that `dyn3d process` wrote, or a "
                "scene of DynamicVerse"
            )
        return found

    @property
    def num_frames(self) -> int:
        """Number of frames."""
        return len(self.images)

    @cached_property
    def size(self) -> tuple[int, int]:
        """Width and height of the frames."""
        try:
            with Image.open(self.images[0]) as image:
                return image.size
        except OSError as error:
            raise DamagedFileError(f"{self.images[0]} is not a readable image ({error})") from error

    @cached_property
    def times(self) -> tuple[Float64[np.ndarray, "F"], float | None]:
        """Times in [0, 1], and frames per second; evenly spaced, at an unknown rate, without clip.json."""
        path = self.root / "clip.json"
        if not path.is_file():
            return np.linspace(0.0, 1.0, self.num_frames), None
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            seconds = np.asarray(content["times"], dtype=np.float64)
            fps = float(content["fps"])
        except (ValueError, KeyError, TypeError) as error:
            raise DamagedFileError(f"{path} is not a clip's description ({error})") from error
        if len(seconds) != self.num_frames or (np.diff(seconds) <= 0).any():
            raise DamagedFileError(f"{path} must hold {self.num_frames} increasing times, one a frame")
        return (seconds - seconds[0]) / max(seconds[-1] - seconds[0], 1e-9), fps

    @cached_property
    def cameras(self) -> tuple[Float64[np.ndarray, "F 4 4"], Float64[np.ndarray, "F 3 3"]]:
        """OpenCV camera-to-world poses and intrinsics (whole-numbered coordinates are pixel centres).

        Looked for in dynamicBA/*/poses*.npz, in the frames of dynamicBA/*, in cameras/poses.npz.
        """
        poses, Ks = self._find_cameras()
        poses, Ks = np.asarray(poses, dtype=np.float64), np.asarray(Ks, dtype=np.float64)
        if Ks.shape == (3, 3):
            Ks = np.repeat(Ks[None], len(poses), axis=0)
        count = self.num_frames
        if poses.shape != (count, 4, 4) or Ks.shape != (count, 3, 3):
            raise DatasetError(
                f"{self.root} has {count} frames, but poses {poses.shape} and intrinsics {Ks.shape}"
            )
        if not (np.isfinite(poses).all() and np.isfinite(Ks).all() and (Ks[:, (0, 1), (0, 1)] > 0).all()):
            raise DatasetError(f"the cameras of {self.root} are not finite, or have no focal length")
        return poses, Ks

    def _find_cameras(self) -> tuple[Any, Any]:
        for pattern in _POSE_FILES:
            found = sorted(self.root.glob(pattern), key=lambda p: p.stat().st_mtime_ns)
            if found:
                values = _read_npz(found[-1])
                if "poses" in values and "intrinsics" in values:
                    return values["poses"], values["intrinsics"]
        frames = self._adjusted_frames
        if not frames:
            raise MissingFileError(
                f"{self.root} has no cameras (dynamicBA/*/poses*.npz or cameras/poses.npz); run "
                "`dyn3d process` with the stage cameras"
            )
        poses, Ks = np.tile(np.eye(4), (len(frames), 1, 1)), np.zeros((len(frames), 3, 3))
        for i, path in enumerate(frames):
            values = _read_npz(path, ("R", "t", "K"))
            poses[i, :3, :3], poses[i, :3, 3], Ks[i] = values["R"], values["t"].reshape(3), values["K"]
        return poses, Ks

    @cached_property
    def _adjusted_frames(self) -> list[Path]:
        """The adjusted frames of the newest experiment."""
        folders = [p for p in self.root.glob("dynamicBA/*") if any(p.glob("[0-9][0-9][0-9][0-9]*.npz"))]
        if not folders:
            return []
        newest = max(folders, key=lambda p: p.stat().st_mtime_ns)
        return sorted(newest.glob("[0-9][0-9][0-9][0-9]*.npz"))

    @cached_property
    def masks(self) -> list[Path]:
        """Files of instance ids, one a frame; empty if there are none."""
        for name in _MASK_FOLDERS:
            found = _images_in(self.root / name)
            if found:
                return self._one_each(found, name)
        return []

    def labels(self, i: int) -> Int32[np.ndarray, "H W"]:
        """Read the instance ids of a frame; 0 is static. Colours count as R + 256 G + 65536 B."""
        path = self.masks[i]
        try:
            with Image.open(path) as image:
                values = np.array(image)
        except OSError as error:
            raise DamagedFileError(f"{path} is not a readable mask ({error})") from error
        values = values.astype(np.int32)
        return values if values.ndim == 2 else values[..., 0] + 256 * values[..., 1] + 65536 * values[..., 2]

    @cached_property
    def instance_names(self) -> dict[int, str]:
        """Names of the objects by id."""
        for name in ("analysis/instance_names.json", "segmentation/instance_labels.json"):
            path = self.root / name
            if path.is_file():
                try:
                    content = json.loads(path.read_text(encoding="utf-8"))
                    return {int(k): str(v) for k, v in content.items()}
                except (ValueError, AttributeError) as error:
                    raise DamagedFileError(f"{path} must map ids to names ({error})") from error
        return {}

    @cached_property
    def has_depth(self) -> bool:
        """Whether there is depth of every frame."""
        return len(self._adjusted_frames) == self.num_frames or self._depth_file is not None

    @cached_property
    def _depth_file(self) -> Path | None:
        return next((p for pattern in _DEPTH_FILES for p in sorted(self.root.glob(pattern))), None)

    def depth(self, i: int) -> Float32[np.ndarray, "H W"]:
        """Read planar z of a frame, adjusted where there is such; 0 where nothing is known."""
        if len(self._adjusted_frames) == self.num_frames:
            disparity = _read_npz(self._adjusted_frames[i], ("disp",))["disp"].astype(np.float32)
            known = disparity > 0
            return np.where(known, 1 / np.where(known, disparity, 1), 0).astype(np.float32)
        if self._depth_file is None:
            raise MissingFileError(f"{self.root} has no depth; run `dyn3d process` with the stage depth")
        try:
            depths = np.load(self._depth_file, mmap_mode="r", allow_pickle=False)
            return np.array(np.squeeze(depths[i]), dtype=np.float32)
        except (OSError, ValueError, EOFError, IndexError) as error:
            raise DamagedFileError(f"{self._depth_file} has no depth of frame {i} ({error})") from error

    @cached_property
    def flow_files(self) -> list[Path]:
        """Files of the flow from each frame to the next; empty if there are none."""
        found = [self.root / "flow" / f"{i:05d}_{i + 1:05d}.npz" for i in range(self.num_frames - 1)]
        return found if found and all(path.is_file() for path in found) else []

    def flow(self, i: int) -> tuple[Float32[np.ndarray, "H W 2"], Bool[np.ndarray, "H W"]]:
        """Read the flow from frame i to the next, in pixels, and where it is consistent."""
        return read_flow_npz(self.flow_files[i])

    @cached_property
    def tracks_file(self) -> Path | None:
        """The newest file of tracks."""
        found = sorted(self.root.glob("cotrackerv3_*/results.npz"), key=lambda p: p.stat().st_mtime_ns)
        return found[-1] if found else None

    def tracks(self) -> ClipTracks:
        """Read the tracks."""
        if self.tracks_file is None:
            raise MissingFileError(f"{self.root} has no tracks; run `dyn3d process` with the stage tracks")
        values = _read_npz(self.tracks_file, ("all_tracks", "all_visibilities", "init_frames"))
        return ClipTracks(
            values["all_tracks"].astype(np.float32),
            values["all_visibilities"].astype(bool),
            values["init_frames"].astype(np.int64),
        )

    @cached_property
    def fused_file(self) -> Path | None:
        """The newest fused scene, those painted by object left out."""
        found = sorted(self.root.glob("dynamicBA/*/fused_4d*.npz"), key=lambda p: p.stat().st_mtime_ns)
        return found[-1] if found else None

    def fused(self) -> FusedScene | None:
        """Read the fused scene, if there is one."""
        return read_fused(self.fused_file) if self.fused_file is not None else None

    def sparse_points(self) -> tuple[Float32[np.ndarray, "P 3"], UInt8[np.ndarray, "P 3"]] | None:
        """Read the points that the cameras were found with, if there are any."""
        path = self.root / "cameras" / "points.npz"
        if not path.is_file():
            return None
        values = _read_npz(path, ("xyz", "rgb"))
        return values["xyz"].astype(np.float32), values["rgb"].astype(np.uint8)

    def _one_each(self, found: list[Path], name: str) -> list[Path]:
        if len(found) != self.num_frames:
            raise DatasetError(
                f"{self.root}: {name} holds {len(found)} files, but there are {self.num_frames} frames; they "
                "belong together by order, so there must be one each"
            )
        return found


def _images_in(folder: Path) -> list[Path]:
    return sorted(p for p in folder.glob("*") if p.suffix.lower() in _IMAGES)


def _read_npz(path: Path, names: tuple[str, ...] = ()) -> dict[str, np.ndarray]:
    """Read an .npz without unpickling; members that hold objects are left out."""
    try:
        with np.load(path, allow_pickle=False) as content:
            values = {name: content[name] for name in (names or content.files)}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        wanted = f"with {', '.join(names)} " if names else ""
        raise DamagedFileError(f"{path} is not a readable .npz {wanted}({error})") from error
    return values
