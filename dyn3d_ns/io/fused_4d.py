"""fused_4d.npz: the points of a clip in one world, static ones and, frame by frame, moving ones."""

from __future__ import annotations

import io
import pickle
import zipfile
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, cast

import numpy as np
from jaxtyping import Bool, Float, Float64, Int32, Int64, UInt8

from dyn3d_ns.io.arrays import load_npy, read_npy_header
from dyn3d_ns.io.atomic import atomic_open
from dyn3d_ns.io.damage import ARRAY_ERRORS, numbers
from dyn3d_ns.io.errors import DamagedFileError, MissingFileError

_REQUIRED = ("static_points", "static_rgbs", "dyn_points", "dyn_rgbs", "c2w", "Ks")
_HARMLESS = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy.core.numeric", "_frombuffer"),
    ("numpy._core.numeric", "_frombuffer"),
}
"""All that a pickled array of arrays refers to."""


@dataclass(frozen=True)
class FusedScene:
    """A clip as points in one world (OpenCV cameras: x right, y down, z forward)."""

    static_points: Float64[np.ndarray, "S 3"]
    static_rgbs: UInt8[np.ndarray, "S 3"]
    dyn_points: Float64[np.ndarray, "M 3"]
    """Moving points of all frames, one frame after another."""
    dyn_rgbs: UInt8[np.ndarray, "M 3"]
    dyn_offsets: Int64[np.ndarray, "F+1"]
    """Moving points of frame i are those from dyn_offsets[i] to dyn_offsets[i + 1]."""
    dyn_instances: Int32[np.ndarray, "M"]
    """Object of each moving point, from 1; 0 where the file does not say."""
    c2w: Float64[np.ndarray, "F 4 4"]
    Ks: Float64[np.ndarray, "F 3 3"]
    """Whole-numbered pixel coordinates are pixel centres."""
    traj: Float[np.ndarray, "N F 3"]
    """Tracked points over time; 0 where not seen. float64 where float32 is too coarse."""
    traj_vis: Bool[np.ndarray, "N F"]
    traj_instance: Int32[np.ndarray, "N"]
    """Object of each track; 0 is static."""
    instance_colors: UInt8[np.ndarray, "K 3"]
    """Colour of each object, entry 0 that of what is static."""

    @property
    def num_frames(self) -> int:
        """Number of frames of the clip."""
        return len(self.c2w)

    def moving(
        self, frame: int
    ) -> tuple[Float64[np.ndarray, "m 3"], UInt8[np.ndarray, "m 3"], Int32[np.ndarray, "m"]]:
        """Return points, colours and objects of what moves in a frame."""
        part = slice(int(self.dyn_offsets[frame]), int(self.dyn_offsets[frame + 1]))
        return self.dyn_points[part], self.dyn_rgbs[part], self.dyn_instances[part]


def write_fused(path: Path, scene: FusedScene) -> None:
    """Write a fused scene as flat arrays: nothing in the file has to be unpickled."""
    with atomic_open(path) as file:
        np.savez_compressed(file, **{f.name: getattr(scene, f.name) for f in fields(FusedScene)})


def read_fused(path: Path) -> FusedScene:
    """Read a fused scene, of ours or of DynamicVerse's (whose moving points are arrays of arrays).

    Arrays of arrays are pickles, which can run any code: here they are read by an unpickler that knows
    numpy arrays and nothing else.

    Raises:
        MissingFileError: there is no such file.
        DamagedFileError: it is no fused scene, its arrays do not fit each other, or a pickle in it asks
            for anything but an array.
    """
    if not path.is_file():
        raise MissingFileError(f"{path} does not exist; run the stage `fuse` first")
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name.removesuffix(".npy") for name in archive.namelist()]
            wanted = {f.name for f in fields(FusedScene)}
            values = {
                name: _read_member(archive.read(f"{name}.npy"), path) for name in names if name in wanted
            }
    except ARRAY_ERRORS as error:
        if isinstance(error, DamagedFileError):
            raise
        raise DamagedFileError(f"{path} is not a readable .npz ({error}); run `fuse` again") from error
    missing = [name for name in _REQUIRED if name not in values]
    if missing:
        raise DamagedFileError(f"{path} lacks {', '.join(missing)}; it holds {', '.join(names) or 'nothing'}")
    try:
        return _assemble(values, path)
    except (TypeError, ValueError, IndexError, AttributeError) as error:
        if isinstance(error, DamagedFileError):
            raise
        raise DamagedFileError(f"the arrays of {path} are of other shapes than expected ({error})") from error


def _read_member(content: bytes, path: Path) -> np.ndarray | list[np.ndarray]:
    file = io.BytesIO(content)
    _, dtype = read_npy_header(file)
    if not dtype.hasobject:
        return numbers(load_npy(io.BytesIO(content)), path)
    try:
        array = _ArraysOnly(file).load()
    except (pickle.UnpicklingError, *ARRAY_ERRORS) as error:
        raise DamagedFileError(f"{path} holds a pickle that is no array of arrays ({error})") from error
    items = list(array) if isinstance(array, np.ndarray) else []
    if not items or not all(isinstance(item, np.ndarray) and item.dtype.kind in "biuf" for item in items):
        raise DamagedFileError(f"{path} holds a pickle that is no array of arrays")
    return items


class _ArraysOnly(pickle.Unpickler):
    """Unpickles numpy arrays; refuses to import anything else."""

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        if (module_name, global_name) not in _HARMLESS:
            raise pickle.UnpicklingError(f"it refers to {module_name}.{global_name}")
        return super().find_class(module_name, global_name)


def _assemble(values: dict[str, np.ndarray | list[np.ndarray]], path: Path) -> FusedScene:
    """Check the arrays and flatten those by frame."""
    per_frame = values["dyn_points"]
    if isinstance(per_frame, list):
        values["dyn_offsets"] = np.cumsum([0, *(len(points) for points in per_frame)])
    for name in ("dyn_points", "dyn_rgbs", "dyn_instances"):
        item = values.get(name)
        if isinstance(item, list):
            values[name] = np.concatenate(item)
    flat = cast("dict[str, np.ndarray]", values)
    count, moving = len(flat["c2w"]), len(flat["dyn_points"])
    scene = FusedScene(
        static_points=flat["static_points"].reshape(-1, 3).astype(np.float64),
        static_rgbs=_bytes(flat["static_rgbs"]),
        dyn_points=flat["dyn_points"].reshape(-1, 3).astype(np.float64),
        dyn_rgbs=_bytes(flat["dyn_rgbs"]),
        dyn_offsets=flat.get("dyn_offsets", np.zeros(0)).astype(np.int64),
        dyn_instances=flat.get("dyn_instances", np.zeros(moving)).astype(np.int32),
        c2w=flat["c2w"].astype(np.float64),
        Ks=flat["Ks"].astype(np.float64),
        traj=_places(flat.get("traj", np.zeros((0, count, 3), np.float32))),
        traj_vis=flat.get("traj_vis", np.zeros((0, count))).astype(bool),
        traj_instance=flat.get("traj_instance", np.zeros(0)).astype(np.int32),
        instance_colors=flat.get("instance_colors", np.zeros((1, 3))).astype(np.uint8),
    )
    offsets = scene.dyn_offsets
    fits = (
        scene.c2w.shape == (count, 4, 4)
        and scene.Ks.shape == (count, 3, 3)
        and len(scene.static_rgbs) == len(scene.static_points)
        and len(scene.dyn_rgbs) == len(scene.dyn_instances) == moving
        and len(offsets) == count + 1
        and offsets[0] == 0
        and offsets[-1] == moving
        and bool((np.diff(offsets) >= 0).all())
        and scene.traj.shape[1:] == (count, 3)
        and scene.traj_vis.shape == scene.traj.shape[:2] == (len(scene.traj_instance), count)
    )
    if not fits:
        raise DamagedFileError(f"the arrays of {path} do not fit each other; run the stage `fuse` again")
    return scene


def _places(values: np.ndarray) -> np.ndarray:
    return values if values.dtype in (np.float32, np.float64) else values.astype(np.float32)


def _bytes(colors: np.ndarray) -> UInt8[np.ndarray, "N 3"]:
    return np.clip(np.rint(colors.reshape(-1, 3)), 0, 255).astype(np.uint8)
