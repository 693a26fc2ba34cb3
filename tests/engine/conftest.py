"""Short trainings of the real fast method on a tiny scene, all in this process."""

from __future__ import annotations

import copy
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from nerfstudio.configs.method_configs import all_methods
from run_training import run_training

from dyn3d_ns.engine.trainer import DynamicTrainer, DynamicTrainerConfig

STEPS = 24


class Training:
    """Builds configurations and runs them as `ns-train` does."""

    def __init__(self, scene: Path, output: Path) -> None:
        self.scene, self.output = scene, output

    def config(self, name: str, **changes: object) -> DynamicTrainerConfig:
        """Return the fast method's configuration, small enough for a test."""
        config = copy.deepcopy(all_methods["dyn3d-velocity-fast"])
        assert isinstance(config, DynamicTrainerConfig)
        config.machine.device_type = "cpu"
        config.pipeline.datamanager.data = self.scene
        config.pipeline.model.max_gaussians = 300  # type: ignore[attr-defined]
        config.output_dir, config.timestamp, config.vis = self.output, name, "tensorboard"
        config.max_num_iterations, config.steps_per_save = STEPS, 10
        config.logging.local_writer.enable = False
        for key, value in changes.items():
            setattr(config, key, value)
        return config

    def run(
        self, config: DynamicTrainerConfig, at_step: int = -1, action: Callable[[], None] | None = None
    ) -> DynamicTrainer:
        """Train; after `at_step` call `action`. SystemExit passes through."""
        return run_training(config, at_step, action)

    def run_until_interrupted(self, config: DynamicTrainerConfig, at_step: int, number: int) -> int:
        """Send this process a signal in the midst of a step; return the exit code that training ends with."""
        with pytest.raises(SystemExit) as exit_info:
            self.run(config, at_step, lambda: os.kill(os.getpid(), number))
        # The handlers that were there before are back.
        assert signal.getsignal(number) in (signal.default_int_handler, signal.SIG_DFL)
        return int(exit_info.value.code)  # type: ignore[arg-type]


def differences(a: Any, b: Any, where: str = "") -> list[str]:
    """Return where two checkpoints differ: parameters, moments, schedules, random generators, image order."""
    if isinstance(a, dict):
        assert a.keys() == b.keys(), where
        return [line for key in a for line in differences(a[key], b[key], f"{where}/{key}")]
    if isinstance(a, list | tuple):
        assert len(a) == len(b), where
        return [
            line
            for i, (x, y) in enumerate(zip(a, b, strict=True))
            for line in differences(x, y, f"{where}/{i}")
        ]
    same = torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b
    return [] if same else [where]


@pytest.fixture(scope="session")
def checkpoint_differences() -> Callable[[Any, Any], list[str]]:
    """Return the comparison of two loaded checkpoints, since test modules cannot import one another."""
    return differences


@pytest.fixture(scope="session")
def training(tiny_scene: Path, tmp_path_factory: pytest.TempPathFactory) -> Training:
    """Return the runner of trainings on the tiny scene."""
    return Training(tiny_scene, tmp_path_factory.mktemp("trainings"))


@pytest.fixture(scope="session")
def unbroken(training: Training) -> Path:
    """Return the final checkpoint of a training that nothing disturbed."""
    trainer = training.run(training.config("unbroken"))
    return trainer.checkpoint_dir / f"step-{STEPS - 1:09d}.ckpt"
