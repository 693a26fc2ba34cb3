"""Measure the rasteriser: times by size, by stage and beside a busy process, memory, the first call, and
plain torch or gsplat in the same run."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal, get_args

import raster_cases as cases
import torch
import tyro
from rich.console import Console
from rich.table import Table

from dyn3d_ns.io.atomic import write_json

Part = Literal["times", "stages", "memory", "first-call", "neighbour", "torch", "floor"]
ALL_PARTS: tuple[Part, ...] = get_args(Part)
GRID = tuple((n, pixels) for n in (5_000, 20_000, 100_000) for pixels in (200, 400, 800))


@dataclass
class Args:
    """What to measure. Nothing else should run on the machine meanwhile."""

    parts: tuple[Part, ...] = ALL_PARTS
    """what to measure"""
    sizes: tuple[tuple[int, int], ...] = GRID
    """pairs of a number of Gaussians and an image's width in pixels"""
    seconds: float = 2.0
    """about how long each time is measured"""
    threads: int = field(default_factory=torch.get_num_threads)
    """threads that rasterise; torch itself runs on one, as in training"""
    device: Literal["cpu", "cuda"] = "cpu"
    """cuda measures gsplat through the same function, and gsplat itself"""
    output: Path | None = None
    """JSON file to write"""


def _processor() -> str:
    """Name the processor."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _key(n: int, pixels: int) -> str:
    return f"{n // 1000}k/{pixels}"


def _measure_times(args: Args, renderer: cases.Renderer) -> Iterator[tuple[str, dict[str, Any]]]:
    for n, pixels in args.sizes:
        scene = cases.make_scene(n, pixels, args.device)
        entry: dict[str, Any] = {
            "forward": cases.summary(cases.times(lambda s=scene: cases.forward(s, renderer), args.seconds)),
            "forward_backward": cases.summary(
                cases.times(lambda s=scene: cases.forward_backward(s, renderer), args.seconds)
            ),
        }
        yield _key(n, pixels), entry


def _measure_torch(args: Args) -> dict[str, Any]:
    """Time plain torch at the smallest size, and how far its image is from ours."""
    from torch_tiles import rasterize_torch

    from dyn3d_ns.rendering import rasterize

    n, pixels = args.sizes[0]
    scene = cases.make_scene(n, pixels)
    difference = cases.forward(scene, rasterize) - cases.forward(scene, rasterize_torch)
    return {
        "size": _key(n, pixels),
        "forward": cases.summary(cases.times(lambda: cases.forward(scene, rasterize_torch), args.seconds)),
        "forward_backward": cases.summary(
            cases.times(lambda: cases.forward_backward(scene, rasterize_torch), args.seconds)
        ),
        "largest_difference": float(difference.abs().max()),
    }


def _measure_cpu(args: Args, record: dict[str, Any]) -> None:
    """Add everything but the times by size."""
    from dyn3d_ns.rendering import rasterize

    first, last = args.sizes[0], args.sizes[-1]
    if "stages" in args.parts:
        record["stages_ms"] = {
            _key(*size): cases.stages(cases.make_scene(*size), rasterize, args.seconds) for size in args.sizes
        }
    if "memory" in args.parts:
        record["memory"] = {
            _key(*size): cases.in_own_process("peak_memory", *size, threads=args.threads)
            for size in args.sizes
        }
    if "first-call" in args.parts:
        record["first_call"] = cases.in_own_process("first_call", *first, threads=args.threads)
    if "neighbour" in args.parts:
        record["neighbour"] = {
            _key(*size): cases.in_own_process("busy_neighbour", *size, 4 * args.seconds, threads=args.threads)
            for size in (first, last)
        }
    if "torch" in args.parts:
        record["torch_tiles"] = _measure_torch(args)
    if "floor" in args.parts:
        from raster_floor import floor

        record["floor"] = floor(args.sizes, args.threads)


def measure(args: Args) -> dict[str, Any]:
    """Run all the parts and return the record."""
    from dyn3d_ns.kernels.pool import set_num_threads
    from dyn3d_ns.rendering import rasterize

    torch.set_num_threads(1)
    set_num_threads(args.threads)
    record: dict[str, Any] = {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "processor": _processor() if args.device == "cpu" else torch.cuda.get_device_name(),
        "threads": args.threads if args.device == "cpu" else None,
        "torch": torch.__version__,
    }
    if "times" in args.parts:
        record["times"] = dict(_measure_times(args, rasterize))
    if args.device == "cuda":
        from gsplat.rendering import rasterization

        record["gsplat"] = dict(_measure_times(args, rasterization))
    else:
        _measure_cpu(args, record)
    return record


def _tables(record: dict[str, Any]) -> Iterator[Table]:
    """Lay the record out as tables."""
    for name in ("times", "gsplat"):
        if name in record:
            table = Table("size", "forward", "p10", "forward + backward", "p10", title=f"{name}: median ms")
            for size, entry in record[name].items():
                both = entry["forward"], entry["forward_backward"]
                table.add_row(size, *(f"{part[k]:.2f}" for part in both for k in ("median_ms", "p10_ms")))
            yield table
    if "stages_ms" in record:
        columns = list(dict.fromkeys(name for row in record["stages_ms"].values() for name in row))
        table = Table("size", *columns, title="stages: median ms")
        for size, row in record["stages_ms"].items():
            table.add_row(size, *(f"{row[name]:.2f}" if name in row else "-" for name in columns))
        yield table
    table = Table("what", "size", "measure", "value", title="the rest")
    for name in ("memory", "neighbour"):
        for size, entry in record.get(name, {}).items():
            for k, v in entry.items():
                table.add_row(name, size, k, f"{v:.2f}")
    for name in ("first_call", "torch_tiles", "floor"):
        entry = record.get(name, {})
        for k, v in entry.items() if isinstance(entry, dict) else ():
            if isinstance(v, dict):
                for k2, v2 in v.items():
                    table.add_row(name, entry.get("size", ""), f"{k} {k2}", f"{v2:.4g}")
            elif not isinstance(v, str):
                table.add_row(name, entry.get("size", ""), k, f"{v:.4g}")
    if table.row_count:
        yield table


def main(args: Args) -> None:
    """Measure, print and write."""
    record = measure(args)
    console = Console()
    console.print(f"{record['date']}, {record['processor']}, threads: {record['threads']}")
    for table in _tables(record):
        console.print(table)
    if args.output is not None:
        write_json(args.output, record)
        console.print(f"wrote {args.output}")


if __name__ == "__main__":
    main(tyro.cli(Args))
