"""Trainings of dyn3d-mononerf with networks of a few units, on one or both of two small scenes."""

from __future__ import annotations

import copy
from importlib.metadata import entry_points
from pathlib import Path

from dyn3d_ns.engine.trainer import DynamicTrainerConfig
from tests.dynamic_scene_files import ToyScene
from tests.run_training import run_training

SMALL = {
    "width": 16,
    "static_blocks": 2,
    "dynamic_blocks": 2,
    "global_blocks": 1,
    "octaves": 4,
    "channels": 4,
    "code": 6,
    "samples": 6,
    "eval_samples": 8,
    "cells": (12, 8, 12),
}


def write_two_scenes(root: Path) -> Path:
    """Write A of 5 frames and B of 4 frames of another size into a folder, and return it."""
    ToyScene(frames=5, width=40, height=24, focal=34.0).write(root / "A")
    ToyScene(frames=4, width=32, height=20, focal=28.0, speed=0.2).write(root / "B")
    return root


def config_of(
    data: Path, output: Path, steps: int = 8, scenes: tuple[str, ...] = (), **model
) -> DynamicTrainerConfig:
    """Return a tiny training; further arguments are settings of the model."""
    (entry,) = (e for e in entry_points(group="nerfstudio.method_configs") if e.name == "dyn3d-mononerf-fast")
    config = copy.deepcopy(entry.load().config)
    config.max_num_iterations = steps
    config.output_dir, config.experiment_name, config.timestamp = output, "tiny", "run"
    config.vis = "tensorboard"
    config.data = data
    manager = config.pipeline.datamanager
    manager.data = manager.dataparser.data = data
    manager.dataparser.scenes = scenes
    manager.rays_per_batch, manager.images_per_batch = 64, 4
    for name, value in {**SMALL, **model}.items():
        setattr(config.pipeline.model, name, value)
    return config


def trained(config: DynamicTrainerConfig) -> Path:
    """Train and return the config.yml."""
    config.save_config()
    run_training(config)
    return config.get_base_dir() / "config.yml"
