"""All transforms files of a scene, read together: times run over the whole recording."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from dyn3d_ns.io.errors import DamagedFileError
from dyn3d_ns.io.frame_times import Moments, no_times, stated_times, times_by_order
from dyn3d_ns.io.intrinsics import merged, read_intrinsics
from dyn3d_ns.io.loss_masks import mask_files
from dyn3d_ns.io.split_lists import listed_splits
from dyn3d_ns.io.transforms_json import (
    Entry,
    FileIndex,
    Frame,
    TransformsFile,
    check_pose,
    entries_of,
    find_transforms,
    left_out,
    load_json,
)
from dyn3d_ns.io.unused_fields import unused_fields

_PLY = "ply_file_path"


@dataclass(frozen=True)
class TransformsScene:
    """What the transforms files of a scene say."""

    files: tuple[TransformsFile, ...]
    """The training file first."""
    seconds: float | None
    """How long the unit of time lasts; None where nobody says."""
    fps: float | None
    """Frames per second, where a file states them."""
    notes: tuple[str, ...]
    """What a user should know of how they were read."""
    stated_points: tuple[str, FileIndex, Path] | None = None
    """Name of the point cloud that a file states, with the place that states it."""

    def points_file(self) -> Path | None:
        """Return the point cloud that a file states; None if none does.

        Raises:
            MissingFileError: it does not exist.
        """
        if self.stated_points is None:
            return None
        name, index, path = self.stated_points
        return index.find_file(name, str(path), _PLY)


def read_scene(root: Path) -> TransformsScene:
    """Read and check all transforms files of a scene.

    Times are the frames' `time`, or those of another key (:mod:`~dyn3d_ns.io.frame_times`). Without any, in
    the form with one entry per camera, frame i of each camera is one moment; in the flat form all frames are.

    Raises:
        DatasetError: one is damaged, or names what is not there.
    """
    found = [(label, path, load_json(path)) for label, path in find_transforms(root)]
    entries = [entries_of(content, path) for _, path, content in found]
    moments = _times([entry for some in entries for entry in some])
    notes = [*left_out(root, [path for _, path, _ in found]), *moments.notes]
    files, points, start = [], None, 0
    for (label, path, content), some in zip(found, entries, strict=True):
        index = FileIndex(root, path.parent)
        times, start = moments.times[start : start + len(some)], start + len(some)
        file, told = _read_file(path, label, content, some, times, index)
        files.append(file)
        notes += [note for note in told if note not in notes]
        if points is None and content.get(_PLY) is not None:
            points = content[_PLY], index, path
    notes += unused_fields([content for _, _, content in found], [e.stated for some in entries for e in some])
    fps = next((_fps(content["fps"], path) for _, path, content in found if "fps" in content), None)
    return TransformsScene(tuple(files), moments.seconds, fps, tuple(notes), points)


def frames_by_name(root: Path) -> dict[str, list[Frame]]:
    """Return the frames of a scene by the names of their images, without folder and extension."""
    frames: dict[str, list[Frame]] = {}
    for file in read_scene(root).files:
        for frame in file.frames:
            frames.setdefault(frame.image.stem, []).append(frame)
    return frames


def frame_of(frames: Mapping[str, Sequence[Frame]], path: Path) -> Frame:
    """Return the frame that a file with a map belongs to by its name.

    Raises:
        DamagedFileError: no frame is called so, or several are that show other images.
    """
    found = {frame.image: frame for frame in frames.get(path.stem, ())}
    if not found:
        raise DamagedFileError(f"no frame of the scene is called {path.stem}, as {path} is")
    if len(found) > 1:
        one, other = list(found)[:2]
        raise DamagedFileError(f"{path} may be of {one} or of {other}; give each a name of its own")
    return next(iter(found.values()))


def _fps(stated: Any, path: Path) -> float:
    if isinstance(stated, bool) or not isinstance(stated, (int, float)) or not 0 < stated < np.inf:
        raise DamagedFileError(f"{path}: `fps` must be a number above 0, got {stated!r:.80}")
    return float(stated)


def _times(entries: Sequence[Entry]) -> Moments:
    rows = [(entry.where, entry.stated) for entry in entries]
    by_camera = [entry for entry in entries if entry.camera is not None]
    others = [entry for entry in entries if entry.camera is None]
    if by_camera and others and not any("time" in entry.stated for entry in by_camera):
        # Training cameras whose order is their time, beside frames to evaluate on that state it.
        return _joined(entries, _times(by_camera), _times(others))
    stated = stated_times(rows, [entry.pose for entry in entries])
    if stated is not None:
        return stated
    if any(entry.camera is None for entry in entries):
        return no_times(rows)
    cameras: dict[str, list[str]] = {}
    for entry in entries:
        file = entry.where.rpartition(", frame ")[0]
        cameras.setdefault(file, []).append(str(entry.stated.get("file_path")))
    return times_by_order(list(cameras.values()))


def _joined(entries: Sequence[Entry], by_camera: Moments, others: Moments) -> Moments:
    """Return the times of entries of both forms, in their order."""
    times = np.empty(len(entries))
    has_camera = np.array([entry.camera is not None for entry in entries])
    times[has_camera], times[~has_camera] = by_camera.times, others.times
    return Moments(times, others.seconds, (*by_camera.notes, *others.notes))


def _read_file(
    path: Path,
    label: str,
    content: Mapping[str, Any],
    entries: Sequence[Entry],
    times: Float64[np.ndarray, "N"],
    index: FileIndex,
) -> tuple[TransformsFile, list[str]]:
    """Read one file; return with it what is to be told."""
    images = [index.find(entry.stated.get("file_path"), entry.where) for entry in entries]
    listed = listed_splits(content, images, index, path)
    masks = mask_files([(entry.where, entry.stated) for entry in entries], index)
    labels: list[str | None] = [None] * len(entries) if listed is None else listed.labels
    frames = tuple(
        Frame(
            image=image,
            time=float(time),
            camera_to_world=check_pose(entry.pose, entry.where),
            intrinsics=read_intrinsics(merged(content, entry.stated), entry.where),
            split=split,
            mask=mask,
        )
        for entry, image, time, split, mask in zip(entries, images, times, labels, masks, strict=True)
        if listed is None or split is not None
    )
    notes = [*(() if listed is None else listed.notes), *index.notes()]
    return TransformsFile(path, label, frames), notes
