"""One side of `compare_checkouts.py`: measures the package of the checkout that Python finds, as it is asked.

A line of standard input is a call in JSON, a line of standard output its result. Only what old checkouts have
too is called.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import raster_cases as cases
import torch
import training_step

_scenes: dict[tuple[int, int], cases.Scene] = {}
_trainers: dict[str, Any] = {}


def _cpu() -> float:
    """Return the CPU seconds of this process, those of all its threads."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _set_threads(count: int) -> None:
    try:
        from dyn3d_ns.kernels.pool import set_num_threads
    except ImportError:  # where it was before it had a folder of its own
        from dyn3d_ns.rendering import set_num_threads  # type: ignore[attr-defined,no-redef]
    set_num_threads(count)


def _timed(call: Callable[[], object], repeats: int) -> dict[str, float]:
    cpu, start = _cpu(), time.perf_counter()
    for _ in range(repeats):
        call()
    wall = time.perf_counter() - start
    return {"cpu": (_cpu() - cpu) / repeats, "wall": wall / repeats}


def raster(n: int, pixels: int, threads: int, repeats: int) -> dict[str, float]:
    """Return the seconds of a forward and backward, without a loss."""
    from dyn3d_ns.rendering import rasterize

    first = (n, pixels) not in _scenes
    scene = _scenes.setdefault((n, pixels), cases.make_scene(n, pixels) if first else None)  # type: ignore[arg-type]

    def call() -> None:
        for leaf in scene.leaves:
            leaf.grad = None
        cases.render(scene, rasterize).backward(scene.target)

    _set_threads(threads)
    for _ in range(3 if first else 1):
        call()
    return _timed(call, repeats)


def _trainer(data: str, method: str, steps: int | None = None) -> Any:
    torch.manual_seed(42)
    args = training_step.Args(method=method)
    args.data = type(args.data)(data)
    options = ["--max-num-iterations", str(steps)] if steps else []
    return training_step.build(args, tempfile.mkdtemp(), None, options=options)


def step(data: str, method: str, repeats: int) -> dict[str, float]:
    """Return the seconds of a training step, near the end of a short training."""
    trainer = _trainers.get("step")
    if trainer is None:
        trainer = _trainers["step"] = _trainer(data, method, training_step.SHORT)
        trainer.next = training_step.settle(trainer)
    taken = _timed(lambda: training_step.take_steps(trainer, trainer.next, repeats), 1)
    trainer.next += repeats
    return {name: value / repeats for name, value in taken.items()}


def reach(data: str, method: str, psnr: float, every: int) -> dict[str, float]:
    """Return the CPU seconds and the steps of training until the held-out views at observed times have that
    PSNR, asked every so many steps; infinite where they never do. Asking is not counted."""
    trainer = _trainer(data, method)
    cpu, total = 0.0, trainer.config.max_num_iterations
    for first in range(0, total, every):
        count = min(every, total - first)
        cpu += _timed(lambda a=first, b=count: training_step.take_steps(trainer, a, b), 1)["cpu"]
        if trainer.pipeline.get_average_eval_image_metrics()["interp_psnr"] >= psnr:
            return {"cpu": cpu, "steps": first + count}
        trainer.pipeline.train()
    return {"cpu": float("inf"), "steps": float("inf")}


def training(data: str, method: str) -> dict[str, float]:
    """Return the seconds of a whole training, its start and end included, and what it leads to."""
    trainers: list[Any] = []

    def whole() -> None:
        trainers.append(_trainer(data, method))
        trainers[0].train()

    taken = _timed(whole, 1)
    metrics = trainers[0].pipeline.get_average_eval_image_metrics()
    return {**taken, "psnr": float(metrics["interp_psnr"])}


def main() -> None:
    """Answer calls until there are no more."""
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a training prints is no answer
    calls = {f.__name__: f for f in (raster, step, reach, training)}
    for line in sys.stdin:
        name, *arguments = json.loads(line)
        with contextlib.redirect_stdout(sys.stderr):
            result = calls[name](*arguments)
        print(json.dumps(result), file=answers, flush=True)


if __name__ == "__main__":
    main()
