"""`.splat4d`: bytes of .splat files with key frames and deltas, packed by the program of `splats4d`.

It holds base colours alone; places keep within a bound that the program checks.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sysconfig
import tempfile
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from dyn3d_ns.export.keys import extent_of
from dyn3d_ns.export.written import Written, frame_rate, new_file, require_space
from dyn3d_ns.io.errors import CommandError
from dyn3d_ns.io.ply import SH_C0
from dyn3d_ns.io.splats import Splats, SplatSequence

SUFFIXES = (".splat4d",)
PROGRAM = "splat4d"
COLOR_LEVELS = 2
"""Largest error of colours and opacities, of 255."""
SCALE_PERCENT = 1.0


def splat_rows(splats: Splats) -> UInt8[np.ndarray, "N 32"]:
    """Return an instant as rows of a .splat file: places and sizes in floats, colour and orientation in
    bytes."""
    rows = np.empty(len(splats), [("floats", "<f4", 6), ("color", "u1", 4), ("quat", "u1", 4)])
    rows["floats"][:, :3], rows["floats"][:, 3:] = splats.means, splats.scales
    color = np.concatenate([0.5 + SH_C0 * splats.sh[:, 0], splats.opacities[:, None]], axis=1)
    rows["color"] = np.clip(np.rint(255 * color), 0, 255)
    rows["quat"] = np.clip(np.rint(splats.quats * 128 + 128), 0, 255)
    return rows.view(np.uint8).reshape(len(splats), 32)


def find_program() -> str:
    """Return the path of the program that packs the format.

    Raises:
        CommandError: it is not installed.
    """
    found = shutil.which(PROGRAM, path=sysconfig.get_path("scripts")) or shutil.which(PROGRAM)
    if found is None:
        raise CommandError(
            "The format .splat4d needs an extra: pip install 'dyn3d-ns[splat4d]' (no program splat4d)"
        )
    return found


def write_splat4d(sequence: SplatSequence, path: Path, max_error: float | None = None) -> Written:
    """Write a scene as `.splat4d`.

    Args:
        sequence: Gaussians over time.
        path: File to write.
        max_error: Largest error of places along each axis, units; a thousandth of the extent if None.

    Raises:
        CommandError: the program is missing or fails, or the disk is full.
    """
    program, count = find_program(), len(sequence.seconds)
    first = sequence.at(0)
    bound = max_error or extent_of(first.means) / 1000
    require_space(Path(tempfile.gettempdir()), 32 * len(first) * count)
    with tempfile.TemporaryDirectory() as folder:
        frames = []
        for index in range(count):
            splats = sequence.at(index) if index else first
            name = f"frame_{index:05d}.splat"
            Path(folder, name).write_bytes(splat_rows(splats).tobytes())
            frames.append({"file": name, "timestamp": sequence.seconds[index] - sequence.seconds[0]})
        listed = {"fps": frame_rate(sequence), "frames": frames}
        Path(folder, "frames.json").write_text(json.dumps(listed))
        with new_file(path) as temporary:
            # Its millimetres are thousandths of a unit.
            run = subprocess.run(
                [program, "encode", "-i", folder, "-o", str(temporary), "--pos-mm", f"{1000 * bound:.6g}",
                 "--color-levels", str(COLOR_LEVELS), "--scale-pct", f"{SCALE_PERCENT:g}"],
                capture_output=True, text=True, check=False,
            )  # fmt: skip
            if run.returncode or not temporary.is_file():
                said = [line for line in (run.stderr or run.stdout).splitlines() if line.strip()]
                # What was wrong stands before a list of calls.
                error = next((line for line in said if line.startswith("Error")), "".join(said[-1:]))
                fine = ": give a larger --max-error" if "bounds" in error else ""
                raise CommandError(f"splat4d could not pack {path}: {error or run.returncode}{fine}")
    loss = (
        f"places within {bound:.3g} units, colours within {COLOR_LEVELS} of 255, sizes within "
        f"{SCALE_PERCENT:g} %, orientations in bytes"
    )
    if first.degree:
        tint = np.abs(SH_C0 * first.opacities[:, None] * np.linalg.norm(first.sh[:, 1:], axis=1))
        loss += f"; no view-dependent colour ({np.percentile(tint, 99):.2g} of 1 in all but a hundredth)"
    return Written(path, path.stat().st_size, loss)
