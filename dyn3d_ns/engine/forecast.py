"""How long a training would take on this machine and scene, from a few steps of it."""

from __future__ import annotations

import copy
import functools
import statistics
import time
from typing import Any

import torch
from nerfstudio.engine.callbacks import TrainingCallbackAttributes, TrainingCallbackLocation
from nerfstudio.engine.optimizers import Optimizers
from nerfstudio.engine.trainer import TrainerConfig

from dyn3d_ns.data.datamanager import DynamicDataManager
from dyn3d_ns.engine.checkpoint import restore_rng, rng_state
from dyn3d_ns.engine.method import DynamicMethod
from dyn3d_ns.engine.optimizers import follow_schedule

_PARTS = (0.1, 0.2, 0.4, 0.6, 0.8)
"""Where in the training steps are timed: presets may start at half the resolution."""
_STEPS = 3
"""Steps timed at each place, after one that compiles and warms up."""


def forecast_seconds(config: TrainerConfig, datamanager: DynamicDataManager) -> float:
    """Return the seconds that the steps of a training would take, from a few steps of a model of its own.

    The datamanager's order of images and the global random generators are left as they were found.
    """
    generators, images, sampling = rng_state(), datamanager.get_state(), datamanager.sampling
    datamanager.sampling = None
    try:
        step = _stepper(copy.deepcopy(config), datamanager)
        places = [int(part * config.max_num_iterations) for part in _PARTS]
        return config.max_num_iterations * statistics.fmean(_time_steps(step, place) for place in places)
    finally:
        datamanager.sampling = sampling
        datamanager.set_state(images)
        restore_rng(generators)


def _stepper(config: TrainerConfig, datamanager: DynamicDataManager) -> Any:
    """Build the model that a training starts with; return what takes one step of it at a step number."""
    dataset = datamanager.train_dataset
    model: DynamicMethod = config.pipeline.model.setup(
        scene_box=dataset.scene_box,
        num_train_data=len(dataset),
        metadata=dataset.metadata,
        device=datamanager.device,
        grad_scaler=None,
    ).to(datamanager.device)
    model.plan(config.max_num_iterations)
    model.seed(datamanager)
    optimizers = Optimizers(follow_schedule(config.optimizers, model.schedule), model.get_param_groups())
    attributes = TrainingCallbackAttributes(optimizers, None, None, None)  # type: ignore[arg-type]
    before = [
        callback
        for callback in model.get_training_callbacks(attributes)
        if TrainingCallbackLocation.BEFORE_TRAIN_ITERATION in callback.where_to_run
    ]
    model.train()

    def take_step(number: int) -> None:
        for callback in before:
            callback.run_callback(number)
        for optimizer in optimizers.optimizers.values():
            optimizer.zero_grad(set_to_none=True)
        camera, batch = datamanager.next_train(number)
        outputs = model(camera)
        losses = model.get_loss_dict(outputs, batch, model.get_metrics_dict(outputs, batch))
        functools.reduce(torch.add, losses.values()).backward()
        for optimizer in optimizers.optimizers.values():
            optimizer.step()

    return take_step


def _time_steps(take_step: Any, number: int) -> float:
    """Return the median seconds of a step at a place in the training."""
    take_step(number)
    seconds = []
    for _ in range(_STEPS):
        began = time.perf_counter()
        take_step(number)
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def in_words(seconds: float) -> str:
    """Return a duration as one speaks of it, such as "4 minutes" or "1.5 hours"."""
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    if seconds < 5400:
        return f"{seconds / 60:.0f} minutes"
    return f"{seconds / 3600:.1f} hours"
