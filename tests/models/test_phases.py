"""The curriculum, with every setting that the command line takes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from dyn3d_ns.engine.schedule import Schedule
from dyn3d_ns.models.velocity import Dyn3DVelocityModel, Dyn3DVelocityModelConfig
from dyn3d_ns.timeline import Timeline


def schedule_of(canonical: float, curriculum: float, half: float) -> Schedule:
    """Return the schedule of 100 steps on four observed times of six."""
    timeline = Timeline.from_times([0.0, 0.2, 0.4, 0.6, 0.8, 1.0], 0.6)
    config = Dyn3DVelocityModelConfig(
        canonical_part=canonical, curriculum_part=curriculum, half_resolution_part=half
    )
    times = timeline.observed_times
    model: Any = SimpleNamespace(
        config=config,
        canonical_time=times[2],
        timeline=timeline,
        observed_times=times,
        followed_frames=list,
    )
    return Schedule(100, Dyn3DVelocityModel.phases(cast(Dyn3DVelocityModel, model)))


class Planned:
    """What the plan of a training depends on: 21 observed times of 31, the middle one canonical."""

    timeline = Timeline.from_times([i / 30 for i in range(31)], 20 / 30)
    observed_times = timeline.observed_times
    canonical_index, canonical_time = 10, timeline.observed_times[10]
    seen_together = Dyn3DVelocityModel.seen_together
    followed_frames = Dyn3DVelocityModel.followed_frames
    phases = Dyn3DVelocityModel.phases

    def __init__(self, steps: int, cameras: int = 5, **settings: Any) -> None:
        self.config = Dyn3DVelocityModelConfig(**settings)
        self.planned_steps, self.num_train_data = steps, cameras * len(self.observed_times)

    def get_param_groups(self) -> dict[str, list]:
        return {name: [] for name in ("means", "quats", "motion_codes", "bends", "motions")}

    @property
    def frames(self) -> list[int]:
        return self.followed_frames()  # type: ignore[misc, no-any-return]

    def schedule(self) -> Schedule:
        return Schedule(self.planned_steps, self.phases())  # type: ignore[misc]


def test_frames_are_followed_where_cameras_and_steps_suffice() -> None:
    """All of them, or every so many with the first and the last; none where too few would be."""
    outward = [*range(11, 21), *range(9, -1, -1)]
    assert Planned(2000, tracking_part=0.4, frame_steps=40).frames == outward
    fewer = Planned(1200, tracking_part=0.4, frame_steps=40).frames
    assert 5 <= len(fewer) <= 12 and {0, 20} < set(fewer)
    assert fewer == [f for f in outward if f in fewer]
    assert Planned(400, tracking_part=0.4, frame_steps=40).frames == []
    assert Planned(2000, tracking_part=0.0).frames == []
    assert Planned(2000, cameras=2).frames == []


@pytest.mark.parametrize("canonical", [0.0, 0.15, 2.0])
@pytest.mark.parametrize("tracking", [0.3, 0.95, 3.0])
@pytest.mark.parametrize("half", [0.0, 0.5, 2.0])
def test_frames_are_followed_one_after_the_other(canonical: float, tracking: float, half: float) -> None:
    planned = Planned(4000, canonical_part=canonical, tracking_part=tracking, half_resolution_part=half)
    schedule, times = planned.schedule(), planned.observed_times
    names = [schedule.at(step).name for step in range(0, 4000, 2)]
    order = list(dict.fromkeys(names))
    followed = [f"frame {f}" for f in planned.frames]
    small = [name for name in order if name.startswith("canonical")]
    assert order == [*small, *followed, "all"] and bool(small) == (canonical > 0)
    for step in range(0, 4000, 50):
        phase, window = schedule.at(step), schedule.sampling(step).window
        assert schedule.at(step).downscale == 1 or phase.name.startswith("canonical")
        if phase.name.startswith("frame "):
            assert window == (times[int(phase.name[6:])],) * 2
            assert phase.groups == {"means", "quats"} and phase.fresh_optimizers
        elif phase.name == "all":
            assert window == (times[0], times[-1])
            assert phase.groups == {"means", "quats", "bends", "motions"}
        else:
            assert window == (times[10],) * 2 and "means" in (phase.groups or ())
    assert schedule.at(0).downscale == (2 if canonical and half else 1)


@pytest.mark.parametrize("canonical", [0.0, 0.1, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("curriculum", [0.0, 0.3, 1.0, 2.0])
@pytest.mark.parametrize("half", [0.0, 0.3, 0.6, 1.0, 2.0])
def test_every_setting_makes_a_schedule(canonical: float, curriculum: float, half: float) -> None:
    schedule = schedule_of(canonical, curriculum, half)
    for step in range(100):
        part = step / 100
        grown = min(max((part - canonical) / max(curriculum - canonical, 1e-6), 0.0), 1.0)
        if part >= max(canonical, curriculum):
            grown = 1.0
        expected = (0.4 - grown * 0.4, 0.4 + grown * 0.2)
        assert schedule.sampling(step).window == pytest.approx(expected)
        assert schedule.at(step).downscale == (2 if part < half else 1)
        assert schedule.at(step).name.startswith("canonical") == (part < canonical)
