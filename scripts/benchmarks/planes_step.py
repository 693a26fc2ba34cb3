"""Time a training step of dyn3d-velocity-planes, with its dearest operations and how much of it is overhead.

Give ``--load-dir`` to go on from a training's checkpoint, whose occupancy and planes are those of most steps.
Without it the planes are refined to their last resolution and trained for ``--warmup`` steps first. The
overhead is what the same step takes of next to no rays, points and cells: Python, and torch's way to its
kernels and back. Where Linux's `perf` is installed, the Python interpreter's own share is sampled too.
"""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro
from rich.console import Console
from rich.table import Table
from training_step import Args, build, interpreter_share, steps_in_turn, take_steps

EMPTY = {
    "datamanager.rays-per-batch": "4",
    "datamanager.images-per-batch": "4",
    "model.start-resolution": "8",
    "model.resolution": "8",
    "model.occupancy-cells": "8",
    "model.losses.collocation-points": "8",
}
"""Settings of a step with next to no work."""


@dataclass
class PlanesArgs(Args):
    """What to time."""

    method: str = "dyn3d-velocity-planes-fast"
    """method with keyframe planes"""
    load_dir: Path | None = None
    """nerfstudio_models folder of a training to go on from"""


def start(args: PlanesArgs, output: str, options: Sequence[str]) -> Any:
    """Return a trainer whose planes have their last resolution."""
    from dyn3d_ns.fields.keyframe_planes import upsample  # noqa: PLC0415 (seconds to import)

    with contextlib.redirect_stdout(io.StringIO()):
        trainer = build(args, output, None, options=options)
    model = trainer.pipeline.model
    if model.scene.planes.resolution < model.config.resolution:
        upsample(model.scene.planes, model.config.resolution, model.optimizers["planes"])
    return trainer


def dearest(trainer: Any, first: int, steps: int, rows: int) -> list[tuple[str, float]]:
    """Return the operations with the most time of their own, in seconds a step."""
    from torch.profiler import ProfilerActivity, profile  # noqa: PLC0415 (seconds to import)

    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        take_steps(trainer, first, steps)
    events = sorted(profiler.key_averages(), key=lambda event: -event.self_cpu_time_total)
    return [(event.key, event.self_cpu_time_total / 1e6 / steps) for event in events[:rows]]


def main(args: PlanesArgs) -> None:
    """Print the table and one line of JSON."""
    with tempfile.TemporaryDirectory() as output:
        whole = start(args, output, ["--load-dir", str(args.load_dir)] if args.load_dir else [])
        empty = start(args, output, [w for k, v in EMPTY.items() for w in (f"--pipeline.{k}", v)])
        model = whole.pipeline.model
        first = max(whole._start_step, round(model.config.upsample_parts[-1] * model.schedule.steps) + 1)
        step, overhead = steps_in_turn([whole, empty], first, args)
        interpreter = interpreter_share(whole, first + args.warmup + args.steps, args, output)
        operations = dearest(whole, first + args.warmup + 3 * args.steps, 20, 12)
    title = f"{args.method}: planes of {model.scene.planes.resolution} points, {1 / step:.1f} steps a second"
    table = Table("operation", "ms", "share", title=title, title_justify="left")
    for name, seconds in [*operations, ("whole step", step), ("overhead in it", overhead)]:
        table.add_row(name, f"{1e3 * seconds:.2f}", f"{100 * seconds / step:.0f} %")
    share = "perf missing" if interpreter is None else f"{100 * interpreter:.0f} %"
    table.add_row("Python interpreter", "", share)
    Console().print(table)
    record = {"step": step, "overhead": overhead, "interpreter_share": interpreter}
    print(json.dumps({**record, "threads": torch.get_num_threads()}))


if __name__ == "__main__":
    main(tyro.cli(PlanesArgs))
