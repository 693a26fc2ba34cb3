"""Cameras in .npz archives: MegaSaM's, VGGT's, a clip's own, and the folder with one a frame of CUT3R."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from dyn3d_ns.io.arrays import Npz, read_npy_header
from dyn3d_ns.io.camera_file import CameraFile
from dyn3d_ns.io.damage import ARRAY_ERRORS
from dyn3d_ns.io.errors import DamagedFileError
from dyn3d_ns.io.frame_matching import Labels
from dyn3d_ns.io.recognised import natural_order

TO_WORLD = ("cam_c2w", "c2w", "camera_to_worlds", "cam2world")
"""Arrays of camera-to-world poses, whose names say so."""
FROM_WORLD = ("extrinsic", "extrinsics", "w2c", "world_to_camera")
"""Arrays of world-to-camera poses: extrinsics are that in computer vision."""
_OWN = ("poses", "pose")
"""Camera-to-world in files of ours, DynamicVerse's and CUT3R's; beside `intrinsics` only."""
_INTRINSICS = ("intrinsics", "intrinsic", "Ks", "K")
_MAPS = ("depths", "depth", "disps", "depth_maps", "images")
"""Arrays of maps or images, whose size is the one that the intrinsics are for."""
_NAMES = ("image_names", "image_paths", "names", "filenames")
_NUMBERS = ("frame_ids", "frames", "tstamps", "timestamps")
_READ = {*TO_WORLD, *FROM_WORLD, *_OWN, *_INTRINSICS, *_NAMES, *_NUMBERS}
FORMATS = (
    f"cameras are read from an .npz with {', '.join(TO_WORLD)}, or poses beside intrinsics (camera to "
    f"world), or {', '.join(FROM_WORLD)} (world to camera), [F, 4, 4] or [F, 3, 4], and "
    f"{', '.join(_INTRINSICS)}, [3, 3] or [F, 3, 3]"
)


def read_camera_arrays(path: Path) -> CameraFile:
    """Read an .npz with the cameras of a clip, or a folder with an .npz for each frame.

    Raises:
        DamagedFileError: it cannot be read without unpickling, or has no arrays that are known.
    """
    if not path.is_dir():
        return _read_one(path)
    files = camera_archives(path)
    found = [_read_one(file) for file in files]
    for file, cameras in zip(files, found, strict=True):
        if len(cameras.camera_to_worlds) != 1 or cameras.Ks is None:
            raise DamagedFileError(f"{file} must hold one camera, a pose and intrinsics, as those beside it")
    return CameraFile(
        path,
        Labels(len(files), tuple(file.name for file in files)),
        np.concatenate([cameras.camera_to_worlds for cameras in found]),
        np.concatenate([cameras.Ks for cameras in found if cameras.Ks is not None]),
    )


def camera_archives(folder: Path) -> list[Path]:
    """List the archives of a folder with one for each frame."""
    return sorted(folder.glob("*.npz"), key=natural_order)


def _read_one(path: Path) -> CameraFile:
    shapes = npz_shapes(path, FORMATS)
    told = ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items()) or "nothing"
    wrong = DamagedFileError(f"{path} holds {told}; {FORMATS}")
    arrays = _load(path, [name for name in shapes if name in _READ])
    poses, inverse = _first(arrays, TO_WORLD), False
    if poses is None:
        poses, inverse = _first(arrays, FROM_WORLD), True
    if poses is None and "intrinsics" in arrays:
        poses, inverse = _first(arrays, _OWN), False
    whole = None if poses is None else _matrices(poses)
    if whole is None:
        raise wrong
    count, Ks = len(whole), _first(arrays, _INTRINSICS)
    if Ks is not None:
        Ks = _without_batch(Ks, 3)
        if Ks.shape not in ((1, 3, 3), (count, 3, 3)) or Ks.dtype.kind not in "fiu":
            raise wrong
        Ks = np.broadcast_to(Ks, (count, 3, 3)).astype(np.float64)
    if inverse:
        if not np.isfinite(whole).all() or (np.abs(np.linalg.det(whole)) < 1e-9).any():
            raise DamagedFileError(f"{path}: a pose is not finite or cannot be inverted; write it again")
        whole = np.linalg.inv(whole)
    others = ", ".join(name for name in shapes if name not in (*_READ, *_MAPS))
    unread = (
        (f"{path} has no {' or '.join(_INTRINSICS)}; not read: {others}",) if others and Ks is None else ()
    )
    return CameraFile(path, _labels(arrays, count), whole, Ks, _sizes(shapes, Ks), notes=unread)


def npz_shapes(path: Path, expected: str) -> dict[str, tuple[int, ...]]:
    """Return names and shapes of the arrays of an .npz, of which only the headers are read.

    Raises:
        DamagedFileError: it is none, or holds objects that would have to be unpickled; the message ends with
            what is expected.
    """
    shapes = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                with archive.open(info) as member:
                    shape, kind = read_npy_header(member)
                if kind.hasobject or math.prod(shape) * kind.itemsize > info.file_size:
                    raise ValueError(f"{info.filename} is pickled, or shorter than it says")
                shapes[info.filename.removesuffix(".npy")] = shape
    except ARRAY_ERRORS as error:
        raise DamagedFileError(f"{path} is not a readable .npz ({error}); {expected}") from error
    return shapes


def _load(path: Path, names: list[str]) -> dict[str, np.ndarray]:
    try:
        with Npz(path) as content:
            return {name: content[name] for name in names}
    except ARRAY_ERRORS as error:
        raise DamagedFileError(f"{path} is not a readable .npz ({error}); {FORMATS}") from error


def _first(arrays: dict[str, np.ndarray], names: tuple[str, ...]) -> np.ndarray | None:
    return next((arrays[name] for name in names if name in arrays), None)


def _without_batch(values: np.ndarray, dimensions: int) -> np.ndarray:
    """Return an array of a clip's matrices from that of one batch of clips, or from one matrix."""
    values = values[0] if values.ndim == dimensions + 1 and len(values) == 1 else values
    return values[None] if values.ndim == dimensions - 1 else values


def _matrices(poses: np.ndarray) -> Float64[np.ndarray, "P 4 4"] | None:
    poses = _without_batch(poses, 3)
    if (
        poses.ndim != 3
        or poses.shape[1:] not in ((3, 4), (4, 4))
        or len(poses) == 0
        or poses.dtype.kind != "f"
    ):
        return None
    whole = np.tile(np.eye(4), (len(poses), 1, 1))
    whole[:, :3] = poses[:, :3]
    return whole


def _sizes(
    shapes: dict[str, tuple[int, ...]], Ks: Float64[np.ndarray, "P 3 3"] | None
) -> Float64[np.ndarray, "P 2"] | None:
    """Return width and height of the frames' maps, if their middle is where the principal points are."""
    if Ks is None:
        return None
    for name in _MAPS:
        shape = [side for side in shapes.get(name, ()) if side != 1]
        shape = shape[:-1] if shape and shape[-1] == 3 and name == "images" else shape
        if len(shape) < 2:
            continue
        size = np.array(shape[:-3:-1], dtype=np.float64)
        if (np.abs(2 * Ks[:, :2, 2] / size - 1) < 0.1).all():
            return np.tile(size, (len(Ks), 1))
    return None


def _labels(arrays: dict[str, np.ndarray], count: int) -> Labels:
    names, numbers = _first(arrays, _NAMES), _first(arrays, _NUMBERS)
    if names is not None and names.dtype.kind == "U" and names.shape == (count,):
        return Labels(count, tuple(names.tolist()))
    if numbers is not None and numbers.dtype.kind in "iuf" and numbers.shape == (count,):
        return Labels(count, (), numbers.astype(np.float64))
    return Labels(count)
