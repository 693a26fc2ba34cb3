"""A training that was stopped between two densifications goes on as one that was not."""

from __future__ import annotations

import copy
import signal
from pathlib import Path

import pytest
import torch
from nerfstudio.configs.method_configs import all_methods

from dyn3d_ns.engine.checkpoint import load_checkpoint
from dyn3d_ns.gaussians.densify import Densifier

STEPS = 30
REFINE_EVERY = 6
STOP_AT = 9
"""In the midst of gathering statistics, between two densifications."""
DENSIFIED = [6, 12, 18]

CASES = [
    ("dyn3d-velocity-fast", "default"),
    ("dyn3d-velocity-fast", "mcmc"),
]


@pytest.fixture
def densified(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Densify every few steps; the list receives step and number of Gaussians after each."""
    seen: list[tuple[int, int]] = []
    make, densify = Densifier.make_strategy, Densifier.after_step

    def eager_strategy(kind, steps, cap):
        strategy = make(kind, steps, cap)
        strategy.refine_every = REFINE_EVERY
        if kind == "default":
            strategy.grow_grad2d = 1e-5  # a few steps at 48 px leave small gradients
        else:
            strategy.min_opacity = 0.26  # so early no Gaussian is faint by the usual measure
        return strategy

    def watched(self, step):
        before = copy.deepcopy(self.params["means"].detach())
        densify(self, step)
        after = self.params["means"].detach()
        if before.shape != after.shape or not torch.equal(before, after):
            seen.append((step, len(after)))

    monkeypatch.setattr(Densifier, "make_strategy", staticmethod(eager_strategy))
    monkeypatch.setattr(Densifier, "after_step", watched)
    return seen


def configure(training, method: str, densify: str, name: str, **changes: object):
    """Return a short training of a method with a densification strategy."""
    config = training.config(f"{method}-{densify}-{name}", max_num_iterations=STEPS, **changes)
    preset = copy.deepcopy(all_methods[method])
    config.pipeline.model, config.optimizers = preset.pipeline.model, preset.optimizers
    config.pipeline.model.max_gaussians = 350 if densify == "mcmc" else 200
    config.pipeline.model.densify = densify
    return config


def final_checkpoint(folder: Path) -> Path:
    """Return the only checkpoint in a folder."""
    (path,) = folder.glob("step-*.ckpt")
    return path


@pytest.mark.usefixtures("default_signals")
@pytest.mark.parametrize(("method", "densify"), CASES)
def test_stopped_between_densifications_ends_the_same(
    training, checkpoint_differences, densified, method: str, densify: str
) -> None:
    whole = training.run(configure(training, method, densify, "whole"))
    unbroken = list(densified)
    assert {step for step, _ in unbroken} <= set(DENSIFIED) and len(unbroken) >= 2, unbroken
    assert unbroken[-1][0] > STOP_AT, "the last densification comes after the stop"
    densified.clear()
    config = configure(training, method, densify, "stopped")
    assert training.run_until_interrupted(config, at_step=STOP_AT, number=signal.SIGINT) == 130
    resume = configure(training, method, densify, "resumed", load_dir=config.get_checkpoint_dir())
    resumed = training.run(resume)
    assert densified == unbroken
    a, b = (load_checkpoint(final_checkpoint(t.checkpoint_dir)) for t in (whole, resumed))
    assert a["model"].keys() == b["model"].keys() and a["model"]
    assert checkpoint_differences(a, b) == []
