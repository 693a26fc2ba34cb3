"""Compare what a training is foreseen to take with what it takes, turn by turn on one machine."""

from __future__ import annotations

import copy
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

import tyro
from nerfstudio.configs.method_configs import all_methods

from dyn3d_ns.engine.forecast import forecast_seconds
from dyn3d_ns.engine.interrupt import StopRequest
from dyn3d_ns.engine.trainer import DynamicTrainerConfig


@dataclass
class Args:
    """What to train and how often."""

    data: Path = Path("scripts/scenes/fan-and-ball")
    """scene to train on"""
    method: str = "dyn3d-velocity-fast"
    """method to train"""
    steps: int = 200
    """steps of each training"""
    repeats: int = 3
    """trainings, each with a forecast before it"""


def compare(args: Args, output: Path) -> tuple[float, float, float]:
    """Return the seconds foreseen, those that the steps took, and their CPU seconds."""
    config = cast(DynamicTrainerConfig, copy.deepcopy(all_methods[args.method]))
    config.pipeline.datamanager.data = args.data
    config.output_dir, config.vis, config.max_num_iterations = output, "tensorboard", args.steps
    config.logging.local_writer.enable = False
    trainer = config.setup(local_rank=0, world_size=1)
    trainer.setup()
    foreseen = forecast_seconds(config, trainer.pipeline.datamanager)
    began, cpu = time.perf_counter(), time.process_time()
    trainer._train_steps(StopRequest())
    return foreseen, time.perf_counter() - began, time.process_time() - cpu


def main(args: Args) -> None:
    """Print a line a training, and the median of foreseen to taken."""
    ratios = []
    for _ in range(args.repeats):
        with TemporaryDirectory() as output:
            foreseen, taken, cpu = compare(args, Path(output))
        ratios.append(foreseen / taken)
        print(
            f"{foreseen:7.2f} s foreseen, {taken:7.2f} s taken ({cpu:.2f} CPU s): {ratios[-1]:.2f}",
            flush=True,
        )
    print(f"median {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    main(tyro.cli(Args))
