"""Trainings that follow Gaussians frame by frame, stopped on their way, and what they end with."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from dyn3d_ns.engine.checkpoint import load_checkpoint

STEPS = 60


def configure(training: Any, name: str, **changes: object) -> Any:
    """Return a short training in which frames are followed for two steps each."""
    config = training.config(f"tracking-{name}", max_num_iterations=STEPS, **changes)
    config.pipeline.model.frame_steps = 2
    return config


def last(trainer: Any) -> dict[str, Any]:
    """Return the final checkpoint of a training."""
    (path,) = Path(trainer.checkpoint_dir).glob("step-*.ckpt")
    return load_checkpoint(path)


@pytest.fixture(scope="module")
def whole(training: Any) -> Any:
    """Return a training that nothing disturbed."""
    return training.run(configure(training, "whole"))


def test_what_was_followed_is_described_as_bodies(whole: Any) -> None:
    model = whole.pipeline.model
    assert len(model.followed_frames()) >= 5 and model.tracks is None
    codes = model.scene.codes()
    assert bool(((codes == 0) | (codes == 1)).all()), "every Gaussian belongs to one body"
    assert model.schedule.at(STEPS - 1).name == "all"
    start = model.scene.deform(model.canonical_time, codes).means
    torch.testing.assert_close(start, model.scene.params["means"].detach(), rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("default_signals")
@pytest.mark.parametrize("part", [0.2, 0.35])
def test_stopped_while_following_ends_the_same(
    training: Any, whole: Any, checkpoint_differences: Any, part: float
) -> None:
    stop = round(part * STEPS)
    config = configure(training, f"stopped-{stop}")
    assert whole.pipeline.model.schedule.at(stop).name.startswith("frame ")
    assert training.run_until_interrupted(config, at_step=stop, number=signal.SIGINT) == 130
    resumed = training.run(configure(training, f"resumed-{stop}", load_dir=config.get_checkpoint_dir()))
    assert checkpoint_differences(last(whole), last(resumed)) == []
