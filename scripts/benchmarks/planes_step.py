"""Time a training step of dyn3d-velocity-planes, with its dearest operations and the share that is Python.

Python's share is measured as in training_step.py: the part of py-spy's samples that hold the interpreter's
lock.
"""

from __future__ import annotations

import contextlib
import io
import json
import tempfile

import torch
import tyro
from rich.console import Console
from rich.table import Table
from training_step import Args, build, python_share, take_steps


def dearest(trainer, first: int, steps: int, rows: int) -> list[tuple[str, float]]:
    """Return the operations with the most time of their own, in seconds a step."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        take_steps(trainer, first, steps)
    events = sorted(profiler.key_averages(), key=lambda event: -event.self_cpu_time_total)
    return [(event.key, event.self_cpu_time_total / 1e6 / steps) for event in events[:rows]]


def main(args: Args) -> None:
    """Print the table and one line of JSON."""
    if args.method == Args.method:
        args.method = "dyn3d-velocity-planes-fast"
    with tempfile.TemporaryDirectory() as output:
        with contextlib.redirect_stdout(io.StringIO()):
            trainer = build(args, output)
        take_steps(trainer, 0, args.warmup)
        step = take_steps(trainer, args.warmup, args.steps)
        if args.sampled:
            return
        operations = dearest(trainer, args.warmup + args.steps, 20, 12)
    share = python_share(args)
    table = Table("operation", "ms", "share", title=f"{args.method}: {1 / step:.1f} steps a second")
    for name, seconds in operations:
        table.add_row(name, f"{1e3 * seconds:.2f}", f"{100 * seconds / step:.0f} %")
    table.add_row("holding Python's lock", "", "py-spy missing" if share is None else f"{100 * share:.0f} %")
    Console().print(table)
    print(json.dumps({"step": step, "threads": torch.get_num_threads(), "python_share": share}))


if __name__ == "__main__":
    main(tyro.cli(Args))
