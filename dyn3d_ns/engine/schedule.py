"""A training as a sequence of phases: a curriculum, two stages, or a phase a frame.

A model plans its training once its length is known, and whoever needs to know where the training stands asks
the schedule: the datamanager which images may be drawn, the model at which resolution, the trainer which
parameter groups move, the learning rates when the last phase begins.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from dyn3d_ns.data.sampling import FrameWeights, Sampling, TimeWindow


@dataclass(frozen=True)
class Phase:
    """A part of a training in which the same things are trained on the same kind of images."""

    name: str
    """For logs and for a model that asks where it is."""
    until: float
    """Part of the training at whose end the phase ends, above 0 and up to 1."""
    window: TimeWindow | None = None
    """Given the part of the training gone by: first and last time to draw from; None for all."""
    frame_weights: FrameWeights | None = None
    """Given the part gone by: how often each recorded time is drawn; None for equally often."""
    groups: frozenset[str] | None = None
    """Parameter groups that move; None for all."""
    downscale: int = 1
    """Images are rendered at the inverse of this of their size."""
    fresh_optimizers: bool = False
    """Whether the optimizers forget their moments as the phase begins."""


class Schedule:
    """The phases of a training of so many steps, one after the other."""

    def __init__(self, steps: int, phases: Sequence[Phase] = (Phase("all", 1.0),)) -> None:
        """Put phases together.

        Raises:
            ValueError: no phase, ends that do not rise, or a last end that is not 1.
        """
        ends = [phase.until for phase in phases]
        if not ends or ends[-1] != 1.0 or any(a >= b for a, b in zip([0.0, *ends], ends, strict=False)):
            raise ValueError(f"phases must end one after the other, the last at 1, not at {ends}")
        self.steps, self.phases = steps, tuple(phases)
        self._ends = ends

    def part(self, step: int) -> float:
        """Return the part of the training gone by before a step, 0 to 1."""
        return step / self.steps

    def at(self, step: int) -> Phase:
        """Return the phase that a step belongs to; steps after the last one belong to the last phase."""
        return self.phases[self._number(step)]

    def _number(self, step: int) -> int:
        return min(bisect_right(self._ends, self.part(step)), len(self.phases) - 1)

    def begins(self, step: int) -> bool:
        """Return whether a step is the first of its phase."""
        return step == 0 or self.at(step) is not self.at(step - 1)

    def ends(self, step: int) -> bool:
        """Return whether a step is the last of its phase."""
        return step == self.steps - 1 or self.at(step) is not self.at(step + 1)

    def part_of_phase(self, step: int) -> float:
        """Return the part of its phase gone by before a step, 0 to 1."""
        number = self._number(step)
        begin, end = self._ends[number - 1] if number else 0.0, self._ends[number]
        return min((self.part(step) - begin) / (end - begin), 1.0)

    @property
    def last_begins(self) -> float:
        """Part of the training at which the last phase begins."""
        return self.phases[-2].until if len(self.phases) > 1 else 0.0

    def sampling(self, step: int) -> Sampling:
        """Return what may be drawn at a step."""
        phase, part = self.at(step), self.part(step)
        return Sampling(
            window=None if phase.window is None else phase.window(part),
            frame_weights=None if phase.frame_weights is None else phase.frame_weights(part),
        )


def fixed_window(first: float, last: float) -> TimeWindow:
    """Return a window that stays as it is."""
    return partial(_fixed, first, last)


def _fixed(first: float, last: float, _part: float) -> tuple[float, float]:
    return first, last


def widening_window(
    center: float, first: float, last: float, start: float, stop: float
) -> Callable[[float], tuple[float, float]]:
    """Return a window that grows from one time to a range, evenly from the part ``start`` to ``stop``."""
    return partial(_widening, center, first, last, start, stop)


def _widening(
    center: float, first: float, last: float, start: float, stop: float, part: float
) -> tuple[float, float]:
    grown = min(max((part - start) / max(stop - start, 1e-6), 0.0), 1.0)
    return center - grown * (center - first), center + grown * (last - center)


@dataclass(frozen=True)
class Stage:
    """A part of the training of one frame, as streaming trains."""

    name: str
    steps: int
    groups: frozenset[str] | None = None
    """Parameter groups that move; None for all."""


def frame_by_frame(times: Sequence[float], first: Stage, later: Sequence[Stage] = ()) -> list[Phase]:
    """Return the phases of a training that sees one recorded time after another, as streaming trains.

    Each sees the images of its time only, and the optimizers' moments are forgotten as it begins.

    Args:
        times: Recorded times.
        first: What the first time goes through.
        later: What each later time goes through; the same as the first if empty.
    """
    planned = [(_of_frame(0, first), times[0], first)]
    planned += [
        (_of_frame(i, stage), t, stage) for i, t in enumerate(times) if i for stage in (later or (first,))
    ]
    total, gone, phases = sum(stage.steps for _, _, stage in planned), 0, []
    for name, t, stage in planned:
        gone += stage.steps
        window = fixed_window(t, t)
        phases.append(
            Phase(name, gone / total, window, groups=stage.groups, fresh_optimizers=gone > stage.steps)
        )
    return phases


def _of_frame(number: int, stage: Stage) -> str:
    return f"frame {number}, {stage.name}" if stage.name else f"frame {number}"


def halved_until(phases: list[Phase], part: float) -> list[Phase]:
    """Return phases that render at half resolution up to a part of the training."""
    halved: list[Phase] = []
    start = 0.0
    for phase in phases:
        if start < part < phase.until:
            halved.append(replace(phase, name=f"{phase.name}, half size", until=part, downscale=2))
            halved.append(phase)
        else:
            halved.append(replace(phase, downscale=2) if phase.until <= part else phase)
        start = phase.until
    return halved
