"""Errors and CPU seconds of the cameras that are found from the tracks of processed clips.

Process them up to the masks first: `dyn3d process VIDEO CLIP --stages frames,flow,keyframes,tracks,masks`.
True cameras, where there are any, are given as an LLFF file: `CLIP=poses_bounds.npy`.
"""

from __future__ import annotations

import time
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import tyro
from jaxtyping import Float64
from rich.console import Console
from rich.table import Table

from dyn3d_ns.geometry.cameras import focals
from dyn3d_ns.io.clip.types import Cameras, SparsePoints
from dyn3d_ns.io.clip.workspace import Workspace
from dyn3d_ns.metrics.trajectory import focal_error_percent, trajectory_errors
from dyn3d_ns.video.cameras.estimators import AutoCameras, ColmapCameras, TrackCameras

ESTIMATORS = {"tracks": TrackCameras, "auto": AutoCameras, "colmap": ColmapCameras}


@dataclass
class Args:
    """What to measure."""

    clips: Annotated[tuple[str, ...], tyro.conf.Positional]
    """processed clips, CLIP or CLIP=poses_bounds.npy"""
    methods: tuple[str, ...] = ("tracks",)
    """tracks, auto, colmap"""
    repeat: bool = False
    """run each twice and say whether both gave the same"""


class NotesOnly:
    """Prints notes and shows no bars."""

    def progress(self, total: int, text: str) -> Any:
        """Show nothing."""
        return nullcontext(lambda: None)

    def track(self, items: Any, text: str, total: int | None = None) -> Any:
        """Return the items."""
        return items

    def note(self, text: str) -> None:
        """Print it."""
        print(f"  {text}")


def main(args: Args) -> None:
    """Find the cameras of each clip with each method and print a table."""
    table = Table("clip", "method", "frames", "ATE, % of path", "focal px", "error %", "points", "CPU s")
    if args.repeat:
        table.add_column("same twice")
    for clip in args.clips:
        folder, _, truth = clip.partition("=")
        for method in args.methods:
            print(f"{folder}, {method}")
            cameras, points, seconds = measure(Path(folder), method)
            row = [Path(folder).name, method, f"{cameras.registered.sum()} of {len(cameras.Ks)}"]
            row += errors(cameras, Path(truth) if truth else None)
            row += [str(len(points.xyz)), f"{seconds:.1f}"]
            if args.repeat:
                again, _, _ = measure(Path(folder), method)
                row.append(str(np.array_equal(again.camera_to_worlds, cameras.camera_to_worlds)))
            table.add_row(*row)
    Console().print(table)


def measure(folder: Path, method: str) -> tuple[Cameras, SparsePoints, float]:
    """Return cameras, points and the CPU seconds (user and system) that they took."""
    start = time.process_time()
    cameras, points = ESTIMATORS[method]()(Workspace(folder), NotesOnly())
    return cameras, points, time.process_time() - start


def errors(cameras: Cameras, truth: Path | None) -> list[str]:
    """Return ATE, focal length and its error as text; a dash where the truth is not known."""
    focal = f"{focals(cameras.Ks)[0, 0, 0]:.1f}"
    if truth is None:
        return ["-", focal, "-"]
    Ks, poses = read_llff(truth)
    path = trajectory_errors(torch.from_numpy(cameras.camera_to_worlds), torch.from_numpy(poses))
    wrong = focal_error_percent(torch.from_numpy(cameras.Ks), torch.from_numpy(Ks))
    return [f"{path['ate_percent']:.3f}", focal, f"{wrong:.2f}"]


def read_llff(path: Path) -> tuple[Float64[np.ndarray, "F 3 3"], Float64[np.ndarray, "F 4 4"]]:
    """Read intrinsics and camera-to-world poses; LLFF has [down, right, backwards | position | H, W, f]."""
    rows = np.load(path)[:, :15].reshape(-1, 3, 5)
    poses = np.tile(np.eye(4), (len(rows), 1, 1))
    poses[:, :3] = np.stack((rows[..., 1], rows[..., 0], -rows[..., 2], rows[..., 3]), axis=2)
    scale = np.stack((rows[:, 2, 4], rows[:, 2, 4], np.ones(len(rows))), axis=1)
    return np.eye(3) * scale[:, None], poses


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(tyro.cli(Args, description=__doc__))
