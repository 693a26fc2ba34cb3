"""Time a training step and its parts, each on the same tensors, and how much of a step is overhead.

The parts are data, motion (codes, rigid motions, colours), rasterising, loss and optimizer, each with its
backward pass; what a whole step takes beyond their sum is the rest. The overhead is what a step takes of a
hundred Gaussians and images of two dozen pixels a side, where next to no work is left: Python, and torch's
way to its kernels and back. Where Linux's `perf` is installed, the share of the training thread's time in the
Python interpreter itself is sampled too.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro
from rich.console import Console
from rich.table import Table

FAN_AND_BALL = Path(__file__).parents[1] / "scenes" / "fan-and-ball"


@dataclass
class Args:
    """What to time."""

    data: Path = FAN_AND_BALL
    """scene"""
    method: str = "dyn3d-velocity-fast"
    """method with shared motions"""
    gaussians: int | None = None
    """number of Gaussians; default: the method's"""
    warmup: int = 300
    """steps before the timing"""
    steps: int = 300
    """steps to time"""


SHORT, SETTLED = 6000, 0.75
"""Steps of a short training, and the part of it after which its steps are like any later one: Gaussians were
followed, and are as many as they will be."""


EMPTY_GAUSSIANS = 100
EMPTY_PIXELS = 25


def settle(trainer: Any) -> int:
    """Take the steps of a short training until what is trained is what the last steps train; return how many
    there were."""
    count = round(SETTLED * trainer.config.max_num_iterations)
    take_steps(trainer, 0, count)
    return count


def build(
    args: Args, output: str, gaussians: int | None, downscale: int = 1, options: Sequence[str] = ()
) -> Any:
    """Set a trainer up as ns-train does, with further options of its command line."""
    from nerfstudio.configs.method_configs import AnnotatedBaseConfigUnion  # noqa: PLC0415 (seconds to import)

    words = [args.method, "--data", str(args.data), "--output-dir", output, "--vis", "tensorboard"]
    words += options
    if gaussians:
        words += ["--pipeline.model.max-gaussians", str(gaussians)]
    if downscale > 1:
        words += ["dynamic-object-data", "--downscale-factor", str(downscale)]
    config: Any = tyro.cli(AnnotatedBaseConfigUnion, args=words)  # type: ignore[arg-type]
    config.set_timestamp()
    config.pipeline.datamanager.data = config.data
    trainer = config.setup(local_rank=0, world_size=1)
    trainer.setup()
    trainer.pipeline.train()
    return trainer


def take_steps(trainer: Any, first: int, count: int) -> float:
    """Train ``count`` steps as the training loop does; return the seconds of one."""
    began = time.perf_counter()
    for step in range(first, first + count):
        for callback in trainer._before:
            callback.run_callback(step)
        trainer.train_iteration(step)
        for callback in trainer._after:
            callback.run_callback(step)
    return (time.perf_counter() - began) / count


def repeat(work: Callable[[], Any], count: int) -> float:
    """Return the seconds of one call."""
    for _ in range(5):
        work()
    began = time.perf_counter()
    for _ in range(count):
        work()
    return (time.perf_counter() - began) / count


def parts(trainer: Any, step: int, count: int) -> dict[str, float]:
    """Time the parts of a step, in seconds."""
    from dyn3d_ns.gaussians import Gaussians  # noqa: PLC0415 (seconds to import)

    model, datamanager = trainer.pipeline.model, trainer.pipeline.datamanager
    camera, batch = datamanager.next_train(step)
    view, params = model._training_view(camera), model.scene.params

    def motion() -> tuple[torch.Tensor, ...]:
        g = model.training_gaussians(view.time)
        return g.means, g.quats, g.scales, g.opacities, g.colors

    def with_backward(make: Callable[[], tuple[torch.Tensor, ...]]) -> Callable[[], None]:
        weights = [torch.randn_like(x) for x in make()]

        def work() -> None:
            torch.autograd.backward(make(), weights)

        return work

    leaves = [x.detach().requires_grad_() for x in motion()]

    def raster() -> tuple[torch.Tensor, ...]:
        gaussians = Gaussians(*leaves)
        degree = model.config.sh_degree
        return model.rasterize_gaussians(gaussians, view, gaussians.colors, sh_degree=degree)[:2]

    with torch.no_grad():
        render, alpha = raster()
    outputs = {
        "render": render[0].requires_grad_(),
        "accumulation": alpha[0].requires_grad_(),
        "background": torch.rand(3),
        "gaussians": Gaussians(*leaves),
    }

    def loss() -> None:
        torch.stack(list(model.get_loss_dict(outputs, batch).values())).sum().backward()

    def optimize() -> None:
        for optimizer in trainer.optimizers.optimizers.values():
            optimizer.step()
        for scheduler in trainer.optimizers.schedulers.values():
            scheduler.step()

    seconds = {
        "data": repeat(lambda: datamanager.next_train(step), count),
        "motion": repeat(with_backward(motion), count),
        "rasterise": repeat(with_backward(raster), count),
        "loss": repeat(loss, count),
    }
    with torch.no_grad():
        saved = [p.clone() for p in params.values()]
        seconds["optimizer"] = repeat(optimize, count)
        for parameter, value in zip(params.values(), saved, strict=True):
            parameter.copy_(value)
    return seconds


def steps_in_turn(trainers: list[Any], first: int, args: Args) -> list[float]:
    """Return the median seconds of a step of each trainer, measured in turn."""
    for trainer in trainers:
        take_steps(trainer, first, args.warmup)
    rounds, start = 10, first + args.warmup
    each = max(args.steps // rounds, 1)
    taken = [[take_steps(t, start + i * each, each) for t in trainers] for i in range(rounds)]
    return [statistics.median(column) for column in zip(*taken, strict=True)]


def interpreter_share(trainer: Any, first: int, args: Args, folder: str) -> float | None:
    """Sample the training thread with `perf`; return the share of the interpreter's own code, if it can."""
    perf, data = shutil.which("perf"), str(Path(folder) / "perf.data")
    if perf is None:
        return None
    command = [
        perf,
        "record",
        "-e",
        "cpu-clock",
        "-F",
        "2000",
        "-t",
        str(threading.get_native_id()),
        "-o",
        data,
    ]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as recorder:
        time.sleep(0.5)
        take_steps(trainer, first, 2 * args.steps)
        recorder.send_signal(signal.SIGINT)
    report = [perf, "report", "-i", data, "--sort", "dso", "--stdio", "-F", "overhead,dso"]
    lines = subprocess.run(report, check=True, capture_output=True, text=True).stdout.splitlines()
    rows = [line.split(None, 1) for line in lines if line.strip() and not line.startswith("#")]
    python = Path(os.path.realpath(sys.executable)).name
    ours = (row[0] for row in rows if row[1].strip() == python or row[1].startswith("libpython"))
    return sum(float(share.rstrip("%")) for share in ours) / 100


def main(args: Args) -> None:
    """Print the table and one line of JSON."""
    with tempfile.TemporaryDirectory() as output:
        with contextlib.redirect_stdout(io.StringIO()):
            short = ["--max-num-iterations", str(SHORT)]
            trainer = build(args, output, args.gaussians, options=short)
            width = int(trainer.pipeline.datamanager.train_cameras.width[0])
            small = max(width // EMPTY_PIXELS, 1)
            empty = build(args, output, EMPTY_GAUSSIANS, downscale=small, options=short)
            first = settle(trainer)
            settle(empty)
        step, overhead = steps_in_turn([trainer, empty], first, args)
        interpreter = interpreter_share(trainer, first, args, output)
        seconds = parts(trainer, first, args.steps // 3)
        count = len(trainer.pipeline.model.scene)
    seconds["rest"] = step - sum(seconds.values())
    table = Table(
        "part", "ms", "share", title=f"{args.method}: {count} Gaussians, {1 / step:.0f} steps a second"
    )
    for name, value in {**seconds, "whole step": step, "overhead in it": overhead}.items():
        table.add_row(name, f"{1e3 * value:.2f}", f"{100 * value / step:.0f} %")
    share = "perf missing" if interpreter is None else f"{100 * interpreter:.0f} %"
    table.add_row("Python interpreter", "", share)
    Console().print(table)
    record = {"gaussians": count, "step": step, "overhead": overhead, "interpreter_share": interpreter}
    print(json.dumps({**record, **seconds}))


if __name__ == "__main__":
    main(tyro.cli(Args))
