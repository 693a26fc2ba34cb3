"""Time a training step and its parts, each on the same tensors, and the share of the step that is Python.

The parts are data, motion (codes, rigid motions, colours), rasterising, loss and optimizer, each with its
backward pass; what a whole step takes beyond their sum is the rest. Python's share is the part of the samples
of py-spy in which the training thread holds the interpreter's lock: torch and the kernels release it.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
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
    """steps before the timing, at full resolution and with all times"""
    steps: int = 300
    """steps to time"""
    sampled: bool = False
    """only run the steps, for py-spy"""


def build(args: Args, output: str, options: Sequence[str] = ()) -> Any:
    """Set a trainer up as ns-train does, with further options of its command line."""
    from nerfstudio.configs.method_configs import AnnotatedBaseConfigUnion  # noqa: PLC0415 (seconds to import)

    words = [args.method, "--data", str(args.data), "--output-dir", output, "--vis", "tensorboard"]
    words += options
    if args.gaussians:
        words += ["--pipeline.model.max-gaussians", str(args.gaussians)]
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
    from dyn3d_ns.models.gaussian_model import viewmats_of  # noqa: PLC0415 (seconds to import)
    from dyn3d_ns.rendering import rasterize  # noqa: PLC0415

    model, datamanager = trainer.pipeline.model, trainer.pipeline.datamanager
    camera, batch = datamanager.next_train(step)
    t, params = model._time_of(camera), model.scene.params

    def motion() -> tuple[torch.Tensor, ...]:
        state = model._training_state(t, model.scene.codes())
        colors = model.colors_at(t, state.quats)
        return (
            state.means,
            state.quats,
            params["scales"].exp(),
            torch.sigmoid(params["opacities"][:, 0]),
            colors,
        )

    def with_backward(make: Callable[[], tuple[torch.Tensor, ...]]) -> Callable[[], None]:
        weights = [torch.randn_like(x) for x in make()]

        def work() -> None:
            torch.autograd.backward(make(), weights)

        return work

    leaves = [x.detach().requires_grad_() for x in motion()]
    viewmat, K = viewmats_of(camera.camera_to_worlds), camera.get_intrinsics_matrices()
    width, height = int(camera.width.item()), int(camera.height.item())

    def raster() -> tuple[torch.Tensor, ...]:
        means, quats, scales, opacities, colors = leaves
        return rasterize(
            means,
            quats,
            scales,
            opacities,
            colors,
            viewmat,
            K,
            width,
            height,
            near_plane=model.config.camera_near,
            packed=False,
            sh_degree=model.config.sh_degree,
        )[:2]

    with torch.no_grad():
        render, alpha = raster()
    outputs = {
        "render": render[0].requires_grad_(),
        "accumulation": alpha[0].requires_grad_(),
        "background": torch.rand(3),
        "codes": model.scene.codes().detach(),
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


def python_share(args: Args, script: str, options: Sequence[str] = ()) -> float | None:
    """Sample a script's steps with py-spy; return the share of samples that hold the interpreter's lock."""
    spy = shutil.which("py-spy", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    if spy is None:
        return None
    counts = []
    for extra in (["--gil"], []):
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "samples"
            command = [spy, "record", "--rate", "200", "--format", "raw", "--output", str(out), *extra, "--"]
            command += [sys.executable, script, "--data", str(args.data), "--method", args.method]
            command += ["--sampled", *options]
            command += ["--warmup", str(args.warmup), "--steps", str(4 * args.steps)]
            subprocess.run(command, check=True, capture_output=True)
            lines = [line.rsplit(" ", 1) for line in out.read_text(encoding="utf-8").splitlines()]
            counts.append(sum(int(n) for stack, n in lines if "take_steps" in stack))
    return counts[0] / max(counts[1], 1)


def main(args: Args) -> None:
    """Print the table and one line of JSON."""
    with tempfile.TemporaryDirectory() as output:
        quiet = contextlib.redirect_stdout(io.StringIO())
        with quiet:
            trainer = build(args, output)
        first = trainer.config.max_num_iterations // 2
        take_steps(trainer, first, args.warmup)
        step = take_steps(trainer, first + args.warmup, args.steps)
        if args.sampled:
            return
        seconds = parts(trainer, first, args.steps // 3)
        count = len(trainer.pipeline.model.scene)
    seconds["rest"] = step - sum(seconds.values())
    share = python_share(args, __file__)
    table = Table(
        "part", "ms", "share", title=f"{args.method}: {count} Gaussians, {1 / step:.0f} steps a second"
    )
    for name, value in seconds.items():
        table.add_row(name, f"{1e3 * value:.2f}", f"{100 * value / step:.0f} %")
    table.add_row("whole step", f"{1e3 * step:.2f}", "")
    table.add_row("holding Python's lock", "", "py-spy missing" if share is None else f"{100 * share:.0f} %")
    Console().print(table)
    print(json.dumps({"gaussians": count, "step": step, "python_share": share, **seconds}))


if __name__ == "__main__":
    main(tyro.cli(Args))
