"""Compare the speed of two checkouts, in turn on one machine: ratios of the second to the first.

    git worktree add ../before b3379ac  # with a .venv of its own, or --python for both
    python scripts/benchmarks/compare_checkouts.py ../before . --parts raster step

Each checkout runs in a process of its own, and the two are asked in turn, so that a change of the machine's
speed meets both. CPU seconds are those of all threads of the process.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import tyro
from rich.console import Console
from rich.table import Table

Part = Literal["raster", "step", "reach", "training"]
FAN_AND_BALL = Path(__file__).parents[1] / "scenes" / "fan-and-ball"
RASTERS = ((5_000, 200, 1, 40), (5_000, 200, 2, 40), (100_000, 800, 1, 3), (100_000, 800, 2, 3))
"""Gaussians, pixels a side, threads that rasterise, and calls a turn."""
EVERY = 1000
"""Steps between two evaluations on the way to a PSNR."""


@dataclass
class Args:
    """What to compare."""

    before: Annotated[Path, tyro.conf.Positional]
    """checkout that the ratios are to"""
    after: Annotated[Path, tyro.conf.Positional]
    """the other checkout"""
    parts: tuple[Part, ...] = get_args(Part)
    """forward and backward of the rasteriser, a training step, CPU seconds to a PSNR, a whole training"""
    data: Path = FAN_AND_BALL
    """scene to train on"""
    method: str = "dyn3d-velocity-fast"
    """method to train"""
    psnr: float = 33.0
    """PSNR of the held-out views at observed times that is to be reached, dB"""
    rounds: int = 9
    """turns of rasteriser and step; their medians are compared"""
    steps: int = 40
    """training steps a turn"""
    python: Path | None = None
    """interpreter for both; default: that of each checkout's .venv"""


class Side:
    """The process of one checkout."""

    def __init__(self, checkout: Path, python: Path | None):
        self._checkout, self._python = checkout.resolve(), python
        self._process: subprocess.Popen[str] | None = None

    def _start(self) -> subprocess.Popen[str]:
        python = self._python or self._checkout / ".venv" / "bin" / "python"
        environment = {**os.environ, "PYTHONPATH": str(self._checkout)}
        self._said = tempfile.TemporaryFile("w+")  # noqa: SIM115 (kept as long as the process)
        return subprocess.Popen(
            [str(python), str(Path(__file__).with_name("checkout_side.py"))],
            cwd=self._checkout, env=environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._said,
        )  # fmt: skip

    def ask(self, *call: Any) -> dict[str, float]:
        """Have a function of `checkout_side.py` called."""
        self._process = self._process or self._start()
        assert self._process.stdin is not None and self._process.stdout is not None
        print(json.dumps(call), file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        if not answer:
            self._process.wait()
            self._said.seek(0)
            raise SystemExit(f"{call[0]} failed in {self._checkout}:\n{self._said.read()[-2000:]}")
        return json.loads(answer)

    def end(self) -> None:
        """End the process."""
        if self._process is not None:
            assert self._process.stdin is not None
            self._process.stdin.close()
            self._process.wait()
            self._process = None


def in_turn(sides: list[Side], rounds: int, *call: Any) -> list[dict[str, float]]:
    """Return the medians of each side over the rounds."""
    answers = [[side.ask(*call) for side in sides] for _ in range(rounds)]
    return [
        {name: statistics.median(answer[name] for answer in column) for name in column[0]}
        for column in zip(*answers, strict=True)
    ]


def measure(args: Args, sides: list[Side]) -> Iterator[tuple[str, str, float, float]]:
    """Yield what was measured, its unit, and the value of either side."""
    scene = (str(args.data.resolve()), args.method)
    for n, pixels, threads, repeats in RASTERS if "raster" in args.parts else ():
        a, b = in_turn(sides, args.rounds, "raster", n, pixels, threads, repeats)
        name = f"forward + backward {n // 1000}k/{pixels}, {threads} thread{'s' * (threads > 1)}"
        yield f"{name}, CPU", "ms", 1e3 * a["cpu"], 1e3 * b["cpu"]
        yield f"{name}, wall", "ms", 1e3 * a["wall"], 1e3 * b["wall"]
    if "step" in args.parts:
        a, b = in_turn(sides, args.rounds, "step", *scene, args.steps)
        yield "training step, CPU", "ms", 1e3 * a["cpu"], 1e3 * b["cpu"]
        yield "training step, wall", "ms", 1e3 * a["wall"], 1e3 * b["wall"]
    for side in sides:  # whole trainings begin in fresh processes
        side.end()
    if "reach" in args.parts:
        a, b = in_turn(sides, 1, "reach", *scene, args.psnr, EVERY)
        yield f"training to {args.psnr:g} dB, CPU", "s", a["cpu"], b["cpu"]
        for side in sides:
            side.end()
    if "training" in args.parts:
        a, b = in_turn(sides, 1, "training", *scene)
        yield "whole training, CPU", "s", a["cpu"], b["cpu"]
        yield "whole training, interpolation", "dB", a["psnr"], b["psnr"]


def main(args: Args) -> None:
    """Print the table and one line of JSON."""
    sides = [Side(args.before, args.python), Side(args.after, args.python)]
    table, record = Table("what", "unit", "before", "after", "ratio"), {}
    try:
        for name, unit, before, after in measure(args, sides):
            table.add_row(name, unit, f"{before:.2f}", f"{after:.2f}", f"{after / before:.2f}")
            record[name] = {"unit": unit, "before": before, "after": after}
    finally:
        for side in sides:
            side.end()
    Console().print(table)
    print(json.dumps(record))


if __name__ == "__main__":
    main(tyro.cli(Args))
