"""Cameras of other tools: COLMAP models, TUM and DAS3R/MonST3R trajectories, transforms.json."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float64, Int, UInt8

from dyn3d_ns.geometry.cameras import HALF_PIXEL, flip_axes, shift_pixel_centers
from dyn3d_ns.io.damage import CONTENT_ERRORS
from dyn3d_ns.io.errors import DamagedFileError, MissingFileError, PoseError
from dyn3d_ns.io.recognised import Recognised, images_in
from dyn3d_ns.io.shell import shell_word

CameraFormat = Literal["auto", "tum", "das3r", "colmap", "transforms"]


@dataclass(frozen=True)
class CameraFile:
    """Cameras read from a file, in the order of the frames."""

    camera_to_worlds: Float64[np.ndarray, "F 4 4"]
    """OpenCV axes: x right, y down, z forward."""
    Ks: Float64[np.ndarray, "F 3 3"] | None
    """Intrinsics in pixels, pixel centres at whole numbers; None where the file has none."""
    sizes: Float64[np.ndarray, "F 2"] | None
    """Width and height that the intrinsics are for; None where the file does not say."""

    def select(self, frames: Int[np.ndarray, "K"]) -> CameraFile:
        """Return the cameras of some frames."""
        return CameraFile(
            self.camera_to_worlds[frames],
            None if self.Ks is None else self.Ks[frames],
            None if self.sizes is None else self.sizes[frames],
        )


def read_cameras(path: Path, kind: CameraFormat = "auto") -> CameraFile:
    """Read cameras of another tool.

    Args:
        path: a folder of a COLMAP model (or one that holds `sparse/0`), a transforms.json, a TUM trajectory,
            or DAS3R's and MonST3R's `pred_traj.txt` (`pred_intrinsics.txt` is read where it lies beside).
        kind: the format, or `auto` to tell it from the name.

    Raises:
        MissingFileError: there is nothing at the path.
        DamagedFileError: it is not of the format.
        PoseError: a pose is not finite.
    """
    if not path.exists():
        raise MissingFileError(
            f"{path} does not exist; give a COLMAP model, a trajectory or a transforms.json"
        )
    if kind == "auto":
        kind = _kind_of(path)
    if kind == "colmap":
        cameras = read_colmap(path).cameras
    elif kind == "transforms":
        cameras = _read_transforms(path / "transforms.json" if path.is_dir() else path)
    else:
        cameras = _read_trajectory(path, with_intrinsics=kind == "das3r")
    if not np.isfinite(cameras.camera_to_worlds).all():
        bad = int(np.flatnonzero(~np.isfinite(cameras.camera_to_worlds).all((1, 2)))[0])
        raise PoseError(f"{path}: pose {bad} is not finite; remove the frame or write it again")
    return cameras


def _kind_of(path: Path) -> CameraFormat:
    if path.is_dir():
        return "transforms" if (path / "transforms.json").is_file() else "colmap"
    if path.suffix == ".json":
        return "transforms"
    return "das3r" if path.name.startswith("pred_traj") else "tum"


def _read_trajectory(path: Path, with_intrinsics: bool) -> CameraFile:
    """Read lines of `time tx ty tz q q q q`, camera to world.

    TUM's quaternions end with w; those of DAS3R and MonST3R begin with it.
    """
    rows = _numbers(path, 8)
    if len(rows) == 0:
        raise DamagedFileError(f"{path} holds no pose")
    quaternions = rows[:, [5, 6, 7, 4]] if with_intrinsics else rows[:, 4:8]
    Ks = None
    if with_intrinsics:
        beside = path.with_name(path.name.replace("pred_traj", "pred_intrinsics"))
        if beside != path and beside.is_file():
            values = _numbers(beside, 9)
            if len(values) not in (1, len(rows)):
                raise DamagedFileError(f"{beside} has {len(values)} matrices for {len(rows)} poses")
            Ks = np.broadcast_to(values.reshape(-1, 3, 3), (len(rows), 3, 3)).copy()
    return CameraFile(_poses(path, quaternions, rows[:, 1:4]), Ks, None)


def _numbers(path: Path, columns: int) -> Float64[np.ndarray, "R C"]:
    rows = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DamagedFileError(f"{path} cannot be read as text ({error})") from error
    for number, line in enumerate(lines, start=1):
        words = line.split("#")[0].replace(",", " ").split()
        if not words:
            continue
        try:
            values = [float(word) for word in words]
        except ValueError as error:
            raise DamagedFileError(f"{path}, line {number}: {error}") from error
        if len(values) != columns:
            raise DamagedFileError(f"{path}, line {number}: expected {columns} numbers, got {len(values)}")
        rows.append(values)
    return np.array(rows, dtype=np.float64).reshape(-1, columns)


def _poses(
    path: Path, quaternions_xyzw: Float64[np.ndarray, "F 4"], positions: Float64[np.ndarray, "F 3"]
) -> Float64[np.ndarray, "F 4 4"]:
    from scipy.spatial.transform import Rotation

    lengths = np.linalg.norm(quaternions_xyzw, axis=1)
    if not ((lengths > 1e-9) & np.isfinite(lengths)).all():
        raise PoseError(f"{path}: a quaternion is zero or not finite; is it written as x y z w?")
    poses = np.tile(np.eye(4), (len(positions), 1, 1))
    poses[:, :3, :3] = Rotation.from_quat(quaternions_xyzw).as_matrix()
    poses[:, :3, 3] = positions
    return poses


@dataclass(frozen=True)
class ColmapModel:
    """What a COLMAP model knows of its registered images, and its points."""

    names: list[str]
    cameras: CameraFile
    lenses: list[str]
    """COLMAP's name of the camera model of each image."""
    xyz: Float64[np.ndarray, "P 3"]
    rgb: UInt8[np.ndarray, "P 3"]

    def select(self, images: list[int]) -> ColmapModel:
        """Return the model with some of the images, in the order given."""
        return ColmapModel(
            [self.names[k] for k in images],
            self.cameras.select(np.array(images)),
            [self.lenses[k] for k in images],
            self.xyz,
            self.rgb,
        )


def colmap_folder(path: Path) -> Path | None:
    """Return the folder of the model that a path means, None if there is none."""
    for folder in (
        path,
        path / "sparse" / "0",
        path / "sparse",
        path / "0",
        path / "colmap" / "sparse" / "0",
    ):
        if any((folder / f"images.{suffix}").is_file() for suffix in ("bin", "txt")):
            return folder
    return None


def read_colmap(path: Path) -> ColmapModel:
    """Read a COLMAP model (text or binary) with pycolmap; images are sorted by name.

    Raises:
        MissingFileError: there is none.
        DamagedFileError: it cannot be read whole, or no image is registered.
    """
    import pycolmap

    folder = colmap_folder(path)
    if folder is None:
        raise MissingFileError(f"{path} holds no COLMAP model (images.bin or images.txt)")
    _check_whole(folder)
    try:
        model = pycolmap.Reconstruction(str(folder))
    except (RuntimeError, ValueError, OSError, LookupError) as error:
        raise DamagedFileError(f"{folder} is not a readable COLMAP model ({error})") from error
    _check_cameras(folder, model)
    try:
        images = sorted((im for im in model.images.values() if im.has_pose), key=lambda im: im.name)
    except UnicodeDecodeError as error:
        raise DamagedFileError(
            f"{folder} names an image in no UTF-8 ({error}); write the model again"
        ) from error
    if not images:
        raise DamagedFileError(f"{folder} holds no registered image")
    poses = np.tile(np.eye(4), (len(images), 1, 1))
    Ks, sizes = np.empty((len(images), 3, 3)), np.empty((len(images), 2))
    for k, image in enumerate(images):
        poses[k, :3] = image.cam_from_world().inverse().matrix()
        camera = model.cameras[image.camera_id]
        # COLMAP counts from the corner of the image: its pixel centres are at one half.
        Ks[k] = shift_pixel_centers(camera.calibration_matrix(), -HALF_PIXEL)
        sizes[k] = camera.width, camera.height
    points = list(model.points3D.values())
    return ColmapModel(
        [image.name for image in images],
        CameraFile(poses, Ks, sizes),
        [model.cameras[image.camera_id].model_name for image in images],
        np.array([point.xyz for point in points], dtype=np.float64).reshape(-1, 3),
        np.array([point.color for point in points], dtype=np.uint8).reshape(-1, 3),
    )


def _check_whole(folder: Path) -> None:
    """Check that binary files hold all of the records that they announce.

    What is cut off pycolmap reads as whatever is in memory: points of nothing, or a track so long that it
    asks for all memory there is, for minutes.
    """
    for name, end_of_record in (("images.bin", _end_of_image), ("points3D.bin", _end_of_point)):
        path = folder / name
        if not path.is_file():
            continue
        content = path.read_bytes()
        try:
            place, (count,) = 8, struct.unpack_from("<Q", content)
            for _ in range(count):
                place = end_of_record(content, place)
        except (struct.error, ValueError, OverflowError):
            place = len(content) + 1
        if place > len(content):
            raise DamagedFileError(
                f"{path} is cut off; write the model again, or restore it from the original"
            )


def _end_of_image(content: bytes, place: int) -> int:
    """Number, pose, camera, name with a 0 at its end, then 24 bytes an observation."""
    place = content.index(b"\0", place + 64) + 1
    return place + 8 + 24 * struct.unpack_from("<Q", content, place)[0]


def _end_of_point(content: bytes, place: int) -> int:
    """Number, place, colour, error, then 8 bytes an observation."""
    return place + 51 + 8 * struct.unpack_from("<Q", content, place + 43)[0]


def _check_cameras(folder: Path, model: Any) -> None:
    """Check the length of cameras.bin, whose records only pycolmap knows the lengths of."""
    expected = 8 + sum(24 + 8 * len(camera.params) for camera in model.cameras.values())
    path = folder / "cameras.bin"
    if path.is_file() and path.stat().st_size < expected:
        raise DamagedFileError(
            f"{path} is cut off: {path.stat().st_size} bytes of {expected}; write the model again"
        )


def _read_transforms(path: Path) -> CameraFile:
    """Read a transforms.json; frames are sorted by time where all have one, else by name."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        frames = list(content["frames"])
        by_time = all("time" in frame for frame in frames)
        frames.sort(key=lambda f: float(f["time"]) if by_time else str(f["file_path"]))
        poses = np.array([frame["transform_matrix"] for frame in frames], dtype=np.float64)
    except (OSError, *CONTENT_ERRORS) as error:
        raise DamagedFileError(
            f"{path} is not a transforms.json ({type(error).__name__}: {error})"
        ) from error
    if poses.ndim != 3 or poses.shape[1:] != (4, 4):
        raise DamagedFileError(f"{path}: each transform_matrix must be 4x4, got {poses.shape}")
    poses = flip_axes(poses)
    try:
        found = [_intrinsics({**content, **frame}) for frame in frames]
    except (*CONTENT_ERRORS, ArithmeticError) as error:
        raise DamagedFileError(f"{path}: its intrinsics must be numbers ({error}); write it again") from error
    known = [pair for pair in found if pair is not None]
    if len(known) != len(found):
        return CameraFile(poses, None, None)
    Ks = np.stack([K for K, _ in known])
    sizes = [size for _, size in known]
    return CameraFile(poses, Ks, None if any(s is None for s in sizes) else np.array(sizes, dtype=np.float64))


def _intrinsics(values: dict[str, Any]) -> tuple[np.ndarray, tuple[float, float] | None] | None:
    """Return the matrix and size of a frame of transforms.json, None where it has no focal length."""
    size = (float(values["w"]), float(values["h"])) if "w" in values and "h" in values else None
    if "fl_x" in values:
        fx = float(values["fl_x"])
    elif "camera_angle_x" in values and size is not None:
        fx = size[0] / 2.0 / float(np.tan(float(values["camera_angle_x"]) / 2.0))
    else:
        return None
    fy = float(values.get("fl_y", fx))
    if "cx" in values and "cy" in values:
        cx, cy = float(values["cx"]), float(values["cy"])
    elif size is not None:
        cx, cy = size[0] / 2.0, size[1] / 2.0
    else:
        return None
    return shift_pixel_centers(np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]]), -HALF_PIXEL), size


def recognise_colmap(path: Path) -> Recognised | None:
    """Tell whether a folder holds a COLMAP model."""
    places = [path / name for name in ("sparse/0", "colmap/sparse/0", "sparse")]
    model = next((place for place in places if place.is_dir()), None)
    if model is None:
        return None
    wanted = ("cameras", "images", "points3D")
    missing = [n for n in wanted if not any((model / f"{n}{s}").is_file() for s in (".bin", ".txt"))]
    folders = [p for p in sorted(path.glob("images*")) if p.is_dir()]
    counts = ", ".join(f"{p.name} ({len(images_in(p))})" for p in folders)
    facts = {"model": str(model), "images": counts or "none"}
    return Recognised(
        "COLMAP (no times)", facts, missing, [f"ns-train splatfacto colmap --data {shell_word(path)}"]
    )
