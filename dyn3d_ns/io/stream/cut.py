"""Cut a range of frames out of a stream."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dyn3d_ns.io.errors import UserError
from dyn3d_ns.io.stream.decoders import StreamDecoder
from dyn3d_ns.io.stream.header import StreamHeader
from dyn3d_ns.io.stream.player import StreamPlayer
from dyn3d_ns.io.stream.reader import StreamReader
from dyn3d_ns.io.stream.writer import StreamWriter


def cut_stream(
    reader: StreamReader, decoder: StreamDecoder[Any], first: int, last: int, output: Path
) -> Iterator[int]:
    """Write the frames ``first`` to ``last`` as a stream of its own, and yield each once it is written.

    The state of ``first`` becomes frame 0; deltas stay as they are, keyframes stay where they were and are
    computed anew. Times of frames stay.

    Raises:
        UserError: the frames are not all there, or ``output`` holds a stream already or cannot be written to.
        DamagedFileError: a frame up to ``last`` is damaged.
    """
    count = reader.num_frames()
    if not 0 <= first <= last < count:
        raise UserError(
            f"frames {first} to {last} cannot be cut out of {reader.folder}: it has frames 0 to {count - 1}"
        )
    header = reader.header
    player = StreamPlayer(reader, decoder)
    keyframes = set(reader.keyframes())
    initial_planes = decoder.to_init(player.seek(first))
    times = header.frame_times[first : last + 1]
    writer = StreamWriter.create(output, StreamHeader(header.kind, header.fps, times, header.decoder))
    writer.write_init(initial_planes)
    initial = decoder.start(initial_planes)
    yield first
    for frame in range(first + 1, last + 1):
        key = decoder.to_key(initial, player.seek(frame)) if frame in keyframes else None
        writer.write_frame(frame - first, reader.delta(frame), key)
        yield frame
