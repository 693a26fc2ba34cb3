"""The scene of the rasteriser's benchmark, its timings, and the cases that need a process of their own."""

from __future__ import annotations

import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

Renderer = Callable[..., tuple[Tensor, Tensor, dict]]


@dataclass
class Scene:
    """Gaussians in a unit box, seen from a distance of 2 with a field of view of 50 degrees."""

    leaves: list[Tensor]
    """means, quats, scales, opacities and colours; all take gradients"""
    viewmats: Tensor
    Ks: Tensor
    target: Tensor
    """image to compare with, [1, px, px, 3]"""

    @property
    def pixels(self) -> int:
        """Width and height of the image."""
        return self.target.shape[1]


def make_scene(n: int, pixels: int, device: str = "cpu") -> Scene:
    """Draw a scene: scales 0.01 to 0.03, opacities 0.1 to 0.9, RGB."""
    g = torch.Generator().manual_seed(0)
    leaves = [
        torch.rand(n, 3, generator=g) - 0.5,
        torch.randn(n, 4, generator=g),
        0.01 + 0.02 * torch.rand(n, 3, generator=g),
        0.1 + 0.8 * torch.rand(n, generator=g),
        torch.rand(n, 3, generator=g),
    ]
    viewmats = torch.eye(4)[None].clone()
    viewmats[:, 2, 3] = 2.0
    focal = pixels / 2 / math.tan(math.radians(25))
    Ks = torch.tensor([[[focal, 0, pixels / 2], [0, focal, pixels / 2], [0, 0, 1]]])
    target = torch.rand(1, pixels, pixels, 3, generator=g)
    leaves = [leaf.to(device).requires_grad_() for leaf in leaves]
    return Scene(leaves, viewmats.to(device), Ks.to(device), target.to(device))


def forward(scene: Scene, renderer: Renderer) -> Tensor:
    """Render without gradients."""
    with torch.no_grad():
        return render(scene, renderer)


def render(scene: Scene, renderer: Renderer) -> Tensor:
    """Render with gradients."""
    return renderer(*scene.leaves, scene.viewmats, scene.Ks, scene.pixels, scene.pixels, packed=False)[0]


def forward_backward(scene: Scene, renderer: Renderer) -> None:
    """Render, take an L1 loss, and go back to all leaves."""
    for leaf in scene.leaves:
        leaf.grad = None
    (render(scene, renderer) - scene.target).abs().mean().backward()


def times(call: Callable[[], object], budget: float) -> list[float]:
    """Call for about `budget` seconds, five times or more after two calls; return the seconds of each."""
    sync = torch.cuda.synchronize if torch.cuda.is_available() else (lambda: None)
    for _ in range(2):
        call()
    sync()
    taken: list[float] = []
    end = time.perf_counter() + budget
    while len(taken) < 5 or time.perf_counter() < end:
        start = time.perf_counter()
        call()
        sync()
        taken.append(time.perf_counter() - start)
    return taken


def summary(taken: list[float]) -> dict[str, float]:
    """Return the median and the tenth percentile in milliseconds, and how often it was measured."""
    ordered = sorted(taken)
    return {
        "median_ms": 1e3 * statistics.median(ordered),
        "p10_ms": 1e3 * ordered[len(ordered) // 10],
        "repeats": len(ordered),
    }


def stages(scene: Scene, renderer: Renderer, budget: float) -> dict[str, float]:
    """Return the median milliseconds of each stage of forward and backward, and of what is outside them."""
    from dyn3d_ns.kernels.pool import stage_seconds

    rows: list[dict[str, float]] = []

    def call() -> None:
        start = time.perf_counter()
        with stage_seconds() as seconds:
            forward_backward(scene, renderer)
        total = time.perf_counter() - start
        rows.append({**seconds, "loss, torch and Python": total - sum(seconds.values())})

    times(call, budget)
    return {name: 1e3 * statistics.median(row[name] for row in rows[2:]) for name in rows[-1]}


def _memory(name: str) -> float:
    """Read a figure of this process in MB."""
    line = next(row for row in Path("/proc/self/status").read_text().splitlines() if row.startswith(name))
    return int(line.split()[1]) / 1024


def peak_memory(n: int, pixels: int) -> dict[str, float]:
    """Return the MB that forward and backward take above a process that has rendered a small image."""
    from dyn3d_ns.rendering import rasterize

    forward_backward(make_scene(200, 64), rasterize)
    scene = make_scene(n, pixels)
    before = _memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # forget the highest value so far
    for _ in range(3):
        forward_backward(scene, rasterize)
    return {"over_warm_process_mb": _memory("VmHWM") - before}


def first_call(n: int, pixels: int) -> dict[str, float]:
    """Return the seconds of the first forward and backward of a process, our imports included."""
    scene = make_scene(n, pixels)
    start = time.perf_counter()
    from dyn3d_ns.rendering import rasterize

    forward_backward(scene, rasterize)
    return {"seconds": time.perf_counter() - start}


def busy_neighbour(n: int, pixels: int, budget: float) -> dict[str, float]:
    """Return the medians of one and of two threads beside a process that is always busy, and their ratio."""
    from dyn3d_ns.kernels.pool import set_num_threads
    from dyn3d_ns.rendering import rasterize

    scene = make_scene(n, pixels)
    neighbour = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        taken: dict[int, list[float]] = {1: [], 2: []}
        for threads in (1, 2) * 4:  # in turn, so that a change of the machine's speed meets both
            set_num_threads(threads)
            taken[threads] += times(lambda: forward_backward(scene, rasterize), budget / 8)
    finally:
        neighbour.kill()
        neighbour.wait()
    one, two = (1e3 * statistics.median(taken[k]) for k in (1, 2))
    return {"one_thread_ms": one, "two_threads_ms": two, "ratio": two / one}


def in_own_process(case: str, *arguments: float, threads: int) -> dict[str, float]:
    """Run one of the cases above in a fresh process; its kernels come from the cache."""
    code = (
        f"import json, torch; torch.set_num_threads(1); import raster_cases as r;"
        f"print(json.dumps(r.{case}{arguments!r}))"
    )
    environment = {**os.environ, "DYN3D_NUM_THREADS": str(threads)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parent, env=environment, check=True,
        capture_output=True, text=True,
    )  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])
