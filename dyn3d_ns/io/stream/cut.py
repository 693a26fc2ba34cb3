"""Cut a range of frames out of a stream."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

from dyn3d_ns.io.atomic import atomic_folder
from dyn3d_ns.io.errors import UserError
from dyn3d_ns.io.stream.decoders import StreamDecoder
from dyn3d_ns.io.stream.header import HEADER_NAME, StreamHeader
from dyn3d_ns.io.stream.player import StreamPlayer
from dyn3d_ns.io.stream.reader import StreamReader
from dyn3d_ns.io.stream.writer import StreamError, StreamWriter


def cut_stream(
    reader: StreamReader, decoder: StreamDecoder[Any], first: int, last: int, output: Path
) -> Generator[int, None, None]:
    """Write the frames ``first`` to ``last`` as a stream of its own, and yield each once it is written.

    The state of ``first`` becomes frame 0; deltas stay as they are, keyframes stay where they were and are
    computed anew. Times of frames stay. ``output`` appears with the last frame, whole; where the cut fails or
    is stopped, nothing of it is left.

    Raises:
        UserError: the frames are not all there, or ``output`` is not empty or cannot be written to.
        DamagedFileError: a frame up to ``last`` is damaged.
    """
    _require_frames(reader, first, last)
    _require_empty(output)
    try:
        with atomic_folder(output) as part:
            yield from _frames(reader, decoder, first, last, part)
    except StreamError as error:
        reason = error.__cause__.strerror if isinstance(error.__cause__, OSError) else str(error)
        raise UserError(f"cannot write the cut to {output}: {reason}; nothing of it is kept") from error
    except OSError as error:
        raise UserError(
            f"cannot write the cut to {output}: {error.strerror}; choose another --output"
        ) from error


def _frames(
    reader: StreamReader, decoder: StreamDecoder[Any], first: int, last: int, output: Path
) -> Iterator[int]:
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
        # Also between keyframes: a delta that cannot be applied must not be handed on.
        state = player.seek(frame)
        key = decoder.to_key(initial, state) if frame in keyframes else None
        writer.write_frame(frame - first, reader.delta(frame), key)
        yield frame


def _require_frames(reader: StreamReader, first: int, last: int) -> None:
    if first > last:
        raise UserError(f"the first frame must not come after the last, got {first} {last}")
    count = reader.num_frames()
    if not 0 <= first <= last < count:
        there = f"it has frames 0 to {count - 1}" if count else "it has no frame"
        gap = reader.gap()
        raise UserError(
            f"frames {first} to {last} cannot be cut out of {reader.folder}: {there}"
            + (f"; {gap}" if gap else "")
        )


def _require_empty(output: Path) -> None:
    if output.is_dir() and not any(output.iterdir()):
        return
    if (output / HEADER_NAME).exists():
        raise UserError(f"{output} holds a stream already: choose another --output")
    if output.exists():
        raise UserError(f"{output} is there already and not an empty folder: choose another --output")
