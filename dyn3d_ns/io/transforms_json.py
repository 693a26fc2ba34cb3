"""Read transforms*.json files of the D-NeRF / NVFi family into checked frames."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64

from dyn3d_ns.io.damage import CONTENT_ERRORS, JSON_ERRORS, is_number
from dyn3d_ns.io.errors import (
    DamagedFileError,
    EmptySplitError,
    MissingFileError,
    PoseError,
    TimeRangeError,
    UnsafePathError,
)
from dyn3d_ns.io.intrinsics import Intrinsics, merged

IMAGE_EXTENSIONS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
_SPLIT_NAMES = ("train", "val", "test", "interp", "future")
_RIGID_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Frame:
    """One image with its camera and time."""

    image: Path
    time: float
    camera_to_world: Float64[np.ndarray, "4 4"]
    intrinsics: Intrinsics
    split: str | None = None
    """What the file's lists of names say; None where it has none."""
    mask: Path | None = None
    """Image of what counts in training."""


@dataclass(frozen=True)
class TransformsFile:
    """The content of one transforms file."""

    path: Path
    label: str
    """Name of the split that the file claims to be: `train`, `val`, `test` or whatever it is called."""
    frames: tuple[Frame, ...]


def find_transforms(data: Path) -> list[tuple[str, Path]]:
    """List the transforms files of a scene folder with their labels, the training file first.

    Accepted are `transforms_<label>.json`, `transforms.json`, `<split>.json`, `<folder>/transforms.json`
    and `<folder>/transforms_<label>.json`; `transforms_render.json` holds camera paths and is left out, and
    so is, beside a training file, what is named after no split.
    """
    if not data.is_dir():
        raise MissingFileError(
            f"{data} is not a folder; give the folder of a scene, the one with its JSON files"
        )
    found = {_label(p): p for p in sorted(data.glob("transforms*.json"))}
    for name in _SPLIT_NAMES:
        if (data / f"{name}.json").is_file():
            found.setdefault(name, data / f"{name}.json")
    if not found:
        for name in _SPLIT_NAMES:
            for candidate in (data / name / f"transforms_{name}.json", data / name / "transforms.json"):
                if candidate.is_file():
                    found.setdefault(name, candidate)
    found.pop("render", None)
    if not found:
        raise MissingFileError(_nothing_found(data))
    if "train" in found:
        # Left-overs of a conversion, paths for a film: their frames are no evaluation.
        found = {label: path for label, path in found.items() if label in _SPLIT_NAMES}
    order = {name: i for i, name in enumerate(_SPLIT_NAMES)}
    return sorted(found.items(), key=lambda item: (order.get(item[0], len(order)), item[0]))


def left_out(data: Path, read: Sequence[Path]) -> list[str]:
    """Say which transforms files of a scene folder are not among those that are read."""
    there = [*data.glob("transforms*.json"), *(data / f"{name}.json" for name in _SPLIT_NAMES)]
    others = sorted(p.name for p in there if p.is_file() and p not in read and _label(p) != "render")
    known = ", ".join(_SPLIT_NAMES)
    return (
        [f"not read: {', '.join(others)} (beside a training file, one transforms_….json for each of {known})"]
        if others
        else []
    )


def _label(path: Path) -> str:
    return path.stem.removeprefix("transforms").lstrip("_-") or "transforms"


def _nothing_found(data: Path) -> str:
    scenes = sorted(p.parent.name for p in data.glob("*/transforms*.json"))
    hint = f"; its folder(s) {', '.join(dict.fromkeys(scenes))} do: give one of those" if scenes else ""
    present = ", ".join(sorted(p.name for p in data.iterdir())[:8]) or "nothing"
    return (
        f"{data} holds no transforms_train.json, transforms.json, train.json or train/transforms.json "
        f"(looked for the layouts of NVFi Dynamic Object, NVFi Dynamic Indoor Scene and D-NeRF; "
        f"found {present}){hint}. For data in another layout choose its dataparser by name, "
        "as in `ns-train <method> --data <scene> <dataparser>`."
    )


def load_json(path: Path) -> dict[str, Any]:
    """Read a transforms file as it is."""
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except JSON_ERRORS as error:
        raise DamagedFileError(f"{path} is not valid JSON ({error}); restore it from the original") from error
    if not isinstance(content, dict) or not ({"frames", "data"} & content.keys()):
        raise DamagedFileError(
            f"{path} needs a top-level `frames` list (or `data` with one entry per camera)"
        )
    return content


class Entry(NamedTuple):
    """A frame as a file states it."""

    where: str
    """Place in the file, for messages."""
    stated: dict[str, Any]
    """All that the frame states itself, or its camera for it."""
    camera: str | None = None
    """Name of its camera in the form with one entry per camera."""

    @property
    def pose(self) -> Any:
        """What stands for its pose, unchecked."""
        return self.stated.get("transform_matrix")


def entries_of(content: dict[str, Any], path: Path) -> list[Entry]:
    """List the frames of a file in its flat form, or in that with one entry per camera.

    Flat: `frames: [{file_path, time, transform_matrix}]`. Per camera: `data: {camera: {transform_matrix,
    frames: [{file_path, time}]}}`.

    Raises:
        DamagedFileError: it is neither.
        EmptySplitError: it lists no frame.
    """
    if "data" in content and "frames" not in content:
        entries = _per_camera_entries(content["data"], path)
    else:
        entries = _flat_entries(content.get("frames"), path)
    if not entries:
        raise EmptySplitError(f"{path} lists no frame; add frames to it or remove the file")
    return entries


def _flat_entries(frames: Any, path: Path) -> list[Entry]:
    if not isinstance(frames, list) or not all(isinstance(f, dict) for f in frames):
        raise DamagedFileError(f"{path}: `frames` must be a list of objects, got {type(frames).__name__}")
    return [Entry(f"{path}, frame {i}", f) for i, f in enumerate(frames)]


def _per_camera_entries(cameras: Any, path: Path) -> list[Entry]:
    if not isinstance(cameras, dict):
        raise DamagedFileError(
            f"{path}: `data` must map camera names to cameras, got {type(cameras).__name__}"
        )
    entries: list[Entry] = []
    for name, camera in cameras.items():
        frames = camera.get("frames") if isinstance(camera, dict) else None
        if not isinstance(frames, list) or not all(isinstance(f, dict) for f in frames):
            raise DamagedFileError(f"{path}: camera {name!r} needs a `transform_matrix` and a list `frames`")
        own = {key: value for key, value in camera.items() if key != "frames"}
        entries += [
            Entry(f"{path}, camera {name!r}, frame {i}", merged(own, f), name) for i, f in enumerate(frames)
        ]
    return entries


def check_time(time: Any, where: str) -> float:
    if not is_number(time):
        raise TimeRangeError(f"{where}: `time` must be a finite number, got {time!r}")
    if not -1e-6 <= time <= 1 + 1e-6:
        raise TimeRangeError(
            f"{where}: `time` must lie in [0, 1], got {time}; "
            "divide all times by the length of the whole recording"
        )
    return min(max(float(time), 0.0), 1.0)


def check_pose(pose: Any, where: str) -> Float64[np.ndarray, "4 4"]:
    """Return a pose as a 4x4 array after checking that it is a finite rigid transform."""
    try:
        matrix = np.array(pose, dtype=np.float64)
    except CONTENT_ERRORS as error:
        raise PoseError(f"{where}: `transform_matrix` must hold 4x4 numbers, got {pose!r:.80}") from error
    if matrix.shape == (3, 4):
        matrix = np.concatenate((matrix, [[0.0, 0.0, 0.0, 1.0]]))
    if matrix.shape != (4, 4):
        raise PoseError(f"{where}: `transform_matrix` must be 4x4, got shape {matrix.shape}")
    if not np.isfinite(matrix).all():
        raise PoseError(
            f"{where}: `transform_matrix` holds NaN or infinite values; remove the frame or its camera"
        )
    rotation = matrix[:3, :3]
    rigid = np.abs(rotation @ rotation.T - np.eye(3)).max() < _RIGID_TOLERANCE and np.linalg.det(rotation) > 0
    if not rigid or np.abs(matrix[3] - [0, 0, 0, 1]).max() > _RIGID_TOLERANCE:
        raise PoseError(
            f"{where}: `transform_matrix` is not a rigid camera-to-world transform "
            f"(determinant {np.linalg.det(rotation):.4g}, last row {matrix[3].tolist()}); "
            "remove scale, shear and mirroring"
        )
    return matrix


_MASK = "dynamic_mask_"
"""How instant-ngp names the mask of an image, which lies beside it."""


class FileIndex:
    """Finds the files of a dataset; lists every folder once, so that thousands of frames stay quick."""

    def __init__(self, root: Path, base: Path) -> None:
        self.root = root
        self.bases = (base,) if base == root else (base, root)
        self._listed: dict[Path, set[str]] = {}
        self._doubtful: dict[Path, list[str]] = {}
        self._named: set[str] = set()

    def notes(self) -> list[str]:
        """Say which names without extension meant one of several images, and which masks nothing names."""
        notes = []
        there = set().union(*self._listed.values()) - self._named
        masks = sorted(name for name in there if name.startswith(_MASK))
        if masks:
            more = f" and {len(masks) - 1} more" if len(masks) > 1 else ""
            notes.append(
                f"{masks[0]}{more} beside the images are not used; give masks as `mask_path`, black where "
                "the loss leaves pixels out (instant-ngp's are white there)"
            )
        if not self._doubtful:
            return notes
        path, names = next(iter(self._doubtful.items()))
        told = f"`file_path` {path.stem} is {' and '.join(names)}; {path.name} is taken"
        more = len(self._doubtful) - 1
        return [*notes, told + (f", and so with {more} other names" if more else "")]

    def find_file(self, value: Any, where: str, key: str) -> Path:
        """Return the file that an entry means; raise an error where there is none inside the root."""
        places = self._places(value, where, key)
        for path in places:
            if path.name in self._list(path.parent):
                self._named.add(path.name)
                return path
        raise MissingFileError(
            f"{where}: `{key}` names {' or '.join(map(str, places))}, which does not exist"
        )

    def find(self, file_path: Any, where: str) -> Path:
        """Return the image that a `file_path` means; raise an error where there is none inside the root."""
        tried: list[Path] = []
        for path in self._places(file_path, where, "file_path"):
            names = self._list(path.parent)
            if path.name in names and path.suffix.lower() in IMAGE_EXTENSIONS:
                return path
            meant = [path.name + e for ext in IMAGE_EXTENSIONS for e in (ext, ext.upper())]
            there = [name for name in meant if name in names]
            if len(there) > 1:
                self._doubtful[path.parent / there[0]] = there
            if there:
                return path.parent / there[0]
            tried.append(path)
        places = " or ".join(str(p) for p in tried)
        raise MissingFileError(
            f"{where}: no image at {places} (tried also with {', '.join(IMAGE_EXTENSIONS[:3])}, ...)"
        )

    def _places(self, value: Any, where: str, key: str) -> list[Path]:
        """Return where a file may lie, all of it inside the root."""
        if not isinstance(value, str) or not value.strip():
            kind = "an image" if key == "file_path" else "a file"
            raise DamagedFileError(f"{where}: `{key}` must name {kind}, got {value!r}")
        if PurePosixPath(value).is_absolute() or PureWindowsPath(value).anchor:
            raise UnsafePathError(f"{where}: `{key}` must be relative to {self.root}, got {value!r}")
        relative = value.replace("\\", "/")
        return [self._inside(base, relative, where, key) for base in self.bases]

    def _inside(self, base: Path, relative: str, where: str, key: str) -> Path:
        parts = list(base.relative_to(self.root).parts)
        for part in PurePosixPath(relative).parts:
            if part != "..":
                parts.append(part)
            elif parts:
                parts.pop()
            else:
                raise UnsafePathError(f"{where}: `{key}` {relative!r} leads out of {self.root}")
        return self.root.joinpath(*parts)

    def _list(self, folder: Path) -> set[str]:
        if folder not in self._listed:
            self._listed[folder] = {p.name for p in folder.iterdir()} if folder.is_dir() else set()
        return self._listed[folder]
