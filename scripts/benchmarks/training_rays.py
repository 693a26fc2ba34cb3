"""Count the training rays a second of two methods that train on rays, side by side on the same scene.

    python scripts/benchmarks/training_rays.py --data SCENE [--steps 600]

Both trainings run in one process in turn, some steps of each at a time, through all parts of a schedule that
is shortened to so many steps: what a method does early or late counts as much as in a whole training.
"""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from rich.console import Console
from rich.table import Table
from training_step import Args as StepArgs
from training_step import build, take_steps

PARTS = 4
"""Parts of the training that are told apart."""
TURNS = 15
"""Turns of each method in a part."""


@dataclass
class Args:
    """What to time."""

    data: Path
    """folder of a scene that dynamic-scene-data reads"""
    methods: tuple[str, str] = ("dyn3d-mononerf-fast", "dyn3d-velocity-planes-fast")
    """methods to compare"""
    steps: int = 600
    """steps of each training"""


def start(method: str, args: Args, output: str) -> Any:
    """Set a trainer up as ns-train does."""
    options = ["--max-num-iterations", str(args.steps), "dynamic-scene-data"]
    with contextlib.redirect_stdout(io.StringIO()):
        return build(StepArgs(data=args.data, method=method), output, None, options=options)


def main(args: Args) -> None:
    """Train both and print a table."""
    turn = max(args.steps // (PARTS * TURNS), 1)
    with tempfile.TemporaryDirectory() as output:
        trainers = [start(method, args, output) for method in args.methods]
        rays = [t.pipeline.datamanager.get_train_rays_per_batch() for t in trainers]
        seconds = [[0.0] * PARTS for _ in trainers]
        for i in range(PARTS * TURNS):
            for k, trainer in enumerate(trainers):
                seconds[k][i // TURNS] += turn * take_steps(trainer, i * turn, turn)
    table = Table("steps", *args.methods, "ratio", title="training rays a second")
    rates = [[turn * TURNS * n / spent for spent in column] for n, column in zip(rays, seconds, strict=True)]
    for part, (ours, theirs) in enumerate(zip(*rates, strict=True)):
        last = f"{part * turn * TURNS} to {(part + 1) * turn * TURNS - 1}"
        table.add_row(last, f"{ours:,.0f}", f"{theirs:,.0f}", f"{ours / theirs:.2f}")
    whole = [PARTS * turn * TURNS * n / sum(column) for n, column in zip(rays, seconds, strict=True)]
    table.add_row("all", *(f"{rate:,.0f}" for rate in whole), f"{whole[0] / whole[1]:.2f}")
    Console().print(table)
    print(json.dumps(dict(zip(args.methods, whole, strict=True)) | {"ratio": whole[0] / whole[1]}))


if __name__ == "__main__":
    main(tyro.cli(Args))
