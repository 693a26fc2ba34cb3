"""When the frames of transforms files were taken, whatever key says so.

Times are read over the whole recording, all files of a scene together, and come out in [0, 1].
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from dyn3d_ns.io.damage import is_number
from dyn3d_ns.io.errors import TimeRangeError
from dyn3d_ns.io.recognised import number_of
from dyn3d_ns.timeline import TIME_EPS, distinct_times

MOMENTS = (
    "time", "timestamp", "timestamps", "timestampns", "timestampus", "timestampms", "timens",
    "timeus", "timems", "times", "timesec", "frametime", "ts", "t", "seconds",
)  # fmt: skip
"""Keys of moments in the order of preference, lower case and without underscores."""
COUNTS = (
    "timeid", "timeindex", "timeidx", "timestep", "timestepindex", "timestepid", "frameindex", "frameidx",
    "frameid", "framenumber", "framenum", "frame", "fid", "warpid",
)  # fmt: skip
"""Keys of numbers that count moments: Nerfies' `time_id` and `warp_id`, `timestep_index`, `frame_id`, …"""
_UNITS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3}
_SLOWEST = 2.0
"""Longest time between two frames, seconds, where the key does not say in which unit times are."""
_SLIP = 5.0
"""A time beyond [0, 1] that is this many times as far from the others as these from each other is no unit."""


@dataclass(frozen=True)
class Moments:
    """Times of the frames of a scene."""

    times: Float64[np.ndarray, "N"]
    """In [0, 1] over the whole recording."""
    seconds: float | None = None
    """How long the unit of time lasts; None where nobody says."""
    notes: tuple[str, ...] = ()
    """What a user should know of where they come from."""


def stated_times(rows: Sequence[tuple[str, Mapping[str, Any]]], poses: Sequence[Any] = ()) -> Moments | None:
    """Read the times of all frames of a scene; None where no key states them.

    `time` counts as it is where it lies in [0, 1]; where it does not, and under other keys, the first moment
    becomes 0 and the last one 1.

    Args:
        rows: Place of each frame for messages, and the frame.
        poses: Poses of the frames as the files have them: where cameras rest, a number that no two frames
            share counts images and not moments.

    Raises:
        TimeRangeError: some frames have a time and others not, or one is no number or far from the others.
    """
    found = _columns(rows)
    _check_complete(rows, [key for key in found if _plain(key) == "time"])
    numbers = {k: values for k in found if (values := _values(rows, k)) is not None}
    if not numbers:
        _check_complete(rows, found)
    known = {k: values for k, values in numbers.items() if not _counts_images(k, values, poses)}
    if not known:
        return None
    key = next((k for k, values in known.items() if len(np.unique(values)) > 1), next(iter(known)))
    moments = _of_key(key, known[key], rows)
    others = [k for k, values in known.items() if k != key and _contradict(values, known[key])]
    if others:
        listed = ", ".join(f"`{k}`" for k in others)
        told = f"the frames' times by {listed} differ from those by `{key}`, which are taken"
        moments = Moments(moments.times, moments.seconds, (*moments.notes, told))
    return moments


def times_by_order(cameras: Sequence[Sequence[str]]) -> Moments:
    """Give frame i of each camera the same time: its place over that of the last frame of all cameras.

    Where cameras lack different frames, and the names of their files are numbered alike, frames of one number
    are one moment.

    Args:
        cameras: `file_path` of the frames of each camera.
    """
    lengths = [len(names) for names in cameras]
    places = [list(range(n)) for n in lengths]
    how = "frame i of each camera is taken as one moment"
    numbers = [[number_of(Path(name.replace("\\", "/"))) for name in names] for names in cameras]
    if _numbered_alike(numbers):
        places = [[n for n in some if n is not None] for some in numbers]
        how = "frames of one number are taken as one moment"
    every = np.array([place for some in places for place in some], dtype=np.float64)
    first, last = every.min(), every.max()
    notes: tuple[str, ...] = ()
    if len(set(map(tuple, places))) > 1:
        some, most = min(lengths), max(lengths)
        counts = f"{some} to {most}" if some < most else "not the same"
        notes = (f"cameras differ in their frames ({counts}) and state no times: {how}",)
    return Moments((every - first) / max(last - first, 1.0), None, notes)


def no_times(rows: Sequence[tuple[str, Mapping[str, Any]]]) -> Moments:
    """Take all frames as one moment, and say so."""
    keys = ", ".join(f"`{key}`" for key in _columns(rows, only_times=False))
    counting = "".join(f"; `{key}` counts images, not moments" for key in _columns(rows))
    return Moments(
        np.zeros(len(rows)),
        None,
        (
            f"no frame has a time (`time`, `timestamp`, `frame_index` or such; there are {keys}{counting}): "
            f"all {len(rows)} are taken as one moment. Give each its `time` in [0, 1]; the frames of one "
            "video are read by `video-data`, in the order of their names",
        ),
    )


def _plain(key: str) -> str:
    return key.lower().replace("_", "").replace("-", "")


def _columns(rows: Sequence[tuple[str, Mapping[str, Any]]], only_times: bool = True) -> list[str]:
    """Return the keys of the frames, those of times in the order of preference."""
    keys = list(dict.fromkeys(key for _, frame in rows for key in frame))
    if not only_times:
        return keys
    order = {name: i for i, name in reversed([*enumerate((*MOMENTS, *COUNTS))])}
    return sorted((k for k in keys if _plain(k) in order), key=lambda k: (order[_plain(k)], keys.index(k)))


def _check_complete(rows: Sequence[tuple[str, Mapping[str, Any]]], keys: list[str]) -> None:
    """Raise an error where only some frames have a key of times, or it is no number."""
    for key in keys:
        without = [where for where, frame in rows if key not in frame]
        if without:
            raise TimeRangeError(
                f"{without[0]}: {len(without)} of {len(rows)} frames have no `{key}`, as the others do; give "
                "one to all frames of all files or to none"
            )
        for where, frame in rows:
            if not is_number(frame[key]):
                raise TimeRangeError(f"{where}: `{key}` must be a finite number, got {frame[key]!r}")


def _values(rows: Sequence[tuple[str, Mapping[str, Any]]], key: str) -> Float64[np.ndarray, "N"] | None:
    """Return a key's numbers, which may stand as text; None where a frame has none."""
    found = []
    for _, frame in rows:
        value = frame.get(key)
        if isinstance(value, str):
            try:
                value = float(value)
            except ValueError:
                return None
        if not is_number(value):
            return None
        found.append(float(value))
    return np.array(found)


def _counts_images(key: str, values: Float64[np.ndarray, "N"], poses: Sequence[Any]) -> bool:
    """Tell whether a number counts the images of several cameras at rest, and so no moments."""
    if _plain(key) in MOMENTS or len(np.unique(values)) < len(values):
        return False
    return 1 < len({str(pose) for pose in poses}) < len(poses)


def _of_key(key: str, values: Float64[np.ndarray, "N"], rows: Sequence[tuple[str, Any]]) -> Moments:
    first, last = float(values.min()), float(values.max())
    normalised = _plain(key) == "time" and first >= -TIME_EPS and last <= 1 + TIME_EPS
    if first == last and len(values) > 1:
        told = f"all {len(values)} frames are of one moment: `{key}` is {first:.10g} in each"
        return Moments(values.clip(0.0, 1.0) if normalised else np.zeros(len(values)), None, (told,))
    if normalised or first == last:
        return Moments(values.clip(0.0, 1.0))
    if _plain(key) == "time":
        _check_no_slip(key, values, rows)
    unit = _unit(key, values)
    seconds = None if unit is None else (last - first) * unit
    as_what = "counting frames" if seconds is None else f"{seconds:.4g} s in all"
    told = f"times are those of `{key}`, {first:.10g} to {last:.10g} ({as_what}), taken as 0 to 1"
    return Moments((values - first) / (last - first), seconds, (told,))


def _check_no_slip(key: str, values: Float64[np.ndarray, "N"], rows: Sequence[tuple[str, Any]]) -> None:
    """Raise an error where single times lie far off those in [0, 1], which then are no seconds."""
    outside = (values < -TIME_EPS) | (values > 1 + TIME_EPS)
    inside = np.unique(values[~outside])
    if len(inside) < 3:
        return
    apart = np.abs(values[outside][:, None] - inside).min(axis=1)
    if apart.min() > _SLIP * np.diff(inside).max():
        i = int(np.flatnonzero(outside)[0])
        raise TimeRangeError(
            f"{rows[i][0]}: `{key}` must lie in [0, 1], got {values[i]}, far from all others; correct it, or "
            "divide all times by the length of the whole recording"
        )


def _unit(key: str, values: Float64[np.ndarray, "N"]) -> float | None:
    """Return the unit of a key's numbers in seconds; None where they count frames."""
    name = _plain(key)
    between = float(np.median(np.diff(np.unique(values))))
    if name in COUNTS or ((values == values.round()).all() and between == 1):
        return None
    for suffix, unit in _UNITS.items():
        if name.endswith(suffix):
            return unit
    return next((unit for unit in (1.0, 1e-3, 1e-6, 1e-9) if between * unit <= _SLOWEST), 1e-9)


def _contradict(one: Float64[np.ndarray, "N"], other: Float64[np.ndarray, "N"]) -> bool:
    """Tell whether times, each column over its own span, are more than half a frame off those taken."""
    spans = [float(np.ptp(values)) for values in (one, other)]
    if min(spans) <= 0:
        return spans[0] != spans[1]
    a, b = ((values - values.min()) / span for values, span in zip((one, other), spans, strict=True))
    frame = float(np.median(np.diff(distinct_times(b))))
    return bool(np.abs(a - b).max() > 0.5 * frame)


def _numbered_alike(numbers: Sequence[Sequence[int | None]]) -> bool:
    """Tell whether cameras number their frames alike, but lack different ones."""
    known = [[n for n in some if n is not None] for some in numbers]
    if any(len(set(k)) < len(n) or sorted(k) != k for k, n in zip(known, numbers, strict=True)):
        return False
    if len(set(map(tuple, known))) < 2:
        return False
    union = len({n for some in known for n in some})
    return all(2 * len(some) > union for some in known)
