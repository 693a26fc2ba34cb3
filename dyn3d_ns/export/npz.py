"""Trajectories of all Gaussians as arrays in an .npz file, which NumPy reads without pickles."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from dyn3d_ns.export.written import Written, require_space
from dyn3d_ns.geometry.world import far_from_origin
from dyn3d_ns.io.npz import write_blocks
from dyn3d_ns.io.splats import SplatSequence

WIDTHS = {"means": 3, "velocities": 3, "quats": 4}


def write_trajectories(sequence: SplatSequence, path: Path, duration: float) -> Written:
    """Write times, means, velocities, orientations and the mask of what moves.

    Centres are float64 where they lie too far from the origin for float32. Only one time is in memory at
    once.

    Args:
        sequence: Gaussians over time.
        path: File to write.
        duration: Seconds of one unit of normalised time, in which the file counts.

    Raises:
        CommandError: the disk is full.
    """
    first, count = sequence.at(0), len(sequence.seconds)
    far = first.means.dtype == np.float64 and far_from_origin(first.means)
    kinds = {name: np.dtype("<f8" if far and name == "means" else "<f4") for name in WIDTHS}
    size = sum(count * len(first) * width * kinds[name].itemsize for name, width in WIDTHS.items())
    require_space(path.parent, 2 * size)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        # An archive takes one array after the other, and every time gives a piece of each.
        pieces = {name: Path(folder, name) for name in WIDTHS}
        files = {name: piece.open("wb") for name, piece in pieces.items()}
        try:
            for index in range(count):
                splats = sequence.at(index) if index else first
                velocities = splats.velocities
                still = np.zeros((len(first), 3), np.float32)
                for name, values in (
                    ("means", splats.means),
                    ("velocities", still if velocities is None else velocities * np.float32(duration)),
                    ("quats", splats.quats),
                ):
                    files[name].write(np.ascontiguousarray(values, kinds[name]).data)
        finally:
            for file in files.values():
                file.close()

        def blocks(name: str) -> Iterator[np.ndarray]:
            with pieces[name].open("rb") as file:
                for _ in range(count):
                    yield np.fromfile(file, kinds[name], len(first) * WIDTHS[name])

        def members() -> Iterator[tuple[str, np.dtype, tuple[int, ...], Iterable[np.ndarray]]]:
            times = np.asarray(sequence.seconds, np.float64) / duration
            yield "times", np.dtype("<f4"), (count,), [times]
            yield "dynamic", np.dtype(bool), (len(first),), [sequence.moving]
            for name, width in WIDTHS.items():
                yield name, kinds[name], (count, len(first), width), blocks(name)

        write_blocks(path, members())
    return Written(path, path.stat().st_size, "exact; without sizes, opacities and colours")
