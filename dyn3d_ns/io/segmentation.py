"""Label maps: NVFi's `data_segm` folders, a scene's own `ground_truth/object_id`, and palette PNGs."""

from __future__ import annotations

import colorsys
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int64, UInt8
from PIL import Image

from dyn3d_ns.io.arrays import load_npy
from dyn3d_ns.io.damage import CONTENT_ERRORS, image_errors, numbers
from dyn3d_ns.io.errors import DamagedFileError, MissingFileError
from dyn3d_ns.io.intrinsics import Intrinsics, pinhole_of
from dyn3d_ns.io.recognised import files_in
from dyn3d_ns.io.transforms_json import check_pose, check_time
from dyn3d_ns.io.transforms_scene import frame_of, frames_by_name


@dataclass(frozen=True)
class LabelledFrame:
    """A view with a label map beside it."""

    labels_path: Path
    camera_to_world: Float64[np.ndarray, "4 4"]
    time: float
    image: Path | None = None
    intrinsics: Intrinsics | None = None
    """Of the view, whose lens is undone in the labels too; None where nobody says."""

    def labels(self) -> Int64[np.ndarray, "H W"]:
        """Read the label map.

        Raises:
            DamagedFileError: it cannot be read or is no map of whole numbers.
        """
        try:
            if self.labels_path.suffix == ".npy":
                labels = load_npy(self.labels_path)
            else:
                with Image.open(self.labels_path) as image:
                    labels = np.asarray(image)
        except image_errors() as error:
            raise DamagedFileError(f"{self.labels_path} cannot be read: {error}") from error
        labels = numbers(labels, self.labels_path)
        if labels.ndim != 2 or not np.issubdtype(labels.dtype, np.integer):
            raise DamagedFileError(
                f"{self.labels_path} must be a map of whole numbers, got {labels.dtype} {labels.shape}"
            )
        undo = None if self.intrinsics is None else pinhole_of(self.intrinsics, *labels.shape[::-1])[1]
        return (labels if undo is None else undo.nearest(labels)).astype(np.int64)


def pose_key(camera_to_world: Float64[np.ndarray, "4 4"], time: float) -> tuple[int, ...]:
    """Return what two frames of one camera at one time have in common, whatever they are called."""
    return (*np.rint(camera_to_world[:3].flatten() * 1e3).astype(int).tolist(), round(time * 1e4))


def read_segmentation(folder: Path) -> list[LabelledFrame]:
    """List the labelled frames of a `data_segm` folder, or of a scene's `ground_truth` folder.

    A `data_segm` folder has `transforms.json` with `frames[]` of `img_path`, `segm_path` (a `.npy` without
    its ending), `transform_matrix` and `time`. A `ground_truth` folder has `object_id/<frame>.png`, whose
    frames the scene's transforms files describe.

    Raises:
        MissingFileError: there is neither, or a label map does not exist.
        DamagedFileError: the file does not hold what it must.
    """
    path = folder / "transforms.json"
    if path.is_file():
        return _read_data_segm(path)
    if (folder / "object_id").is_dir():
        return _read_object_ids(folder)
    raise MissingFileError(f"{folder} has neither transforms.json (data_segm) nor object_id/ (ground_truth)")


def _read_data_segm(path: Path) -> list[LabelledFrame]:
    try:
        frames = json.loads(path.read_text(encoding="utf-8"))["frames"]
    except (OSError, *CONTENT_ERRORS) as error:
        raise DamagedFileError(f"{path} is no data_segm file: {type(error).__name__} {error}") from error
    if not isinstance(frames, list):
        raise DamagedFileError(f"{path}: `frames` must be a list, got a {type(frames).__name__}")
    found = []
    for i, frame in enumerate(frames):
        where = f"{path}: frame {i}"
        name = frame.get("segm_path") if isinstance(frame, dict) else None
        if not isinstance(name, str):
            raise DamagedFileError(f"{where} has no `segm_path`")
        labels = path.parent / f"{name.removesuffix('.npy')}.npy"
        if not labels.resolve().is_relative_to(path.parent.resolve()):
            raise DamagedFileError(f"{where}: `segm_path` {name!r} leads out of {path.parent}")
        if not labels.is_file():
            raise MissingFileError(f"{where}: {labels} does not exist")
        pose = check_pose(frame.get("transform_matrix"), where)
        image = path.parent / frame["img_path"] if isinstance(frame.get("img_path"), str) else None
        found.append(LabelledFrame(labels, pose, check_time(frame.get("time", 0.0), where), image))
    return found


def _read_object_ids(folder: Path) -> list[LabelledFrame]:
    frames = frames_by_name(folder.parent)
    found = []
    for path in files_in(folder / "object_id", (".png",)):
        frame = frame_of(frames, path)
        found.append(LabelledFrame(path, frame.camera_to_world, frame.time, frame.image, frame.intrinsics))
    return found


def palette_image(mask: UInt8[np.ndarray, "H W"]) -> Image.Image:
    """Return a mask as a palette image: 0 is black, each number has a hue of its own."""
    image = Image.fromarray(mask, mode="P")
    colors = [(0.0, 0.0, 0.0)] + [colorsys.hsv_to_rgb(i * 0.381966 % 1, 0.75, 0.95) for i in range(255)]
    image.putpalette([round(255 * v) for color in colors for v in color])
    return image
