"""Seconds to seek in a stream of Gaussians, and frames a second of decoding it in order.

    python scripts/benchmarks/stream_seek.py STREAM_OR_RUN

A cold seek decodes the nearest keyframe and the deltas after it, with a new player each time; frame 0, which
a player decodes once and keeps, is left out of its time and printed apart. Scrubbing goes backwards through
all frames with one player. All figures are of processor time.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from dyn3d_ns.io.stream.decoders import decoder_of
from dyn3d_ns.io.stream.header import find_stream
from dyn3d_ns.io.stream.player import StreamPlayer
from dyn3d_ns.io.stream.reader import StreamReader


def seconds(call, *arguments) -> float:
    """Return the processor time of a call."""
    start = time.process_time()
    call(*arguments)
    return time.process_time() - start


def main(stream: Annotated[Path, tyro.conf.Positional], /, seeks: int = 30, seed: int = 0) -> None:
    """Print the figures of a stream.

    Args:
        stream: Folder of a stream, or the folder or config.yml of a training that wrote one.
        seeks: Random frames to seek.
        seed: Which ones.
    """
    reader = StreamReader(find_stream(stream))
    count, keys = reader.num_frames(), [0, *reader.keyframes()]

    def fresh() -> StreamPlayer:
        player = StreamPlayer(reader, decoder_of(reader.header))
        first.append(seconds(player.seek, 0))
        return player

    def row(name: str, taken: list[float]) -> None:
        print(f"{name:34} {min(taken):7.3f} {np.median(taken):7.3f} {max(taken):7.3f}")

    first: list[float] = []
    frames = np.random.default_rng(seed).integers(1, count, seeks).tolist()
    cold = [seconds(fresh().seek, frame) for frame in frames]
    # The frame that the most deltas lead to.
    worst = max(range(count), key=lambda frame: frame - max(key for key in keys if key <= frame))
    player = fresh()
    in_order = [seconds(player.seek, frame) for frame in range(1, count)]
    player = fresh()
    backwards = [seconds(player.seek, frame) for frame in reversed(range(count))]
    print(f"{reader.folder}: {count} frames, keys {keys[1:]}, {len(player.seek(0))} Gaussians")
    print(f"{'seconds':34} {'min':>7} {'median':>7} {'max':>7}")
    row("frame 0", first)
    row(f"seek, cold ({seeks} random frames)", cold)
    row(f"seek, cold, to frame {worst}", [seconds(fresh().seek, worst) for _ in range(3)])
    row("scrub backwards, one player", backwards)
    print(f"decoding in order: {len(in_order) / sum(in_order):.1f} frames a second")


if __name__ == "__main__":
    tyro.cli(main)
