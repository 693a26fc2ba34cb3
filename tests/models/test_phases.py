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
        config=config, canonical_time=times[2], timeline=timeline, observed_times=times
    )
    return Schedule(100, Dyn3DVelocityModel.phases(cast(Dyn3DVelocityModel, model)))


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
