"""Cameras of other tools: COLMAP models, trajectories as text, transforms.json, .npz archives."""

from __future__ import annotations

import gzip
import json
import re
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float64

from dyn3d_ns.geometry.cameras import HALF_PIXEL, flip_axes, shift_pixel_centers
from dyn3d_ns.io.camera_arrays import camera_archives, read_camera_arrays
from dyn3d_ns.io.camera_file import CameraFile
from dyn3d_ns.io.colmap_models import colmap_files, colmap_folder, read_colmap
from dyn3d_ns.io.damage import CONTENT_ERRORS
from dyn3d_ns.io.errors import DamagedFileError, DatasetError, MissingFileError, PoseError
from dyn3d_ns.io.frame_matching import Labels
from dyn3d_ns.io.intrinsics import merged, read_lens
from dyn3d_ns.io.recognised import natural_order
from dyn3d_ns.io.transforms_json import check_pose

CameraFormat = Literal["auto", "tum", "kitti", "das3r", "colmap", "transforms", "npz"]
KNOWN = (
    "a COLMAP model's folder, a transforms.json, text with 8 numbers a line (TUM, pred_traj.txt of DAS3R and "
    "MonST3R) or 12 or 16 (KITTI), or an .npz"
)
_LARGEST = 1 << 28
"""Bytes that a text may have once it is unpacked."""
_COLUMNS = {8: 1, 12: 0, 13: 1, 16: 0, 17: 1}
"""Numbers in a line of a trajectory, and how many of them are a number of the frame or its time."""


def read_cameras(path: Path, kind: CameraFormat = "auto") -> CameraFile:
    """Read cameras of another tool.

    Args:
        path: what :data:`KNOWN` lists, or the folder that holds one of them. `pred_intrinsics.txt` is read
            where it lies beside a `pred_traj.txt`; text may be packed with gzip.
        kind: the format, or `auto` to tell it from name and content.

    Raises:
        MissingFileError: there is nothing at the path.
        DamagedFileError: it is not of the format.
        DatasetError: a lens is of a model that is not read.
        PoseError: a pose is not finite or no rigid motion, or intrinsics have no focal length.
    """
    if not path.exists():
        raise MissingFileError(f"{path} does not exist; give {KNOWN}")
    kind, path = _kind_of(path) if kind == "auto" else (kind, path)
    if kind == "colmap":
        return read_colmap(path).cameras
    if kind == "transforms":
        cameras = _read_transforms(path / "transforms.json" if path.is_dir() else path)
    elif kind == "npz":
        cameras = read_camera_arrays(path)
    else:
        cameras = _read_trajectory(path, scalar_first=kind == "das3r")
    return cameras.checked()


def camera_files(path: Path, kind: CameraFormat = "auto") -> list[Path]:
    """List the files that cameras are read from; what is not there is left to the reader to say."""
    if not path.exists():
        return [path]
    try:
        kind, path = _kind_of(path) if kind == "auto" else (kind, path)
    except DatasetError:
        return [path]
    if kind == "colmap":
        return colmap_files(path) or [path]
    if path.is_dir():
        return camera_archives(path) if kind == "npz" else [path / "transforms.json"]
    beside = _intrinsics_beside(path)
    return [path] if beside is None else [path, beside]


def _kind_of(path: Path) -> tuple[CameraFormat, Path]:
    """Return the format, and the file or folder that it is the format of."""
    if path.is_dir():
        if (path / "transforms.json").is_file():
            return "transforms", path
        if colmap_folder(path) is not None:
            return "colmap", path
        if (path / "pred_traj.txt").is_file():
            return "das3r", path / "pred_traj.txt"
        if camera_archives(path):
            return "npz", path
        raise MissingFileError(f"{path} holds no COLMAP model (images.bin or images.txt); give {KNOWN}")
    if path.name in ("images.txt", "images.bin", "cameras.txt", "cameras.bin"):
        return "colmap", path.parent
    name = path.name.lower().removesuffix(".gz")
    if name.endswith(".json"):
        return "transforms", path
    if name.endswith((".npz", ".npy", ".pt", ".pth", ".pkl")):
        return "npz", path
    return ("das3r" if name.startswith("pred_traj") else "tum"), path


def _read_trajectory(path: Path, scalar_first: bool) -> CameraFile:
    """Read lines of `time tx ty tz q q q q`, or of matrices of 3 or 4 rows, camera to world.

    TUM's quaternions end with w; those of DAS3R and MonST3R begin with it. A line that names the columns has
    the last word.
    """
    lines = _lines(path)
    rows = _numbers(path, lines, tuple(_COLUMNS))
    stamped = _COLUMNS[rows.shape[1]]
    numbers = rows[:, 0] if stamped else None
    if rows.shape[1] == 8:
        named = [re.findall(r"\bq\w*[xyzw]\b", line.lower()) for _, line in lines if "q" in line.lower()]
        order = next(("".join(w[-1] for w in words) for words in named if len(words) == 4), "")
        scalar_first = order == "wxyz" if order in ("wxyz", "xyzw") else scalar_first
        poses = _poses(path, rows[:, [5, 6, 7, 4]] if scalar_first else rows[:, 4:8], rows[:, 1:4])
    else:
        matrices = rows[:, stamped:].reshape(len(rows), -1, 4)
        poses = np.tile(np.eye(4), (len(rows), 1, 1))
        poses[:, :3] = matrices[:, :3]
        if matrices.shape[1] == 4 and np.abs(matrices[:, 3] - [0, 0, 0, 1]).max() > 1e-6:
            raise DamagedFileError(f"{path}: 16 numbers a line end with 0 0 0 1, row after row of a matrix")
    if numbers is not None and not np.isfinite(numbers).all():
        bad = int(np.flatnonzero(~np.isfinite(numbers))[0])
        raise DamagedFileError(f"{path}: pose {bad} has a time that is not finite; write it again")
    return CameraFile(path, Labels(len(rows), (), numbers), poses, _read_intrinsics(path, len(rows)))


def _intrinsics_beside(path: Path) -> Path | None:
    """Return the `pred_intrinsics.txt` that goes with a `pred_traj.txt`."""
    beside = path.with_name(path.name.replace("pred_traj", "pred_intrinsics"))
    return beside if beside != path and beside.is_file() else None


def _read_intrinsics(path: Path, count: int) -> Float64[np.ndarray, "P 3 3"] | None:
    beside = _intrinsics_beside(path)
    if beside is None:
        return None
    values = _numbers(beside, _lines(beside), (9,))
    if len(values) not in (1, count):
        raise DamagedFileError(
            f"{beside} has {len(values)} matrices for {count} poses; there must be one, or one for each"
        )
    return np.broadcast_to(values.reshape(-1, 3, 3), (count, 3, 3)).copy()


def _lines(path: Path) -> list[tuple[int, str]]:
    """Return the lines of a text and their numbers, whichever Unicode and line ends it is in."""
    try:
        content = path.read_bytes()
        if content.startswith(b"\x1f\x8b"):
            with gzip.open(path) as file:
                content = file.read(_LARGEST + 1)
            if len(content) > _LARGEST:
                raise ValueError(f"it has more than {_LARGEST} bytes once it is unpacked")
        utf16 = content.startswith((b"\xff\xfe", b"\xfe\xff"))
        text = content.decode("utf-16" if utf16 else "utf-8-sig")
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise DamagedFileError(f"{path} cannot be read as text ({error}); give {KNOWN}") from error
    return list(enumerate(text.splitlines(), start=1))


def _numbers(
    path: Path, lines: list[tuple[int, str]], columns: tuple[int, ...]
) -> Float64[np.ndarray, "R C"]:
    rows: list[list[float]] = []
    for number, line in lines:
        words = re.split(r"[\s,;]+", line.split("#")[0].strip(" \t,;"))
        if words == [""]:
            continue
        if not rows and all(re.fullmatch(r"(?!nan$|inf)[a-z_]\w*", word.lower()) for word in words):
            continue  # names of the columns
        try:
            values = [float(word) for word in words]
        except ValueError as error:
            raise DamagedFileError(f"{path}, line {number}: {error}; give {KNOWN}") from error
        wanted = (len(rows[0]),) if rows else columns
        if len(values) not in wanted:
            told = " or ".join(map(str, wanted))
            raise DamagedFileError(
                f"{path}, line {number}: expected {told} numbers, got {len(values)}; give {KNOWN}"
            )
        rows.append(values)
    if not rows:
        raise DamagedFileError(f"{path} holds no pose and no matrix; give {KNOWN}")
    return np.array(rows, dtype=np.float64)


def _poses(
    path: Path, quaternions_xyzw: Float64[np.ndarray, "P 4"], positions: Float64[np.ndarray, "P 3"]
) -> Float64[np.ndarray, "P 4 4"]:
    from scipy.spatial.transform import Rotation

    poses = np.tile(np.eye(4), (len(positions), 1, 1))
    finite = np.isfinite(quaternions_xyzw).all(1) & np.isfinite(positions).all(1)
    if not finite.all():
        bad = int(np.flatnonzero(~finite)[0])
        raise PoseError(f"{path}: pose {bad} is not finite; remove the frame or write it again")
    if (np.linalg.norm(quaternions_xyzw, axis=1) < 1e-9).any():
        raise PoseError(f"{path}: a quaternion is zero; is it written as x y z w?")
    poses[:, :3, :3] = Rotation.from_quat(quaternions_xyzw).as_matrix()
    poses[:, :3, 3] = positions
    return poses


def _read_transforms(path: Path) -> CameraFile:
    """Read a transforms.json; frames come by time where all have one, else in the natural order of names."""
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
        frames = [dict(frame) for frame in content["frames"]]
        by_time = all("time" in frame for frame in frames)
        names = [Path(str(frame["file_path"]).replace("\\", "/")) for frame in frames]
        pairs = list(zip(frames, names, strict=True))
        pairs.sort(key=lambda p: [(0, float(p[0]["time"]))] if by_time else natural_order(p[1]))
        poses = [check_pose(frame["transform_matrix"], f"{path}, {name}") for frame, name in pairs]
        stated = [merged({k: v for k, v in content.items() if k != "frames"}, frame) for frame, _ in pairs]
        lenses = tuple(
            read_lens(values, f"{path}, {name}")
            for values, name in zip(stated, (n for _, n in pairs), strict=True)
        )
        found = [_intrinsics(path, values) for values in stated]
    except DatasetError:
        raise
    except (OSError, ArithmeticError, *CONTENT_ERRORS) as error:
        raise DamagedFileError(
            f"{path} is not a transforms.json ({type(error).__name__}: {error})"
        ) from error
    if not frames:
        raise DamagedFileError(f"{path} holds no frame")
    labels = Labels(len(frames), tuple(name.as_posix() for _, name in pairs))
    cameras = CameraFile(path, labels, flip_axes(np.stack(poses)), lenses=lenses)
    known = [pair for pair in found if pair is not None]
    if len(known) < len(found):
        angles = [values.get("camera_angle_x") for values in stated]
        return cameras if None in angles else replace(cameras, angles=np.array(angles, dtype=np.float64))
    sizes = [size for _, size in known if size is not None]
    together = np.array(sizes, dtype=np.float64) if len(sizes) == len(known) else None
    return replace(cameras, Ks=np.stack([K for K, _ in known]), sizes=together)


def _intrinsics(path: Path, values: dict[str, Any]) -> tuple[np.ndarray, tuple[float, float] | None] | None:
    """Return the matrix and size of a frame of transforms.json, None where no focal length is in pixels.

    Raises:
        DamagedFileError: one is, but neither a size of the images nor a principal point is stated.
    """
    size = (float(values["w"]), float(values["h"])) if "w" in values and "h" in values else None
    fx, fy = (_focal(values, axis, size) for axis in (0, 1))
    if fx is None and fy is None:
        if "camera_angle_y" in values and "camera_angle_x" not in values:
            raise DamagedFileError(f"{path} states camera_angle_y without w and h; add them")
        return None
    fx, fy = (fy if fx is None else fx), (fx if fy is None else fy)
    if "cx" in values and "cy" in values:
        cx, cy = float(values["cx"]), float(values["cy"])
    elif size is not None:
        cx, cy = size[0] / 2.0, size[1] / 2.0
    else:
        raise DamagedFileError(
            f"{path} states fl_x, but neither w and h nor cx and cy, which tell for images of which size; "
            "add w and h"
        )
    return shift_pixel_centers(np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]]), -HALF_PIXEL), size


def _focal(values: dict[str, Any], axis: int, size: tuple[float, float] | None) -> float | None:
    """Return the focal length along an axis in pixels, None where it is not stated."""
    focal, angle = f"fl_{'xy'[axis]}", f"camera_angle_{'xy'[axis]}"
    if focal in values:
        return float(values[focal])
    if angle in values and size is not None and (axis == 0 or "fl_x" not in values):
        return size[axis] / 2.0 / float(np.tan(float(values[angle]) / 2.0))
    return None
