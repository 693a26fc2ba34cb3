"""The one time convention: normalised time, frames, seconds and the split of every frame."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

Split = Literal["train", "interp", "future", "unseen"]
"""Images that train; other cameras or times within the recording; later times; and times of which what moves
does not train, though they lie within the recording and may inform what stands still."""

TIME_EPS = 1e-6
"""Two normalised times closer than this are the same frame."""


@dataclass(frozen=True)
class Timeline:
    """Times of one recording, normalised to [0, 1] over the whole of it, the future part included."""

    frame_times: tuple[float, ...]
    """Sorted distinct times of the recorded frames."""
    t_obs: float
    """Last observed time: the largest time of a training frame."""
    fps: float
    """Frames per second of real time."""

    def __post_init__(self) -> None:
        times = np.asarray(self.frame_times, dtype=np.float64)
        if times.size == 0:
            raise ValueError("Timeline needs at least one frame time, got none")
        if not np.isfinite(times).all() or times.min() < -TIME_EPS or times.max() > 1 + TIME_EPS:
            raise ValueError(f"frame times must lie in [0, 1], got {times.min()} to {times.max()}")
        if (np.diff(times) <= 0).any():
            raise ValueError("frame times must be sorted and distinct; build them with Timeline.from_times")
        if not np.isfinite(self.t_obs):
            raise ValueError(f"t_obs must be finite, got {self.t_obs}")
        if not (np.isfinite(self.fps) and self.fps > 0):
            raise ValueError(f"fps must be positive, got {self.fps}")

    @classmethod
    def from_times(
        cls, times: Iterable[float], t_obs: float | None = None, fps: float | None = None
    ) -> Timeline:
        """Build a timeline from unsorted times with repetitions.

        Without ``t_obs`` the last frame counts as observed; without ``fps`` the recording lasts one second.
        """
        distinct = distinct_times(times)
        last = distinct[-1] if distinct else 0.0
        return cls(
            distinct, last if t_obs is None else t_obs, fps if fps is not None else float(len(distinct))
        )

    def first(self, frames: int) -> Timeline:
        """Return the first so many frames, at least one, as a timeline of which nothing is predicted."""
        times = self.frame_times[: max(frames, 1)]
        return (
            self if len(times) == self.num_frames else Timeline(times, min(self.t_obs, times[-1]), self.fps)
        )

    @property
    def num_frames(self) -> int:
        """Number of distinct recorded times."""
        return len(self.frame_times)

    @property
    def dt(self) -> float:
        """Median spacing of the frames in normalised time (1 if there is one frame)."""
        return float(np.median(np.diff(self.frame_times))) if self.num_frames > 1 else 1.0

    @property
    def duration(self) -> float:
        """Length of the normalised unit of time in seconds: one frame spacing lasts 1 / fps."""
        return 1.0 / (self.dt * self.fps)

    @property
    def has_future(self) -> bool:
        """Whether any recorded frame lies after the last observed time."""
        return self.frame_times[-1] > self.t_obs + TIME_EPS

    @property
    def observed_times(self) -> tuple[float, ...]:
        """Recorded times up to and with ``t_obs``."""
        return tuple(t for t in self.frame_times if t <= self.t_obs + TIME_EPS)

    @property
    def future_times(self) -> tuple[float, ...]:
        """Recorded times after ``t_obs``."""
        return tuple(t for t in self.frame_times if t > self.t_obs + TIME_EPS)

    def seconds(self, t: float) -> float:
        """Convert a normalised time to seconds since time 0."""
        return float(t) * self.duration

    def frame_index(self, t: float) -> int:
        """Return the index of the recorded frame nearest to a normalised time."""
        times = np.asarray(self.frame_times)
        right = int(np.clip(np.searchsorted(times, t), 1, max(len(times) - 1, 1)))
        if len(times) == 1:
            return 0
        return right if times[right] - t < t - times[right - 1] else right - 1

    def snap(self, t: float) -> float:
        """Return the recorded time that a time is but for rounding (``TIME_EPS``), or the time itself."""
        near = self.frame_times[self.frame_index(t)]
        return near if abs(near - t) < TIME_EPS else t

    def split_of(self, times: Sequence[float], is_train_pose: Sequence[bool]) -> list[Split]:
        """Return the split of every frame from its time and whether its camera is a training camera."""
        if len(times) != len(is_train_pose):
            raise ValueError(f"got {len(times)} times but {len(is_train_pose)} pose flags")
        future = np.asarray(times, dtype=np.float64) > self.t_obs + TIME_EPS
        return [
            "future" if late else ("train" if train else "interp")
            for late, train in zip(future, is_train_pose, strict=True)
        ]


def distinct_times(times: Iterable[float]) -> tuple[float, ...]:
    """Return the sorted times with those closer than ``TIME_EPS`` merged into their first."""
    distinct: list[float] = []
    for t in sorted(float(t) for t in times):
        if not distinct or t - distinct[-1] > TIME_EPS:
            distinct.append(t)
    return tuple(distinct)


def wanted_splits(asked: str, present: Sequence[Split]) -> tuple[Split, ...]:
    """Return the splits of the frames that Nerfstudio means by ``train``, ``val`` or ``test``.

    Raises:
        ValueError: it asks for another one.
    """
    if asked == "train":
        return ("train",)
    if asked == "val":
        return ("interp",) if "interp" in present else ("future",)
    if asked == "test":
        return ("interp", "future")
    raise ValueError(f"split must be train, val or test, got {asked!r}")
