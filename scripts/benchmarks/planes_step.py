"""Time a training step of dyn3d-velocity-planes, with its dearest operations and the share that is Python.

Give ``--load-dir`` to go on from a training's checkpoint, whose occupancy and planes are those of most steps.
Without it the planes are refined to their last resolution and trained for ``--warmup`` steps first. Python's
share is measured as in training_step.py: the part of py-spy's samples that hold the interpreter's lock.
"""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro
from rich.console import Console
from rich.table import Table
from training_step import Args, build, python_share, take_steps


@dataclass
class PlanesArgs(Args):
    """What to time."""

    method: str = "dyn3d-velocity-planes-fast"
    """method with keyframe planes"""
    load_dir: Path | None = None
    """nerfstudio_models folder of a training to go on from"""


def start(args: PlanesArgs, output: str) -> tuple[Any, int]:
    """Return a trainer whose planes have their last resolution, and the step it goes on from."""
    from dyn3d_ns.fields.keyframe_planes import upsample  # noqa: PLC0415 (seconds to import)

    options = ["--load-dir", str(args.load_dir)] if args.load_dir else []
    with contextlib.redirect_stdout(io.StringIO()):
        trainer = build(args, output, options)
    model = trainer.pipeline.model
    first = max(trainer._start_step, round(model.config.upsample_parts[-1] * model.total_steps) + 1)
    if model.scene.planes.resolution < model.config.resolution:
        upsample(model.scene.planes, model.config.resolution, model.optimizers["planes"])
    return trainer, first


def dearest(trainer: Any, first: int, steps: int, rows: int) -> list[tuple[str, float]]:
    """Return the operations with the most time of their own, in seconds a step."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        take_steps(trainer, first, steps)
    events = sorted(profiler.key_averages(), key=lambda event: -event.self_cpu_time_total)
    return [(event.key, event.self_cpu_time_total / 1e6 / steps) for event in events[:rows]]


def main(args: PlanesArgs) -> None:
    """Print the table and one line of JSON."""
    with tempfile.TemporaryDirectory() as output:
        trainer, first = start(args, output)
        take_steps(trainer, first, args.warmup)
        step = take_steps(trainer, first + args.warmup, args.steps)
        if args.sampled:
            return
        operations = dearest(trainer, first + args.warmup + args.steps, 20, 12)
        resolution = trainer.pipeline.model.scene.planes.resolution
    table = Table(
        "operation",
        "ms",
        "share",
        title=f"{args.method}: planes of {resolution} points, {1 / step:.1f} steps a second",
    )
    for name, seconds in operations:
        table.add_row(name, f"{1e3 * seconds:.2f}", f"{100 * seconds / step:.0f} %")
    Console().print(table)
    share = python_share(args, __file__, ["--load-dir", str(args.load_dir)] if args.load_dir else [])
    print("holding Python's lock:", "py-spy missing" if share is None else f"{100 * share:.0f} %")
    print(json.dumps({"step": step, "threads": torch.get_num_threads(), "python_share": share}))


if __name__ == "__main__":
    main(tyro.cli(PlanesArgs))
