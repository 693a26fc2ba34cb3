"""Trainings in this process, as `ns-train` runs them."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import torch
from nerfstudio.engine.callbacks import TrainingCallback, TrainingCallbackLocation
from nerfstudio.utils import writer

from dyn3d_ns.engine.trainer import DynamicTrainer, DynamicTrainerConfig


def run_training(
    config: DynamicTrainerConfig, at_step: int = -1, action: Callable[[], None] | None = None
) -> DynamicTrainer:
    """Train; after ``at_step`` call ``action``. What is raised passes through, SystemExit too."""
    writer.EVENT_WRITERS.clear()
    writer.EVENT_STORAGE.clear()
    random.seed(config.machine.seed)
    np.random.seed(config.machine.seed)  # noqa: NPY002
    torch.manual_seed(config.machine.seed)
    trainer = config.setup(local_rank=0, world_size=1)
    trainer.setup()
    if action is not None:
        trainer._after.append(
            TrainingCallback(
                [TrainingCallbackLocation.AFTER_TRAIN_ITERATION],
                lambda step: action() if step == at_step else None,
            )
        )
    trainer.train()
    return trainer
