"""CPU seconds of each stage of `dyn3d process` in two installations, turn by turn, and what came out.

Each stage is a command of its own in one installation, then in the other, so that a machine that is busy is
so for both; all run on one thread whose libraries do not spin. Give the two `dyn3d` commands, e.g. of the
environments of two checkouts:

    python scripts/benchmarks/process.py OLD/.venv/bin/dyn3d NEW/.venv/bin/dyn3d video.mp4 --max-frames 24
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console
from rich.table import Table

from dyn3d_ns.io.clip.paths import STAGES

ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "passive",
    "GOMP_SPINCOUNT": "0",
    "OPENBLAS_NUM_THREADS": "1",
    "DYN3D_NUM_THREADS": "1",
}
ERRORS = {
    "ATE, % of path": "pose_ate_percent",
    "focal length, %": "pose_focal_error_percent",
    "flow EPE, not occluded, px": "flow_not_occluded_epe",
    "J": "masks_j_mean",
    "F": "masks_f_mean",
    "stable ids": "masks_id_stability",
    "depth Abs Rel, static": "depth_scale_static_abs_rel",
    "depth Abs Rel, moving": "depth_scale_moving_abs_rel",
    "depth Abs Rel, all": "depth_scale_all_pixels_abs_rel",
}


@dataclass
class Args:
    """What to measure."""

    before: Annotated[Path, tyro.conf.Positional]
    """the command `dyn3d` of one installation"""
    after: Annotated[Path, tyro.conf.Positional]
    """that of the other"""
    source: Annotated[Path, tyro.conf.Positional]
    """video or folder of images"""
    max_frames: int | None = None
    """of its beginning; all frames without"""
    truth: Path | None = None
    """ground truth in Sintel's layout, to compare both results with"""
    keep: Path | None = None
    """folder in which the two results stay, as before/ and after/"""


def main(args: Args) -> None:
    """Process the clip with both and print two tables."""
    with tempfile.TemporaryDirectory() as folder:
        root = args.keep or Path(folder)
        commands = {"before": args.before.absolute(), "after": args.after.absolute()}
        seconds: dict[str, dict[str, float]] = {name: {} for name in commands}
        starts: dict[str, list[float]] = {name: [] for name in commands}
        for stage in STAGES:
            for name, command in commands.items():
                spent, whole = run_stage(command, args, root / name, stage)
                seconds[name][stage] = spent
                starts[name].append(whole - spent)
            print(
                f"{stage}: {seconds['before'][stage]:.1f} s and {seconds['after'][stage]:.1f} s", flush=True
            )
        for name, measured in seconds.items():
            measured["start and end"] = statistics.median(starts[name])
        count = len(list((root / "after" / "rgb").iterdir()))
        show_seconds(seconds["before"], seconds["after"], count)
        if args.truth is not None:
            # One yardstick for both.
            show_errors(*(errors(commands["after"], root / name, args.truth) for name in commands))


def run_stage(command: Path, args: Args, out: Path, stage: str) -> tuple[float, float]:
    """Run one stage; return the CPU seconds (user and system) that it states, and those of the command."""
    line = [str(command), "process", str(args.source), str(out), "--stages", stage]
    line += ["--max-frames", str(args.max_frames)] if args.max_frames is not None else []
    earlier = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(line, check=False, capture_output=True, text=True, env={**os.environ, **ONE_THREAD})
    if done.returncode:
        raise SystemExit(f"{' '.join(line)} ended with status {done.returncode}:\n{done.stdout}{done.stderr}")
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    whole = used.ru_utime + used.ru_stime - earlier.ru_utime - earlier.ru_stime
    return json.loads((out / "manifest.json").read_text())["stages"][stage]["cpu_seconds"], whole


def show_seconds(before: dict[str, float], after: dict[str, float], count: int) -> None:
    """Print CPU seconds a frame of every stage, and the ratio."""
    table = Table("stage", "before, CPU s a frame", "after", "ratio", title=f"{count} frames")
    rows = [(stage, old, after[stage]) for stage, old in before.items()]
    for stage, old, new in [*rows, ("all", sum(before.values()), sum(after.values()))]:
        table.add_row(stage, f"{old / count:.3f}", f"{new / count:.3f}", f"{new / old:.2f}")
    Console().print(table)


def errors(command: Path, clip: Path, truth: Path) -> dict[str, Any]:
    """Return what `dyn3d eval-video` says of a clip."""
    path = clip / "errors.json"
    line = [str(command), "eval-video", str(clip), "--gt", str(truth), "--output", str(path)]
    subprocess.run(line, check=True, stdout=subprocess.DEVNULL)
    return json.loads(path.read_text())["results"]


def show_errors(before: dict[str, Any], after: dict[str, Any]) -> None:
    """Print the errors of both."""
    table = Table("against ground truth", "before", "after", "change, %")
    for name, key in ERRORS.items():
        old, new = before[key], after[key]
        table.add_row(name, f"{old:.4f}", f"{new:.4f}", f"{100 * (new / old - 1):+.1f}")
    Console().print(table)


if __name__ == "__main__":
    main(tyro.cli(Args, description=__doc__))
