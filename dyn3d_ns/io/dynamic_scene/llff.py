"""NVIDIA's Dynamic Scene in DynamicNeRF's packaging: LLFF poses, a frame a camera, side files by number."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float32, Float64

from dyn3d_ns.geometry.cameras import HALF_PIXEL, flip_axes, scale_intrinsics, shift_pixel_centers
from dyn3d_ns.io.arrays import load_npy, read_npz
from dyn3d_ns.io.clip.types import Cameras, Flow
from dyn3d_ns.io.colmap_models import colmap_folder, read_colmap
from dyn3d_ns.io.damage import ARRAY_ERRORS
from dyn3d_ns.io.dynamic_scene.base import Points, SceneFiles, View, name_of
from dyn3d_ns.io.errors import DamagedFileError, DatasetError, MissingFileError
from dyn3d_ns.io.footage.files import by_number, check_proportion, read_array
from dyn3d_ns.io.masks import MaskFiles
from dyn3d_ns.io.recognised import image_sizes, images_in, number_of
from dyn3d_ns.io.recordings.base import Calibration
from dyn3d_ns.io.recordings.poses_bounds import read_poses_bounds
from dyn3d_ns.io.series import picture_series


def is_llff_scene(path: Path) -> bool:
    """Tell whether a folder holds `poses_bounds.npy` beside `images/`, of which each frame has a pose."""
    return (path / "poses_bounds.npy").is_file() and bool(images_in(path / "images"))


class LlffScene(SceneFiles):
    """`images/NNN.png` with `poses_bounds.npy`; `disp`, `flow`, `motion_masks` and held-out views if there.

    Frame i is taken by camera i at time i; times are evenly spaced over the frames that are there. Other
    folders of images (`images_2`, `images_colmap`) are not read: images are shrunk in memory.
    """

    source = "dataset"

    def __init__(self, root: Path) -> None:
        """Open a folder.

        Raises:
            DatasetError: it has less than two frames, or not a pose for each.
        """
        self.root, self.name = root, name_of(root)
        if len(self.frames) < 2:
            raise DatasetError(f"{root / 'images'} holds {len(self.frames)} image; a scene takes at least 2")
        self._masks = by_number(images_in(root / "motion_masks"))
        self._disparities = by_number(_files(root / "disp", "*.npy"))
        self._flows = {path.stem: path for path in _files(root / "flow", "*.npz")}
        self._check_numbers()

    @cached_property
    def frames(self) -> list[Path]:  # type: ignore[override]
        """Images in the order of their numbers."""
        found = picture_series(self.root / "images")
        if found.note is not None:
            print(found.note, file=sys.stderr)
        return found.images

    def cameras(self) -> Cameras:
        """Read the poses, and intrinsics at the size that the images have."""
        rows = self._rows
        scale = np.array(self.size) / np.array([row.size for row in rows], dtype=np.float64)
        Ks = scale_intrinsics(np.stack([row.K for row in rows]), scale[:, 0], scale[:, 1])
        poses = flip_axes(np.stack([row.pose for row in rows]))
        return Cameras(shift_pixel_centers(Ks, -HALF_PIXEL), poses, np.ones(len(rows), bool))

    def bounds(self) -> Float64[np.ndarray, "F 2"] | None:
        """Read the last two numbers of each row."""
        found = [row.near_far for row in self._rows]
        if any(pair is None for pair in found):
            bad = next(i for i, pair in enumerate(found) if pair is None)
            raise DamagedFileError(
                f"{self.root / 'poses_bounds.npy'}: row {self._rows_of_frames[bad]} must end with a near "
                "and a far depth, 0 < near < far; restore it, or make it again with LLFF's imgs2poses.py"
            )
        return np.array(found, dtype=np.float64)

    def mask(self, i: int) -> Bool[np.ndarray, "h w"] | None:
        """Read `motion_masks/NNN.png`: what is not black moves, of soft edges what is lighter than half."""
        place = self._mask_places.get(self._number(i))
        return None if place is None else self._mask_files.on(place)

    @cached_property
    def _mask_files(self) -> MaskFiles:
        return MaskFiles(list(self._masks.values()))

    @cached_property
    def _mask_places(self) -> dict[int, int]:
        return {number: place for place, number in enumerate(self._masks)}

    def flow(self, i: int, j: int) -> Flow | None:
        """Read `flow/NNN_fwd.npz` or `NNN_bwd.npz`, keys `flow` and `mask`."""
        path = self._flow_path(i, j)
        if path is None:
            return None
        found = read_npz(path, ("flow",), optional=("mask",))
        flow = found["flow"]
        if flow.ndim != 3 or flow.shape[2] != 2:
            raise DamagedFileError(
                f"{path}: `flow` must be [H, W, 2] pixels, got {flow.shape}; write it again"
            )
        valid = found.get("mask", np.ones(flow.shape[:2], bool)).astype(bool)
        if valid.shape != flow.shape[:2]:
            raise DamagedFileError(
                f"{path}: `mask` is {valid.shape}, `flow` {flow.shape[:2]}; they share a size: write it again"
            )
        finite = np.asarray(np.isfinite(flow).all(-1))
        return Flow(np.where(finite[..., None], flow, 0).astype(np.float32), valid & finite)

    def relative_disparity(self, i: int) -> Float32[np.ndarray, "h w"] | None:
        """Read `disp/NNN.npy`."""
        path = self._disparities.get(self._number(i))
        if path is None:
            return None
        found = read_array(path)
        if not np.isfinite(found).any():
            raise DamagedFileError(f"{path} holds no finite number; write it again, or remove it")
        check_proportion(path, (found.shape[1], found.shape[0]), self.size)
        return found

    def points(self) -> Points | None:
        """Read the points of `sparse/0`, whose world is that of the poses; other files' need not be."""
        if colmap_folder(self.root) is None:
            return None
        model = read_colmap(self.root)
        return (model.xyz, model.rgb) if len(model.xyz) else None

    def views(self) -> list[View]:
        """List MonoNeRF's `multiview_GT/TTTTTTTT/camCC`, or DynamicNeRF's `gt/<Scene>/v000_tTTT`."""
        found = dict(self._multiview()) or dict(self._first_camera())
        if not found:
            return []
        check_proportion(next(iter(found.values())), image_sizes(list(found.values())), self.size)
        if self._row_count == len(self.frames) and any(self._gaps):
            after = self.frames[self._gaps.index(True)].name
            raise DatasetError(
                f"{self.root}: frames are missing after {after}, and their poses too, so that nobody can "
                "tell whose moments other views show; restore all rows of poses_bounds.npy, or "
                "remove the views"
            )
        cameras, views = self.cameras(), []
        of = {row: i for i, row in enumerate(self._rows_of_frames)}
        for (time, camera), path in sorted(found.items()):
            if not (0 <= time < self._row_count and 0 <= camera < self._row_count):
                raise DatasetError(
                    f"{path} is of time {time} and camera {camera} (counted from 0), but {self.root} has "
                    f"poses of {self._row_count}; remove it, or restore the frames and poses"
                )
            if time in of and camera in of:
                i, k = of[time], of[camera]
                views.append(View(path, i, k, cameras.camera_to_worlds[k], cameras.Ks[k]))
        if len(views) < len(found):
            print(
                f"{self.root}: {len(found) - len(views)} views are of a time or camera whose frame is "
                "missing; they are left out",
                file=sys.stderr,
            )
        return views

    def has(self, folder: Literal["motion_masks", "flow", "disp"]) -> list[bool]:
        """Tell of which frames there is a mask, a disparity, or all the flow to neighbours."""
        every = range(len(self.frames))
        if folder == "flow":
            return [
                all(self._flow_path(i, j) is not None for j in (i - 1, i + 1) if j in every) for i in every
            ]
        found = self._masks if folder == "motion_masks" else self._disparities
        return [self._number(i) in found for i in every]

    def side_files(self) -> list[Path]:
        """List poses, masks, disparities and flows."""
        maps = [*self._masks.values(), *self._disparities.values(), *self._flows.values()]
        return [self.root / "poses_bounds.npy", *sorted(maps)]

    def _check_numbers(self) -> None:
        """Check that side files belong to frames, since nobody would miss them if none did."""
        every = range(len(self.frames))
        flows = [self._flow_path(i, j) is not None for i in every for j in (i - 1, i + 1)]
        used = {
            "motion_masks": not self._masks or any(self.has("motion_masks")),
            "disp": not self._disparities or any(self.has("disp")),
            "flow": not self._flows or any(flows),
        }
        for folder in (name for name, good in used.items() if not good):
            raise DatasetError(
                f"{self.root / folder} has files of none of the frames {self.frames[0].name} to "
                f"{self.frames[-1].name}; they go by the frames' numbers: rename or remove them"
            )

    def _number(self, i: int) -> int:
        number = number_of(self.frames[i])
        return i if number is None else number

    def _flow_path(self, i: int, j: int) -> Path | None:
        """Return the file of the flow to a neighbour; there is none across frames that are missing."""
        if abs(j - i) != 1 or (0 <= min(i, j) < len(self._gaps) and self._gaps[min(i, j)]):
            return None
        name, way = self.frames[i].stem, "fwd" if j > i else "bwd"
        return self._flows.get(f"{name}_{way}") or self._flows.get(f"{self._number(i):03d}_{way}")

    @cached_property
    def _gaps(self) -> list[bool]:
        """Behind which frames others are missing, by their numbers: twice the least step or more."""
        steps = [b - a for a, b in pairwise(self._number(i) for i in range(len(self.frames)))]
        least = min(steps)
        return [least > 0 and step >= 2 * least for step in steps]

    @cached_property
    def _row_count(self) -> int:
        path = self.root / "poses_bounds.npy"
        if not path.is_file():
            raise MissingFileError(f"{path} does not exist; copy it from the data set")
        return _rows_in(path)

    @cached_property
    def _rows_of_frames(self) -> list[int]:
        """Rows of the poses that are the frames'; where there are more, the frames' numbers tell which."""
        path, count, every = self.root / "poses_bounds.npy", self._row_count, range(len(self.frames))
        numbers = [self._number(i) for i in every]
        if count == len(every):
            return list(every)
        if count > len(every) and max(numbers) < count and len(set(numbers)) == len(every):
            print(
                f"{self.root}: {len(every)} frames, but {count} poses; those of the frames' numbers are "
                "used, and times are evenly spaced over the frames that are there",
                file=sys.stderr,
            )
            return numbers
        raise DatasetError(
            f"{path} has {count} rows, but {self.root / 'images'} holds {len(every)} frames "
            f"({self.frames[0].stem} to {self.frames[-1].stem}); there must be a row for each: restore "
            "what is missing, or name the frames by the number of their row"
        )

    @cached_property
    def _rows(self) -> list[Calibration]:
        rows, names = self._rows_of_frames, [f"row {k}" for k in range(self._row_count)]
        found = list(read_poses_bounds(self.root / "poses_bounds.npy", names).values())
        return [found[k] for k in rows]

    def _multiview(self) -> Iterable[tuple[tuple[int, int], Path]]:
        for folder in (
            p for p in _files(self.root / "multiview_GT", "*") if p.is_dir() and p.name.isdecimal()
        ):
            for path in images_in(folder):
                camera = re.fullmatch(r"cam_?(\d+)", path.stem)
                if camera is not None:
                    yield (int(folder.name) - 1, int(camera[1]) - 1), path

    def _first_camera(self) -> Iterable[tuple[tuple[int, int], Path]]:
        parents = [self.root, *self.root.resolve().parents[:2]]
        folders = [
            parent / inner / self.root.resolve().name for parent in parents for inner in ("gt", "results/gt")
        ]
        for folder in (self.root / "gt", *folders):
            named = [(re.fullmatch(r"v(\d+)_t(\d+)", p.stem), p) for p in images_in(folder)]
            found = [((int(m[2]), int(m[1])), path) for m, path in named if m is not None]
            if found:
                return found
        return []


def _files(folder: Path, pattern: str) -> list[Path]:
    return sorted(folder.glob(pattern)) if folder.is_dir() else []


def _rows_in(path: Path) -> int:
    """Return the number of rows; what is no array is the matter of who reads it."""
    try:
        return len(load_npy(path, "r"))
    except ARRAY_ERRORS as error:
        raise DamagedFileError(
            f"{path} is no .npy array of N x 17 numbers; copy it from the data set"
        ) from error
