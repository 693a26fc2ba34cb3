"""Peak memory of streaming a recording and of the same recording repeated, side by side.

python scripts/benchmarks/stream_memory.py SCENE [--frames 300] [--method dyn3d-stream-splat-fast]
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from PIL import Image

from dyn3d_ns.geometry.cameras import focals
from dyn3d_ns.io.recordings.opening import open_recording

STEPS = (
    "--pipeline.model.stream.first-steps=200",
    "--pipeline.model.motion-steps=6",
    "--pipeline.model.residual-steps=6",
)
"""Memory does not depend on the number of steps."""


def write_frames(scene: Path, folder: Path) -> int:
    """Decode a recording into images, one folder a camera; return its frames."""
    recording = open_recording(scene)
    rows = []
    for camera in recording.cameras:
        target = folder / camera.name / "images"
        target.mkdir(parents=True)
        for number, decode in enumerate(camera.frames.frames_from(0)):
            Image.fromarray(decode()).save(target / f"{number:04d}.png", compress_level=1)
        right, up, back, position = camera.calibration.pose[:3].T
        width, height = recording.size
        hwf = np.array([height, width, focals(camera.calibration.K)[0, 0]])
        near_far = camera.calibration.near_far or (0.1, 100.0)
        rows.append([*np.stack([-up, right, back, position, hwf], axis=1).ravel(), *near_far])
    np.save(folder / "poses_bounds.npy", np.array(rows))
    return recording.num_frames


def repeat(folder: Path, target: Path, count: int, frames: int) -> None:
    """Link the frames of a recording to one that is longer."""
    for images in sorted(folder.glob("*/images")):
        there = target / images.relative_to(folder)
        there.mkdir(parents=True)
        for number in range(frames):
            os.link(images / f"{number % count:04d}.png", there / f"{number:04d}.png")
    (target / "poses_bounds.npy").write_bytes((folder / "poses_bounds.npy").read_bytes())


def peak_megabytes(scene: Path, method: str, output: Path) -> float:
    """Stream a recording in a process of its own and return its largest memory."""
    command = ["ns-train", method, "--data", str(scene), "--output-dir", str(output), "--vis", "tensorboard"]
    code = (
        "import resource, subprocess, sys; "
        "subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL); "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    found = subprocess.run(
        [sys.executable, "-c", code, *command, *STEPS], check=True, capture_output=True, text=True
    )
    return int(found.stdout.split()[-1]) / 1024


def main(
    scene: Annotated[Path, tyro.conf.Positional],
    /,
    frames: int = 300,
    method: str = "dyn3d-stream-splat-fast",
) -> None:
    """Print both figures and their ratio.

    Args:
        scene: A recording that n3dv-data reads.
        frames: Length of the recording repeated.
        method: Preset to train.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        count = write_frames(scene, folder / "once")
        repeat(folder / "once", folder / "repeated", count, frames)
        once = peak_megabytes(folder / "once", method, folder / "out")
        print(f"{count} frames: {once:.0f} MB", flush=True)
        repeated = peak_megabytes(folder / "repeated", method, folder / "out")
        print(f"{frames} frames: {repeated:.0f} MB, {repeated / once:.3f} times")


if __name__ == "__main__":
    tyro.cli(main)
