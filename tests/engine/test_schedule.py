"""Phases: where a step stands, what it draws, and learning rates that follow."""

from __future__ import annotations

import pytest
import torch

from dyn3d_ns.engine.optimizers import FusedAdamConfig, HoldThenDecayConfig, PhaseDecayConfig, follow_schedule
from dyn3d_ns.engine.schedule import (
    Phase,
    Schedule,
    Stage,
    fixed_window,
    frame_by_frame,
    halved_until,
    widening_window,
)


def test_each_step_belongs_to_the_phase_it_falls_into() -> None:
    schedule = Schedule(10, [Phase("a", 0.25), Phase("b", 0.5), Phase("c", 1.0)])
    assert [schedule.at(step).name for step in range(12)] == [*"aaabbccccccc"]
    assert [step for step in range(10) if schedule.begins(step)] == [0, 3, 5]
    assert [step for step in range(10) if schedule.ends(step)] == [2, 4, 9]
    assert schedule.last_begins == 0.5 and Schedule(10).last_begins == 0.0


@pytest.mark.parametrize("ends", [[], [0.5], [0.5, 0.5, 1.0], [1.0, 0.5], [0.5, 2.0]])
def test_phases_that_leave_gaps_or_overlap_are_refused(ends: list[float]) -> None:
    with pytest.raises(ValueError, match="end one after the other"):
        Schedule(10, [Phase(str(i), end) for i, end in enumerate(ends)])


def test_a_widening_window_grows_evenly_around_its_centre() -> None:
    window = widening_window(center=0.4, first=0.0, last=0.8, start=0.25, stop=0.75)
    assert window(0.0) == window(0.25) == (0.4, 0.4)
    assert window(0.5) == pytest.approx((0.2, 0.6))
    assert window(0.75) == window(1.0) == pytest.approx((0.0, 0.8))


def test_sampling_is_that_of_the_phase() -> None:
    weights = torch.tensor([1.0, 2.0])
    schedule = Schedule(
        4, [Phase("a", 0.5, fixed_window(0.1, 0.2)), Phase("b", 1.0, None, lambda part: weights * part)]
    )
    assert schedule.sampling(1) == ((0.1, 0.2), None, None)
    window, drawn, _ = schedule.sampling(3)
    assert window is None and drawn is not None and drawn.tolist() == [0.75, 1.5]


def test_a_phase_a_frame_has_as_many_steps_for_each() -> None:
    times = [0.0, 0.1, 0.35, 0.7, 0.9, 1.0, 1.0]
    schedule = Schedule(7 * 13, frame_by_frame(times, Stage("", 13)))
    for frame, t in enumerate(times):
        steps = range(13 * frame, 13 * (frame + 1))
        assert {schedule.at(step).name for step in steps} == {f"frame {frame}"}
        assert schedule.sampling(steps[0]).window == (t, t)
    assert [phase.fresh_optimizers for phase in schedule.phases] == [False] + 6 * [True]


def test_later_frames_may_go_through_other_stages_than_the_first() -> None:
    stages = [Stage("motion", 3, frozenset({"grid"})), Stage("residuals", 2)]
    schedule = Schedule(10 + 2 * 5, frame_by_frame([0.0, 0.5, 1.0], Stage("", 10), stages))
    names = [schedule.at(step).name for step in range(20)]
    assert names == 10 * ["frame 0"] + [
        f"frame {i}, {name}" for i in (1, 2) for name in ["motion"] * 3 + ["residuals"] * 2
    ]
    assert [step for step in range(20) if schedule.begins(step)] == [0, 10, 13, 15, 18]
    assert schedule.at(11).groups == frozenset({"grid"}) and schedule.at(14).groups is None
    assert [phase.fresh_optimizers for phase in schedule.phases] == [False, True, True, True, True]
    assert [round(schedule.part_of_phase(step), 6) for step in (0, 5, 10, 11, 13, 14)] == [
        0, 0.5, 0, 0.333333, 0, 0.5,
    ]  # fmt: skip


def test_learning_rates_decay_within_each_phase_and_begin_anew() -> None:
    schedule = Schedule(8, [Phase("a", 0.5), Phase("b", 1.0)])
    groups = {"g": {"optimizer": FusedAdamConfig(lr=1.0), "scheduler": PhaseDecayConfig(final=0.01)}}
    followed = follow_schedule(groups, schedule)["g"]["scheduler"].setup()
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    made, rates = followed.get_scheduler(optimizer, 1.0), []
    for _ in range(8):
        rates.append(optimizer.param_groups[0]["lr"])
        made.step()
    assert rates == pytest.approx([0.01 ** (i / 4) for i in range(4)] * 2)
    made.step(5)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.01**0.25)


def test_learning_rates_follow_the_schedule_where_they_leave_it_open() -> None:
    schedule = Schedule(200, [Phase("a", 0.25), Phase("b", 1.0)])
    groups = {
        "open": {"optimizer": FusedAdamConfig(lr=1.0), "scheduler": HoldThenDecayConfig(final=0.01)},
        "given": {
            "optimizer": FusedAdamConfig(lr=1.0),
            "scheduler": HoldThenDecayConfig(hold=0.5, max_steps=100),
        },
        "none": {"optimizer": FusedAdamConfig(lr=1.0), "scheduler": None},
    }
    followed = follow_schedule(groups, schedule)
    assert (followed["open"]["scheduler"].hold, followed["open"]["scheduler"].max_steps) == (0.25, 200)
    assert (followed["given"]["scheduler"].hold, followed["given"]["scheduler"].max_steps) == (0.5, 100)
    assert followed["none"]["scheduler"] is None
    assert groups["open"]["scheduler"].max_steps is None, "the preset itself stays as it is"


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        (0.0, [(0.25, 1), (1.0, 1)]),
        (0.1, [(0.1, 2), (0.25, 1), (1.0, 1)]),
        (0.25, [(0.25, 2), (1.0, 1)]),
        (0.5, [(0.25, 2), (0.5, 2), (1.0, 1)]),
        (1.0, [(0.25, 2), (1.0, 2)]),
    ],
)
def test_half_resolution_ends_where_it_should(part: float, expected: list[tuple[float, int]]) -> None:
    phases = halved_until([Phase("a", 0.25), Phase("b", 1.0)], part)
    assert [(phase.until, phase.downscale) for phase in phases] == expected
    assert len(Schedule(100, phases).phases) == len(expected)
