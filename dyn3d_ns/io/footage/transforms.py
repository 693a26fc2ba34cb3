"""Nerfstudio's transforms.json as footage, with masks, depth and motion beside the images."""

from __future__ import annotations

import sys
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Float64, UInt8

from dyn3d_ns.geometry.cameras import HALF_PIXEL, flip_axes, shift_pixel_centers
from dyn3d_ns.geometry.lenses import Undistortion
from dyn3d_ns.io.arrays import read_png
from dyn3d_ns.io.clip.types import Cameras
from dyn3d_ns.io.errors import DamagedFileError, DatasetError, TimeRangeError
from dyn3d_ns.io.footage.base import Footage, Prior
from dyn3d_ns.io.footage.files import (
    array_size,
    check_aspect,
    check_proportion,
    checked_cameras,
    read_array,
    read_probability,
)
from dyn3d_ns.io.footage.undistorted import undistorted_images
from dyn3d_ns.io.frame_times import Moments, stated_times
from dyn3d_ns.io.intrinsics import matrix_of, merged, pinhole_of, read_intrinsics
from dyn3d_ns.io.masks import MaskFiles
from dyn3d_ns.io.notes import tell
from dyn3d_ns.io.ply import read_points
from dyn3d_ns.io.recognised import image_sizes, natural_order
from dyn3d_ns.io.split_lists import LISTS
from dyn3d_ns.io.transforms_json import FileIndex, check_pose, load_json
from dyn3d_ns.io.unused_fields import unused_fields

NAME = "transforms.json"
_MILLIMETRE = 1e-3
"""What a step of a depth image is where the file does not say; Nerfstudio's `depth_unit_scale_factor`."""
_DEPTH_UNITS = ("depth_unit_scale_factor", "integer_depth_scale")
_SIDE_FILES = ("mask_path", "depth_file_path", "dynamic_prob_path")


def is_transforms(path: Path) -> bool:
    """Tell whether a folder holds such a file."""
    return (path / NAME).is_file()


class TransformsFootage(Footage):
    """Frames in the order of their `time`, or else of their names.

    `mask_path` has Nerfstudio's meaning: what is not 0 is used, so 0 is what moves. `dynamic_prob_path` is
    ours: how likely each pixel moves. Lenses are undone in all that is read.
    """

    camera_source = NAME

    def __init__(self, root: Path) -> None:
        """Open a folder.

        Raises:
            DatasetError: the file or one that it names is missing or damaged, leads out of the folder, has a
                lens that is not read, or only some frames have a mask, a depth or a time.
        """
        self.root, self._path = root, root / NAME
        content = load_json(self._path)
        entries = content.get("frames")
        if not isinstance(entries, list) or not entries or not all(isinstance(e, dict) for e in entries):
            raise DamagedFileError(f"{self._path}: `frames` must be a list of objects, one a frame")
        index = FileIndex(root, root)
        # Places in the file stay with the entries, for messages.
        rows = [(f"{self._path}, frame {i}", entry) for i, entry in enumerate(entries)]
        images = {where: index.find(entry.get("file_path"), where) for where, entry in rows}
        moments = _times(self._path, rows)
        if moments is None:
            rows.sort(key=lambda row: natural_order(images[row[0]]))
        else:
            rows = [rows[i] for i in np.argsort(moments.times)]
        self._moments = moments
        self._rows, self._content = rows, content
        self._images = [images[where] for where, _ in rows]
        self._files = {key: _side_files(self._path, rows, key, index) for key in _SIDE_FILES}
        lists = [f"`{key}`" for key in LISTS if key in content]
        if lists:
            tell(self._path, f"{', '.join(lists)} not used: --eval-interval says which frames are held out")
        for note in unused_fields([content], entries, used=_SIDE_FILES):
            tell(self._path, note)
        ply = content.get("ply_file_path")
        self._ply = index.find_file(ply, str(self._path), "ply_file_path") if ply else None
        stated = next((content[key] for key in _DEPTH_UNITS if key in content), _MILLIMETRE)
        if isinstance(stated, bool) or not isinstance(stated, (int, float)) or not 0 < stated < np.inf:
            raise DamagedFileError(f"{self._path}: `{_DEPTH_UNITS[0]}` must be above 0, got {stated!r:.80}")
        self._depth_unit = stated
        self._check_sizes()
        _ = self._cameras
        if undone := [str(undo.lens) for undo in self._pinholes[1] if undo is not None]:
            print(f"{self._path}: the lens of {len(undone)} images is undone: {undone[0]}", file=sys.stderr)
        self.mask_source = NAME if "dynamic_mask" in self.names else "none"
        self.advice = (
            f"{self._path} may name them for each frame: `mask_path` (0 moves), `dynamic_prob_path`, "
            "`depth_file_path`; `dyn3d process` makes these, flow and tracks of the images"
        )

    @cached_property
    def frames(self) -> list[Path]:  # type: ignore[override]
        """Images in the order of time, without their lens."""
        return undistorted_images(self.root, self._images, self._pinholes[1])

    @cached_property
    def size(self) -> tuple[int, int]:  # type: ignore[override]
        """Width and height that all images share."""
        return image_sizes(self._images)

    @property
    def times(self) -> tuple[Float64[np.ndarray, "F"], float | None]:
        """Times as the file has them, and how many a second if it says so; else evenly spaced."""
        if self._moments is None:
            return super().times
        times, seconds = np.sort(self._moments.times), self._moments.seconds
        return times, None if seconds is None else 1.0 / float(np.median(np.diff(times)) * seconds)

    def cameras(self) -> Cameras:
        """Return the cameras: pinholes, with the intrinsics of each frame brought to its image's size."""
        return self._cameras

    @cached_property
    def _cameras(self) -> Cameras:
        poses = [check_pose(entry.get("transform_matrix"), where) for where, entry in self._rows]
        Ks = np.stack([matrix_of(*pinhole) for pinhole in self._pinholes[0]])
        # Nerfstudio's pixel centres are at one half.
        Ks = shift_pixel_centers(Ks, -HALF_PIXEL)
        return checked_cameras(self.root, Ks, flip_axes(np.stack(poses)), len(self._rows))

    @cached_property
    def _pinholes(self) -> tuple[list[tuple[float, float, float, float]], list[Undistortion | None]]:
        """fx, fy, cx, cy of each frame without its lens, and what undoes that."""
        pinholes, undos = [], []
        for (where, entry), image in zip(self._rows, self._images, strict=True):
            stated = read_intrinsics(merged(self._content, entry), where)
            try:
                pinhole, undo = pinhole_of(stated, *self.size)
            except DatasetError as error:
                raise type(error)(f"{where}: {image.name} {error}") from error
            pinholes.append(pinhole)
            undos.append(undo)
        return pinholes, undos

    @property
    def names(self) -> frozenset[Prior]:  # type: ignore[override]
        """What the file names."""
        found: set[Prior] = set()
        if self._files["mask_path"] or self._files["dynamic_prob_path"]:
            found |= {"dynamic_mask", "motion"}
        if self._files["depth_file_path"]:
            found |= {"depth", "disparity"}
        return frozenset(found)

    def dynamic_mask(self, i: int) -> Bool[np.ndarray, "h w"]:
        """Read where the mask of frame i is 0 (of black and white masks: below half).

        Without masks it is where the frame moves more likely than not.
        """
        if not self._files["mask_path"]:
            return self.motion(i) > 0.5
        mask, undo = ~self._masks.on(i), self._pinholes[1][i]
        return mask if undo is None else undo.nearest(mask)

    @cached_property
    def _masks(self) -> MaskFiles:
        return MaskFiles(self._files["mask_path"])

    def motion(self, i: int) -> Float32[np.ndarray, "h w"]:
        """Read how likely each pixel of frame i moves."""
        files, undo = self._files["dynamic_prob_path"], self._pinholes[1][i]
        if not files:
            return super().motion(i)
        return read_probability(files[i]) if undo is None else undo.soft(read_probability(files[i]))

    def depth(self, i: int) -> Float32[np.ndarray, "h w"]:
        """Read planar z of frame i: images in thousandths of a unit or as the file says; arrays, and
        images of floating-point numbers, in units."""
        depth, undo = self._read_depth(i), self._pinholes[1][i]
        return depth if undo is None else undo.nearest(depth)

    def _read_depth(self, i: int) -> Float32[np.ndarray, "h w"]:
        path = self._files["depth_file_path"][i]
        if path.suffix.lower() == ".npy":
            return read_array(path)
        pixels = read_png(path, None, "depth")
        if pixels.ndim != 2 or pixels.dtype == np.uint8:
            raise DamagedFileError(f"{path} must be a grey image of 16 bits, in thousandths; write it so")
        if pixels.dtype.kind == "f":
            return pixels.astype(np.float32)
        return pixels.astype(np.float32) * np.float32(self._depth_unit)

    def points(self, middle: int) -> tuple[Float64[np.ndarray, "P 3"], UInt8[np.ndarray, "P 3"]] | None:
        """Read the cloud of `ply_file_path`, which lies in the world of the poses as the file has them."""
        if self._ply is None:
            return None
        cloud = read_points(self._ply)
        return cloud.xyz, cloud.rgb

    def _check_sizes(self) -> None:
        for key, files in self._files.items():
            arrays = [path for path in files if path.suffix.lower() == ".npy"]
            check_aspect([path for path in files if path not in arrays], self.size)
            for path in arrays if key != "mask_path" else ():
                check_proportion(path, array_size(path), self.size)


def _times(path: Path, rows: list[tuple[str, dict[str, Any]]]) -> Moments | None:
    """Return the time of each frame, None where no frame has one."""
    found = stated_times(rows)
    if found is None:
        return None
    if len(set(found.times.tolist())) < len(rows):
        raise TimeRangeError(
            f"{path}: several frames have the same time, but a video has one camera; several cameras are "
            "read by `dynamic-object-data`"
        )
    for note in found.notes:
        tell(path, note)
    return found


def _side_files(path: Path, rows: list[tuple[str, dict[str, Any]]], key: str, index: FileIndex) -> list[Path]:
    """Return the files that all frames name under a key; none if no frame does."""
    named = [(where, entry[key]) for where, entry in rows if entry.get(key) is not None]
    if not named:
        return []
    if len(named) < len(rows):
        raise DatasetError(
            f"{path}: {len(named)} of {len(rows)} frames have a `{key}`; give one to all frames or to none"
        )
    return [index.find_file(value, where, key) for where, value in named]
