"""A stream of rows of integers that move and are added, with a decoder that counts what it does."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from dyn3d_ns.io.errors import DamagedFileError
from dyn3d_ns.io.stream.header import StreamHeader
from dyn3d_ns.io.stream.writer import StreamWriter

Planes = Mapping[str, np.ndarray]


class ToyDecoder:
    """Rows [N, 2]; a delta moves some and appends some; a key stores all as differences to frame 0's."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def start(self, planes: Planes) -> np.ndarray:
        self.calls.append("start")
        return frozen(planes["rows"])

    def advance(self, state: np.ndarray, planes: Planes) -> np.ndarray:
        self.calls.append("advance")
        if len(planes["movers"]) != len(state):
            raise DamagedFileError(f"a mask of {len(planes['movers'])} for {len(state)} rows")
        moved = state.copy()
        moved[planes["movers"]] += planes["steps"]
        return frozen(np.concatenate([moved, planes["new"]]))

    def jump(self, initial: np.ndarray, planes: Planes) -> np.ndarray:
        self.calls.append("jump")
        rows = planes["rows"].copy()
        rows[: len(initial)] += initial
        return frozen(rows)

    def size(self, state: np.ndarray) -> int:
        return state.nbytes

    def to_init(self, state: np.ndarray) -> Planes:
        return {"rows": state}

    def to_key(self, initial: np.ndarray, state: np.ndarray) -> Planes:
        rows = state.copy()
        rows[: len(initial)] -= initial
        return {"rows": rows}


def frozen(state: np.ndarray) -> np.ndarray:
    """Return a state that cannot be changed, as a player's users must not."""
    state.flags.writeable = False
    return state


def write_toy(folder: Path, frames: int = 23, every: int = 5, seed: int = 0) -> list[np.ndarray]:
    """Write a stream with a key every so many frames (0: none) and return the true states."""
    made, states = _make_toy(frames, every, seed)
    shutil.copytree(Path(made.name) / "s", folder)
    return states


@lru_cache
def _make_toy(frames: int, every: int, seed: int) -> tuple[TemporaryDirectory[str], list[np.ndarray]]:
    """Write a stream once for all tests: each part is flushed to the disk, which takes its time."""
    made = TemporaryDirectory()
    folder = Path(made.name) / "s"
    random, toy = np.random.default_rng(seed), ToyDecoder()
    times = tuple(np.linspace(0, 1, frames).tolist())
    writer = StreamWriter.create(folder, StreamHeader("toy", 25.0, times, {"columns": 2}))
    states = [frozen(random.integers(-1000, 1000, (40, 2)).astype(np.int32))]
    writer.write_init(toy.to_init(states[0]))
    for frame in range(1, frames):
        movers = random.random(len(states[-1])) < 0.3
        steps = random.integers(-2, 3, (int(movers.sum()), 2)).astype(np.int8)
        delta = {"movers": movers, "steps": steps, "new": random.integers(-9, 9, (1, 2)).astype(np.int32)}
        states.append(toy.advance(states[-1], delta))
        key = toy.to_key(states[0], states[-1]) if every and frame % every == 0 else None
        writer.write_frame(frame, delta, key)
    return made, states
