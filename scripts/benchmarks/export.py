"""Seconds and bytes of each export of a trained scene, turn by turn with what `dyn3d export ply` once was.

That wrote every frame on its own, column by column, and flushed each file; it is kept here as the yardstick.
All formats export the same times of one loaded scene, several rounds one after another, so that a machine
that is busy is so for all:

    python scripts/benchmarks/export.py outputs/quickstart/…/config.yml --rounds 5
"""

from __future__ import annotations

import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import tyro
from rich.console import Console
from rich.table import Table

from dyn3d_ns.cli.export import (
    Export4dgs,
    ExportGlb,
    ExportPly,
    ExportSplat4d,
    ExportSpz,
    ExportTrajectories,
    ExportUsd,
)
from dyn3d_ns.cli.export_options import ExportOptions, shown
from dyn3d_ns.cli.export_web import pack, page_of
from dyn3d_ns.cli.rig import Loaded, load_scene
from dyn3d_ns.export.web import write_page
from dyn3d_ns.gaussians.data_units import to_data_units
from dyn3d_ns.io.ply import logit, write_columns

FORMATS: dict[str, tuple[type[ExportOptions], str]] = {
    "ply": (ExportPly, "ply"),
    "usd": (ExportUsd, "a.usdc"),
    "4dgs": (Export4dgs, "a.4dgs"),
    "splat4d": (ExportSplat4d, "a.splat4d"),
    "spz": (ExportSpz, "spz"),
    "glb": (ExportGlb, "glb"),
    "trajectories": (ExportTrajectories, "a.npz"),
}


@dataclass
class Args:
    """What to measure."""

    config: Annotated[Path, tyro.conf.Positional]
    """config.yml of a training with Gaussians"""
    rounds: int = 5
    """times that everything is exported"""
    formats: tuple[str, ...] = (*FORMATS, "web")
    """which of them"""


def main(args: Args) -> None:
    """Export and print the table."""
    yardstick = ExportPly(load_config=args.config, output=Path("unused"))
    loaded = load_scene(args.config)
    model = loaded.model
    named = yardstick.named_times(model.timeline)
    wall: dict[str, list[float]] = {"before": []}
    cpu: dict[str, list[float]] = {"before": []}
    size: dict[str, int] = {}
    for _ in range(args.rounds):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            seconds = timed(lambda folder=folder: as_before(model, named, folder / "before"))
            wall["before"].append(seconds[0])
            cpu["before"].append(seconds[1])
            size["before"] = bytes_of(folder / "before")
            for kind in (name for name in FORMATS if name in args.formats):
                command, target = FORMATS[kind]
                options = command(load_config=args.config, output=folder / target)  # type: ignore[call-arg]
                sequence = options.sequence(loaded, list(named.values()))
                with shown(sequence) as ahead:
                    seconds = timed(lambda o=options, s=ahead: o.write(s, list(named), model))
                wall.setdefault(kind, []).append(seconds[0])
                cpu.setdefault(kind, []).append(seconds[1])
                size[kind] = bytes_of(folder / target)
            if "web" in args.formats:
                seconds = timed(lambda folder=folder: page(loaded, folder / "a.html"))
                wall.setdefault("web", []).append(seconds[0])
                cpu.setdefault("web", []).append(seconds[1])
                size["web"] = bytes_of(folder / "a.html")
    table = Table("format", "MB", "wall s", "CPU s", "wall, of PLY as it was", "CPU, of it")
    for kind, found in wall.items():
        ratios = [
            statistics.median(a / b for a, b in zip(x[kind], x["before"], strict=True)) for x in (wall, cpu)
        ]
        middle = [statistics.median(x) for x in (found, cpu[kind])]
        table.add_row(
            kind, f"{size[kind] / 1e6:.2f}", *(f"{x:.2f}" for x in middle), *(f"{x:.2f}" for x in ratios)
        )
    Console().print(table, f"{len(named)} times of {len(model.gaussians_at(0.0))} Gaussians")


def page(loaded: Loaded, path: Path) -> None:
    """Write the page that plays the scene, its picture rendered too."""
    model, method, rig = loaded
    write_page(path, pack(model), page_of(model, rig, "scene", method, "data"))


def timed(export: Callable[[], object]) -> tuple[float, float]:
    """Return the wall and CPU seconds of a call, those of programs that it starts among them."""

    def spent() -> float:
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        return time.process_time() + children.ru_utime + children.ru_stime

    wall, cpu = time.perf_counter(), spent()
    export()
    return time.perf_counter() - wall, spent() - cpu


@torch.no_grad()
def as_before(model, named: dict[str, float], folder: Path) -> None:
    """Write PLYs as `dyn3d export ply` did at first."""
    for name, moment in named.items():
        found = to_data_units(model.gaussians_at(moment), model.world)
        means, quats, scales, opacities, sh = (
            x.detach().float().cpu().numpy()
            for x in (found.means, found.quats, found.scales, found.opacities, found.colors)
        )
        n, k = len(means), sh.shape[1]
        names = [
            *("nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2"),
            *(f"f_rest_{i}" for i in range(3 * (k - 1))),
            *("opacity", "scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"),
        ]
        columns = np.concatenate(
            [
                np.zeros((n, 3), np.float32),
                sh[:, 0],
                sh[:, 1:].transpose(0, 2, 1).reshape(n, 3 * (k - 1)),
                logit(opacities)[:, None],
                np.log(np.maximum(scales, 1e-12)),
                quats / np.linalg.norm(quats, axis=1, keepdims=True),
            ],
            axis=1,
        ).astype(np.float32)
        places = {axis: means[:, i] for i, axis in enumerate("xyz")}
        write_columns(folder / f"{name}.ply", places | {name: columns[:, i] for i, name in enumerate(names)})


def bytes_of(path: Path) -> int:
    """Return the bytes of a file or of all files in a folder."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files)


if __name__ == "__main__":
    main(tyro.cli(Args, description=__doc__))
