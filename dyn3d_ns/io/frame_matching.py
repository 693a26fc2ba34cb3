"""Which of the poses, maps or masks of another tool belongs to which frame of a clip.

By name where both have names; else by number; else, if there are as many of one as of the other, by order,
which is told.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

from dyn3d_ns.io.errors import DatasetError
from dyn3d_ns.io.recognised import IMAGE_SUFFIXES

_MAP_SUFFIXES = (*IMAGE_SUFFIXES, ".npy", ".npz", ".dpt", ".exr", ".pfm", ".flo")
_MOST_MISSING = 0.2
"""Share of the frames that may lack an entry before the entries count as those of something else."""
_UNITS = (1.0, 1e-9, 1e-6, 1e-3)
"""Seconds in a unit of time stamps: seconds, nanoseconds, microseconds, milliseconds."""


@dataclass(frozen=True)
class ClipFrames:
    """What is known of each frame of a clip, by which others may call it."""

    numbers: Int64[np.ndarray, "F"]
    """Position in the video, or in the natural order of the folder's images, from 0."""
    names: tuple[str, ...] = ()
    """Name of each image in the folder that the clip was made of; none if that was a video."""
    own: tuple[str, ...] = ()
    """Name of each image in the clip's own folder."""
    folder: str = ""
    """Name of the folder that the clip was made of."""
    seconds: Float64[np.ndarray, "F"] | None = None
    """Seconds since the first frame."""

    @classmethod
    def counted(cls, count: int) -> ClipFrames:
        """Return frames of which nothing but their number is known."""
        return cls(np.arange(count))

    def __len__(self) -> int:
        return len(self.numbers)

    def called(self, frame: int) -> str:
        """Return what messages call a frame."""
        return self.names[frame] if self.names else f"frame {self.numbers[frame]}"


@dataclass(frozen=True)
class Labels:
    """What another tool calls its entries, in the order that they have there."""

    count: int
    names: tuple[str, ...] = ()
    """Names of images or files, folders included."""
    numbers: Float64[np.ndarray, "M"] | None = None
    """Numbers of frames, or time stamps in seconds or nanoseconds."""


class FrameMatch(NamedTuple):
    """The entry of each frame."""

    rows: Int64[np.ndarray, "F"]
    """Which entry, -1 for none."""
    note: str
    """One sentence if it is anything else than an entry for each frame, by name or number; else empty."""

    @property
    def complete(self) -> bool:
        """Whether each frame has one."""
        return bool((self.rows >= 0).all())


def match_frames(frames: ClipFrames, labels: Labels, where: str, noun: str) -> FrameMatch:
    """Find the entry of each frame.

    At most a fifth of the frames may be without, and if numbers tell, no entry may then lie before the first
    frame or behind the last.

    Args:
        frames: The clip's.
        labels: Those of the entries.
        where: Path of the entries, for messages.
        noun: What they are, in the plural.

    Raises:
        DatasetError: they do not tell, or tell two ways.
    """
    options = list(_options(frames, labels, where))
    named = next((o for o in options if o.by_name and _shares(o.rows)), None)
    complete = [o for o in options if (o.rows >= 0).all() and o.usable]
    if named is not None and named.usable and (not complete or complete[0] is named):
        return FrameMatch(named.rows, _note(frames, labels, named, noun))
    found = [] if named is not None else complete or [o for o in options if o.usable]
    best = [o for o in found if o.rank == min(o.rank for o in found)]
    other = next((o for o in best if not np.array_equal(o.rows, best[0].rows)), None)
    if other is not None:
        raise DatasetError(
            f"{where}: the {noun} may be those of the clip's frames {best[0].how} or {other.how}; name them "
            "as the frames are named, or give one for each frame"
        )
    if best:
        return FrameMatch(best[0].rows, _note(frames, labels, best[0], noun))
    if labels.count == len(frames) and not any(o.claims and _shares(o.rows) for o in options):
        return FrameMatch(
            np.arange(len(frames)),
            f"the {noun} go to the {len(frames)} frames in their order: {_why(labels)}",
        )
    partly = (o for o in options if _shares(o.rows) and (o.by_name or _all_used(o.rows, labels)))
    raise DatasetError(_refusal(frames, labels, where, noun, next(partly, None)))


def stem_of(name: str) -> str:
    """Return a file's name without folders and endings: `f1` of `rgb/f1.jpg.png`."""
    last = PurePosixPath(name.replace("\\", "/")).name
    while (ending := PurePosixPath(last).suffix).lower() in _MAP_SUFFIXES and ending != last:
        last = last[: -len(ending)]
    return last.lower()


def numbers_in(names: Sequence[str]) -> list[int] | None:
    """Return the last number in each name that no two names share; None if there is none.

    `left_0007_depth16` among its like has the number 7.
    """
    parts = [re.split(r"(\d+)", stem_of(name)) for name in names]
    if not parts or min(len(p) for p in parts) < 3:
        return None
    alike = all(p[::2] == parts[0][::2] for p in parts)
    # In names that are built alike any place will do, in others only the last.
    groups = [[int(p[-k]) for p in parts] for k in (range(2, len(parts[0]), 2) if alike else (2,))]
    return next((group for group in groups if len(set(group)) == len(group)), None)


class _Option(NamedTuple):
    """One way to match."""

    rows: Int64[np.ndarray, "F"]
    how: str
    rank: int
    """Of several ways those of the lowest rank count, and they must agree."""
    usable: bool = True
    """Whether few enough frames are without, and nothing speaks against it."""
    by_name: bool = False
    claims: bool = False
    """Whether what agrees is no accident: where some frames agree and others do not, order is no way out."""


def _options(frames: ClipFrames, labels: Labels, where: str) -> Iterator[_Option]:
    if labels.names:
        if frames.names:
            rows = _by_name(frames.names, labels.names, frames.folder, where)
            yield _Option(rows, "by name", 0, _few_lack(rows), by_name=True, claims=True)
        if frames.own and frames.own != frames.names:
            rows = _by_name(frames.own, labels.names, "rgb", where)
            # Names of more than these frames are names of the source's.
            usable = _few_lack(rows) and _all_used(rows, labels)
            # If one lacks, names that count from 1 look like these as well.
            yield _Option(rows, "by the names in rgb/", 1 + int((rows < 0).any()), usable)
    values = _values(labels)
    if values is None:
        # Rows without anything are those of all frames of the source, if they are not those of the clip.
        if not labels.names and labels.count > frames.numbers.max() and labels.count != len(frames):
            yield _Option(frames.numbers, "by their place among the rows", 2)
        return
    named = numbers_in(frames.names) if frames.names else None
    if named is not None:
        option = _by_number(np.array(named), values, "by the numbers in the frames' names", 2)
        yield option._replace(claims=True)
    # Equal digits in both names say more than a count.
    rank = 3 if named is not None and labels.names else 2
    for first in (0, 1):
        option = _by_number(frames.numbers + first, values, f"by number, counted from {first}", rank)
        yield option._replace(usable=option.usable and values.min() >= first)
    if not labels.names or _stamps(labels.names) is not None:
        yield from _by_time(frames, values)


def _by_name(names: Sequence[str], others: Sequence[str], folder: str, where: str) -> Int64[np.ndarray, "F"]:
    """Find each name among others, whatever their folders and endings; of several the closest.

    Raises:
        DatasetError: several are equally close.
    """
    places: dict[str, list[int]] = {}
    for row, other in enumerate(others):
        places.setdefault(stem_of(other), []).append(row)
    rows = np.full(len(names), -1, dtype=np.int64)
    for frame, name in enumerate(names):
        found = places.get(stem_of(name), [])
        for closer in (f"/{folder}/{name}", f"/{name}", f"/{folder}/"):
            if len(found) > 1:
                found = [r for r in found if closer in "/" + others[r].replace("\\", "/")] or found
        if len(found) > 1:
            raise DatasetError(
                f"{where} has both {others[found[0]]} and {others[found[1]]}, either of which may be the "
                f"frame {name}; remove one, or give the folder of one camera"
            )
        if found:
            rows[frame] = found[0]
    return rows


def _by_number(
    wanted: Int64[np.ndarray, "F"], values: Float64[np.ndarray, "M"], how: str, rank: int
) -> _Option:
    places = {value: row for row, value in enumerate(values.tolist())}
    rows = np.array([places.get(float(number), -1) for number in wanted.tolist()], dtype=np.int64)
    # Where frames lack one, none of the others may lie outside: the count would be another.
    within = values.min() >= wanted.min() and values.max() <= wanted.max()
    usable = len(places) == len(values) and (bool((rows >= 0).all()) or (within and _few_lack(rows)))
    return _Option(rows, how, rank, usable)


def _by_time(frames: ClipFrames, values: Float64[np.ndarray, "M"]) -> Iterator[_Option]:
    """Match time stamps to the nearest frame, within a quarter of the shortest step."""
    stamps = _stamps(frames.names)
    clocks = [("by the time stamps in the frames' names", stamps)] if stamps is not None else []
    if frames.seconds is not None:
        clocks.append(("by time", frames.seconds))
    order = np.argsort(values, kind="stable")
    # Time stamps of a clock of its own count from any time; the first is then taken for the first frame's.
    for (how, clock), unit, own in itertools.product(clocks, _UNITS, (False, True)):
        there = (values[order] - (values[order[0]] if own else 0.0)) * unit
        here = clock - (clock[0] if own else 0.0)
        after = np.clip(np.searchsorted(there, here), 1, max(len(there) - 1, 1))
        pair = np.stack([after - 1, np.minimum(after, len(there) - 1)])
        nearest = pair[np.abs(there[pair] - here).argmin(axis=0), np.arange(len(here))]
        good = np.abs(there[nearest] - here) <= 0.25 * np.diff(here).min(initial=np.inf)
        # A clock of its own tells nothing of frames that lack; as many as frames are rather all of them.
        partly = not own and len(values) != len(here) and _few_lack(np.where(good, nearest, -1))
        if (good.all() or partly) and len(np.unique(nearest[good])) == good.sum():
            told = f"{how}, the first being the first frame's" if own else how
            yield _Option(np.where(good, order[nearest], -1).astype(np.int64), told, 4)
            return


def _shares(rows: Int64[np.ndarray, "F"]) -> bool:
    return bool((rows >= 0).mean() > _MOST_MISSING)


def _all_used(rows: Int64[np.ndarray, "F"], labels: Labels) -> bool:
    return len(np.unique(rows[rows >= 0])) == labels.count


def _few_lack(rows: Int64[np.ndarray, "F"]) -> bool:
    return bool((rows < 0).mean() <= _MOST_MISSING)


def _stamps(names: Sequence[str]) -> Float64[np.ndarray, "F"] | None:
    """Return names that are time stamps as numbers: decimals, or digits of a clock in nanoseconds."""
    stems = [stem_of(name) for name in names]
    if not stems or not all(re.fullmatch(r"\d+\.\d+|\d{12,}", stem) for stem in stems):
        return None
    return np.array([float(stem) * (1.0 if "." in stem else 1e-9) for stem in stems])


def _values(labels: Labels) -> Float64[np.ndarray, "M"] | None:
    """Return the number of each entry, that in its name if it has one."""
    if labels.numbers is not None:
        return labels.numbers
    stamps = _stamps(labels.names)
    if stamps is not None:
        return stamps
    numbers = numbers_in(labels.names)
    return np.array(numbers, dtype=np.float64) if numbers is not None else None


def _why(labels: Labels) -> str:
    if labels.names:
        first, last = labels.names[0], labels.names[-1]
        return f"their names, {first} to {last}, are neither the frames' names nor their numbers"
    if labels.numbers is not None:
        low, high = labels.numbers.min(), labels.numbers.max()
        return f"their time stamps, {low:g} to {high:g}, are neither the frames' numbers nor their times"
    return "they have neither names nor numbers"


def _note(frames: ClipFrames, labels: Labels, option: _Option, noun: str) -> str:
    missing = np.flatnonzero(option.rows < 0)
    if len(missing):
        return f"{len(missing)} of {len(frames)} frames have none of the {noun} ({_called(frames, missing)})"
    if labels.count != len(frames):
        return f"{labels.count} {noun} are given for {len(frames)} frames: theirs are taken, {option.how}"
    plain = option.rank < 2 or option.claims or option.how.endswith("from 0")
    return "" if plain else f"the {noun} are matched to the frames {option.how}"


def _called(frames: ClipFrames, which: Int64[np.ndarray, "K"]) -> str:
    return ", ".join(frames.called(int(k)) for k in which[:3]) + (", …" if len(which) > 3 else "")


def _refusal(frames: ClipFrames, labels: Labels, where: str, noun: str, part: _Option | None) -> str:
    start = f"{where} holds {labels.count} {noun}, but the clip has {len(frames)} frames"
    if part is not None:
        lacking = np.flatnonzero(part.rows < 0)
        return (
            f"{start}, of which {len(lacking)} have none, {part.how} ({_called(frames, lacking)}); give one "
            "for each, or leave these frames out"
        )
    kinds = f"named {labels.names[0]} and so on" if labels.names else "without names"
    if not labels.names and labels.numbers is not None:
        kinds = f"stamped {labels.numbers.min():g} to {labels.numbers.max():g}"
    called = f"{frames.called(0)} to {frames.called(len(frames) - 1)}"
    return (
        f"{start}: those here are {kinds}, the frames are {called}, and neither names nor numbers tell which "
        "belongs to which; name them as the frames are named, or give one for each frame"
    )
