"""COLMAP models, text and binary, read with pycolmap."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np  # pycolmap needs it imported before: see docs/video-cameras.md
from jaxtyping import Float64, UInt8

from dyn3d_ns.geometry.cameras import HALF_PIXEL, shift_pixel_centers
from dyn3d_ns.geometry.lenses import MODELS, Lens
from dyn3d_ns.io.camera_file import CameraFile
from dyn3d_ns.io.errors import DamagedFileError, DatasetError, MissingFileError
from dyn3d_ns.io.frame_matching import Labels
from dyn3d_ns.io.recognised import Recognised, images_in, natural_order
from dyn3d_ns.io.shell import shell_word


@dataclass(frozen=True)
class ColmapModel:
    """What a COLMAP model knows of its registered images, and its points."""

    names: list[str]
    cameras: CameraFile
    models: list[str]
    """COLMAP's name of the camera model of each image."""
    xyz: Float64[np.ndarray, "P 3"]
    rgb: UInt8[np.ndarray, "P 3"]


def colmap_folder(path: Path) -> Path | None:
    """Return the folder of the model that a path means, None if there is none.

    Of several models of one run, `sparse/0`, `sparse/1` and so on, that with the most images is taken.
    """
    for parent in (path / "sparse", path, path / "colmap" / "sparse"):
        if not parent.is_dir():
            continue
        numbered = [p for p in parent.iterdir() if p.name.isdecimal() and _images_file(p)]
        for folder in (*sorted(numbered, key=lambda p: (-_images_stated(p), natural_order(p))), parent):
            if _images_file(folder):
                return folder
    return None


def colmap_files(path: Path) -> list[Path]:
    """List the files of the model that a path means."""
    folder = colmap_folder(path)
    return sorted(p for p in folder.iterdir() if p.is_file()) if folder is not None else []


def read_colmap(path: Path) -> ColmapModel:
    """Read a COLMAP model (text or binary) with pycolmap; images are in the natural order of their names.

    Raises:
        MissingFileError: there is none.
        DamagedFileError: it cannot be read whole, or no image is registered.
        DatasetError: a camera is of a model that is not read.
        PoseError: a pose is not finite.
    """
    import pycolmap

    folder = colmap_folder(path)
    if folder is None:
        raise MissingFileError(f"{path} holds no COLMAP model (images.bin or images.txt)")
    for name in ("cameras", "points3D"):
        if not any((folder / f"{name}{ending}").is_file() for ending in (".bin", ".txt")):
            raise DamagedFileError(
                f"{folder} is not a readable COLMAP model: it lacks {name}.bin or {name}.txt; copy it too (a "
                "points3D.txt may be empty)"
            )
    _check_whole(folder)
    try:
        model = pycolmap.Reconstruction(str(folder))
    except (RuntimeError, ValueError, OSError, LookupError) as error:
        raise DamagedFileError(f"{folder} is not a readable COLMAP model ({error})") from error
    _check_cameras(folder, model)
    try:
        known = {im.image_id: im.name for im in model.images.values() if im.has_pose}
    except UnicodeDecodeError as error:
        raise DamagedFileError(
            f"{folder} names an image in no UTF-8 ({error}); write the model again"
        ) from error
    known |= _names_with_spaces(folder)
    images = sorted(
        (im for im in model.images.values() if im.has_pose),
        key=lambda im: natural_order(Path(known[im.image_id])),
    )
    if not images:
        raise DamagedFileError(f"{folder} holds no registered image")
    poses = np.tile(np.eye(4), (len(images), 1, 1))
    poses[:, :3] = [image.cam_from_world().inverse().matrix() for image in images]
    cameras = [model.cameras[image.camera_id] for image in images]
    names = [known[image.image_id] for image in images]
    points = list(model.points3D.values())
    found = CameraFile(
        folder,
        Labels(len(images), tuple(names)),
        poses,
        np.stack([_intrinsics(folder, camera) for camera in cameras]),
        np.array([(camera.width, camera.height) for camera in cameras], dtype=np.float64),
        tuple(_lens(folder, camera) for camera in cameras),
        notes=_left_out(folder),
    )
    return ColmapModel(
        names,
        found.checked(),
        [camera.model_name for camera in cameras],
        np.array([point.xyz for point in points], dtype=np.float64).reshape(-1, 3),
        np.array([point.color for point in points], dtype=np.uint8).reshape(-1, 3),
    )


def _names_with_spaces(folder: Path) -> dict[int, str]:
    """Return the names of a text model that have spaces, of which pycolmap reads the first word."""
    path = _images_file(folder)
    if path is None or path.suffix != ".txt":
        return {}
    lines = iter(path.read_text(encoding="utf-8", errors="replace").splitlines())
    found = {}
    for line in lines:
        words = line.split(maxsplit=9)
        if len(words) < 10 or words[0].startswith("#"):
            continue
        if " " in words[9].strip():
            found[int(words[0])] = words[9].strip()
        next(lines, None)  # what the image sees
    return found


def _values(camera: Any) -> dict[str, float]:
    """Return the parameters of a camera by COLMAP's names of them."""
    names = [name.strip() for name in camera.params_info.split(",")]
    return dict(zip(names, map(float, camera.params), strict=True))


def _intrinsics(folder: Path, camera: Any) -> Float64[np.ndarray, "3 3"]:
    values = _values(camera)
    if "cx" not in values:
        raise DatasetError(_unread(folder, camera))
    fx, fy = values.get("f", values.get("fx", 0.0)), values.get("f", values.get("fy", 0.0))
    # COLMAP counts from the corner of the image: its pixel centres are at one half.
    K = np.array([[fx, 0.0, values["cx"]], [0.0, fy, values["cy"]], [0.0, 0.0, 1.0]])
    return shift_pixel_centers(K, -HALF_PIXEL)


def _lens(folder: Path, camera: Any) -> Lens:
    try:
        return Lens.named(camera.model_name, _values(camera))
    except ValueError as error:
        if camera.model_name in MODELS:
            raise DatasetError(f"{folder}: {error}; calibrate the camera again") from error
        raise DatasetError(_unread(folder, camera)) from error


def _unread(folder: Path, camera: Any) -> str:
    return (
        f"{folder} has a camera of COLMAP's model {camera.model_name}, which is not read; undistort the "
        f"images and the model with `colmap image_undistorter`, or give it one of {', '.join(MODELS)}"
    )


def _images_file(folder: Path) -> Path | None:
    return next((p for s in ("bin", "txt") if (p := folder / f"images.{s}").is_file()), None)


def _images_stated(folder: Path) -> int:
    """Return how many images a model says that it has, without reading it."""
    path = _images_file(folder)
    if path is None:
        return 0
    if path.suffix == ".bin":
        with open(path, "rb") as file:
            return int.from_bytes(file.read(8), "little")
    with open(path, "rb") as file:
        return sum(not line.startswith(b"#") for line in file) // 2


def _left_out(folder: Path) -> tuple[str, ...]:
    """Tell of the other models of the run that a model is of."""
    beside = folder.parent.iterdir() if folder.name.isdecimal() else ()
    others = sorted(p for p in beside if p != folder and p.name.isdecimal() and _images_file(p))
    if not others:
        return ()
    counts = ", ".join(f"{p.name} ({_images_stated(p)})" for p in others)
    return (
        f"of COLMAP's models in {folder.parent} that with the most images, {folder.name} "
        f"({_images_stated(folder)}), is taken; left out: {counts}",
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
