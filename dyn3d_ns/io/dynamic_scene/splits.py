"""Which frames train what moves, which views are evaluated as what, and the file that says so."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from dyn3d_ns.io.atomic import write_json
from dyn3d_ns.io.damage import CONTENT_ERRORS, JSON_ERRORS
from dyn3d_ns.io.dynamic_scene.base import View
from dyn3d_ns.io.errors import DamagedFileError, DatasetError, EmptySplitError
from dyn3d_ns.timeline import Split

Protocol = Literal["all", "fixed"]
EVALUATED: tuple[Split, ...] = ("train", "interp", "unseen")
"""Splits of images to evaluate on, in the order in which the file lists them."""


@dataclass(frozen=True)
class SceneSplits:
    """The splits of one scene."""

    train: tuple[int, ...]
    """Frames that what moves trains on, from 0."""
    evaluation: tuple[tuple[int, int, Split], ...]
    """Time and camera of each view, both from 0, and its split."""


def make_splits(
    views: Sequence[View], frames: int, protocol: Protocol, train_frames: str | None
) -> SceneSplits:
    """Return the splits of a protocol: all views, or those of the first camera alone."""
    train = frames_of(train_frames, frames)
    first = min(view.camera for view in views)
    chosen = [view for view in views if protocol == "all" or view.camera == first]
    return SceneSplits(train, tuple((view.frame, view.camera, _split(view, train)) for view in chosen))


def frames_of(asked: str | None, count: int) -> tuple[int, ...]:
    """Return the frames that a range such as 0:5 means, the end left out; all without one.

    Raises:
        DatasetError: it is no range.
        EmptySplitError: it holds no frame.
    """
    if asked is None:
        return tuple(range(count))
    try:
        parts = [int(part) if part.strip() else None for part in asked.split(":")]
        if len(parts) not in (2, 3):
            raise ValueError
        chosen = tuple(range(count))[slice(*parts)]
    except ValueError as error:
        raise DatasetError(
            f"--train-frames takes a range of frames counted from 0, such as 0:5 (0 to 4), got {asked!r}"
        ) from error
    if not chosen:
        raise EmptySplitError(
            f"--train-frames {asked} leaves no frame of {count} (0 to {count - 1}) to train on"
        )
    return chosen


def write_splits(path: Path, splits: Mapping[str, SceneSplits]) -> None:
    """Write the splits of scenes by name, atomically; times and cameras are counted from 0.

    Raises:
        DatasetError: the file cannot be written.
    """
    scenes = {
        name: {
            "train": list(found.train),
            "evaluation": {
                split: [[frame, camera] for frame, camera, of in found.evaluation if of == split]
                for split in EVALUATED
            },
        }
        for name, found in splits.items()
    }
    try:
        write_json(path, {"scenes": scenes})
    except OSError as error:
        raise DatasetError(f"--splits {path} cannot be written ({error}); name a file elsewhere") from error


def read_splits(path: Path, names: Sequence[str]) -> dict[str, SceneSplits]:
    """Read the splits of scenes.

    Raises:
        DamagedFileError: it is no such file.
        DatasetError: a scene is not in it.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except JSON_ERRORS as error:
        raise DamagedFileError(f"{path} is not readable JSON ({error}); {_REMEDY}") from error
    scenes = content.get("scenes") if isinstance(content, dict) else None
    if not isinstance(scenes, dict):
        raise DamagedFileError(f"{path} must hold `scenes`, by name; {_REMEDY}")
    missing = [name for name in names if name not in scenes]
    if missing:
        raise DatasetError(
            f"{path} has no splits of {', '.join(missing)}, only of {', '.join(scenes)}; {_REMEDY}"
        )
    return {name: _scene(path, name, scenes[name]) for name in names}


_REMEDY = "restore it, or remove it to have the splits in use written there"


def check_splits(path: Path, name: str, found: SceneSplits, views: Sequence[View], frames: int) -> None:
    """Check that a scene has the frames and views that a file names.

    Raises:
        DatasetError: it has not.
    """
    there = {(view.frame, view.camera) for view in views}
    late = [i for i in found.train if not 0 <= i < frames]
    gone = [(t, c) for t, c, _ in found.evaluation if (t, c) not in there]
    if late:
        raise DatasetError(f"{path}: {name} has {frames} frames, but frame {late[0]} is to train; {_REMEDY}")
    if gone:
        raise DatasetError(
            f"{path}: {name} has no image of time {gone[0][0]} and camera {gone[0][1]} (counted from 0) to "
            f"evaluate on; {_REMEDY}"
        )


def _scene(path: Path, name: str, content: Any) -> SceneSplits:
    try:
        train = tuple(int(i) for i in content["train"])
        evaluation: list[tuple[int, int, Split]] = []
        for split in EVALUATED:
            for frame, camera in content["evaluation"].get(split, []):
                evaluation.append((int(frame), int(camera), split))
    except CONTENT_ERRORS as error:
        raise DamagedFileError(
            f"{path}: {name} must have `train`, a list of frames, and `evaluation` with lists of "
            f"[time, camera] by split ({', '.join(EVALUATED)}); {_REMEDY}"
        ) from error
    if not train or not evaluation:
        raise EmptySplitError(
            f"{path}: {name} has no frame to {'evaluate' if train else 'train'} on; {_REMEDY}"
        )
    ordered = sorted(evaluation, key=lambda item: item[:2])
    return SceneSplits(train, tuple(ordered))


def _split(view: View, train: Sequence[int]) -> Split:
    if view.frame not in train:
        return "unseen"
    return "train" if view.trains else "interp"
