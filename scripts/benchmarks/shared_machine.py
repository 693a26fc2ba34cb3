"""CPU seconds of training steps on an idle machine and beside busy processes, turn by turn.

Run it where nothing else runs: the first of each pair is to have the cores for itself.
"""

from __future__ import annotations

import contextlib
import io
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import tyro
from training_step import Args as Training
from training_step import build, take_steps


@dataclass
class Args:
    """What to train, and how often."""

    training: Training = field(
        default_factory=lambda: Training(method="dyn3d-velocity-planes-fast", warmup=20)
    )
    busy: int = 2
    """busy processes beside it"""
    repeats: int = 2
    """pairs of runs"""
    child: bool = False
    """only train, and print seconds as JSON"""


def train(args: Training) -> dict[str, float]:
    """Train ``args.steps`` steps after the warm-up; return their seconds of CPU and on the clock."""
    with tempfile.TemporaryDirectory() as output, contextlib.redirect_stdout(io.StringIO()):
        trainer = build(args, output, args.gaussians)
        take_steps(trainer, 0, args.warmup)
        before, began = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
        take_steps(trainer, args.warmup, args.steps)
        wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"cpu": cpu, "wall": wall}


@contextlib.contextmanager
def busy_processes(count: int) -> Iterator[None]:
    """Keep ``count`` processes busy meanwhile."""
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


def in_a_process() -> dict[str, float]:
    """Train in a process of its own, which reads the same arguments."""
    command = [sys.executable, "-W", "ignore", Path(__file__), *sys.argv[1:], "--child"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main(args: Args) -> None:
    """Print a line a run, and the ratio of the medians."""
    if args.child:
        print(json.dumps(train(args.training)))
        return
    seconds: dict[int, list[float]] = {0: [], args.busy: []}
    for _ in range(args.repeats):
        for busy, runs in seconds.items():
            with busy_processes(busy):
                taken = in_a_process()
            print(f"beside {busy} busy: {taken['cpu']:.1f} CPU-seconds, {taken['wall']:.1f} s", flush=True)
            runs.append(taken["cpu"])
    alone, beside = (statistics.median(runs) for runs in seconds.values())
    print(f"CPU seconds beside {args.busy} busy processes: {beside / alone:.2f} x those of an idle machine")


if __name__ == "__main__":
    main(tyro.cli(Args))
