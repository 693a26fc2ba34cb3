"""A trained field taken to a new scene, by `ns-train --load-dir … --data NEW --adapt-steps N`."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from nerfstudio.utils.eval_utils import eval_setup

from dyn3d_ns.engine.trainer import DynamicTrainerConfig
from tests.mononerf_runs import SMALL, config_of, trained, write_two_scenes
from tests.run_training import run_training

BIN = Path(sys.executable).parent


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_two_scenes(tmp_path_factory.mktemp("scenes"))


@pytest.fixture(scope="module")
def first(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoints of a training on A."""
    config = trained(config_of(scenes, tmp_path_factory.mktemp("first"), scenes=("A",)))
    return config.parent / "nerfstudio_models"


def adapting(scenes: Path, output: Path, load_dir: Path, scene: str = "B") -> DynamicTrainerConfig:
    config = config_of(scenes, output, scenes=(scene,), adapt_steps=12)
    config.load_dir = load_dir
    return config


def last_state(config: DynamicTrainerConfig, step: int) -> dict:
    path = config.get_checkpoint_dir() / f"step-{step:09d}.ckpt"
    return torch.load(path, weights_only=True)


def test_a_stopped_adaptation_goes_on_exactly(scenes: Path, first: Path, tmp_path: Path) -> None:
    whole = adapting(scenes, tmp_path / "whole", first)
    trained(whole)
    stopped = adapting(scenes, tmp_path / "stopped", first)
    stopped.save_config()
    with pytest.raises(SystemExit):  # in the second part, between two steps that make features
        run_training(stopped, 9, lambda: os.kill(os.getpid(), signal.SIGTERM))
    again = adapting(scenes, tmp_path / "again", stopped.get_checkpoint_dir())
    again.save_config()
    assert run_training(again)._start_step == 10
    for part in ("pipeline", "optimizers"):
        states = [last_state(config, 11)[part] for config in (whole, again)]
        for name, value in flat(states[0]).items():
            assert torch.equal(value, flat(states[1])[name]), name


def flat(state: dict, prefix: str = "") -> dict[str, torch.Tensor]:
    """Return all tensors of nested dictionaries by their path."""
    found = {}
    for name, value in state.items():
        if isinstance(value, torch.Tensor):
            found[f"{prefix}{name}"] = value
        elif isinstance(value, dict):
            found |= flat(value, f"{prefix}{name}.")
    return found


def test_an_adapted_field_is_adapted_again_by_as_many_steps(
    scenes: Path, first: Path, tmp_path: Path
) -> None:
    there = adapting(scenes, tmp_path / "there", first)
    trained(there)
    back = adapting(scenes, tmp_path / "back", there.get_checkpoint_dir(), "A")
    back.save_config()
    trainer = run_training(back)
    assert trainer._start_step == 0 and trainer.step == 11
    assert trainer.pipeline.model.scene_names == ("A",)


@pytest.mark.slow
def test_as_commands_and_the_first_training_may_be_gone(scenes: Path, first: Path, tmp_path: Path) -> None:
    loaded = shutil.copytree(first.parent, tmp_path / "first") / "nerfstudio_models"
    options = [
        word
        for name, value in SMALL.items()
        for word in (
            f"--pipeline.model.{name.replace('_', '-')}",
            *(map(str, value) if isinstance(value, tuple) else [str(value)]),
        )
    ]
    command = [
        *(BIN / "ns-train", "dyn3d-mononerf-fast", "--load-dir", loaded, "--data", scenes / "B"),
        *("--output-dir", tmp_path / "out", "--vis", "tensorboard", *options),
        *("--pipeline.datamanager.rays-per-batch", 64),
    ]

    def run(*words: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(list(map(str, words)), capture_output=True, text=True, check=False)

    without = run(*command)
    assert without.returncode == 2 and "Traceback" not in without.stderr
    assert "--adapt-steps N takes its networks to new ones" in without.stderr
    done = run(*command, "--adapt-steps", 6)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert "Starting from the networks of" in done.stdout
    shutil.rmtree(tmp_path / "first")
    (config,) = (path for path in (tmp_path / "out").rglob("config.yml") if any(path.parent.rglob("*.ckpt")))
    _, pipeline, _, step = eval_setup(config, test_mode="test")
    assert step == 5 and pipeline.model.scene_names == ("B",)
    report = tmp_path / "report.json"
    evaluated = run(BIN / "ns-eval", "--load-config", config, "--output-path", report)
    assert evaluated.returncode == 0 and report.is_file(), evaluated.stderr[-2000:]
