"""Read a stream, also one that is still being written."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dyn3d_ns.io.errors import DamagedFileError, MissingFileError
from dyn3d_ns.io.stream.codec import DEFAULT_MAX_ELEMENTS, decode_planes
from dyn3d_ns.io.stream.header import HEADER_NAME, StreamHeader, read_header
from dyn3d_ns.io.stream.parts import HEAD_BYTES, Part, list_parts, unpack_part, whole_frames

_SPARE = 1 << 20


@dataclass(frozen=True)
class StreamSizes:
    """Bytes of a stream's parts on disk, headers included."""

    init: int
    """Frame 0."""
    deltas: tuple[int, ...]
    """Frames 1, 2 …"""
    keys: dict[int, int]
    """Keyframes, beside their deltas."""

    @property
    def total(self) -> int:
        """All parts together."""
        return self.init + sum(self.deltas) + sum(self.keys.values())

    @property
    def per_frame(self) -> float:
        """Bytes a frame, frame 0 and keyframes included."""
        return self.total / (1 + len(self.deltas))

    @property
    def per_later_frame(self) -> float:
        """Bytes a frame of those after frame 0, keyframes included; NaN if there are none."""
        return (self.total - self.init) / len(self.deltas) if self.deltas else math.nan


class StreamReader:
    """Read a stream's header and parts; nothing of a stream is ever executed or unpickled.

    Raises:
        MissingFileError: the folder holds no stream.
        DamagedFileError: its header is damaged, or of a newer version.
    """

    def __init__(self, folder: Path, max_elements: int = DEFAULT_MAX_ELEMENTS) -> None:
        self.folder = folder
        self.max_elements = max_elements
        """Elements of all planes of a part above which it is refused."""
        self._header = read_header(folder)
        self._header_state = self._state(HEADER_NAME)

    @property
    def header(self) -> StreamHeader:
        """What all frames have in common; read anew where the writer changed it."""
        state = self._state(HEADER_NAME)
        if state != self._header_state:
            self._header, self._header_state = read_header(self.folder), state
        return self._header

    def num_frames(self) -> int:
        """Return how many whole frames are there now; a training may be adding to them."""
        return whole_frames(list_parts(self.folder))

    def keyframes(self) -> list[int]:
        """Return the whole frames with a key, in order."""
        parts = list_parts(self.folder)
        count = whole_frames(parts)
        return sorted(frame for part, frame in parts if part is Part.KEY and frame < count)

    def gap(self) -> str | None:
        """Say which part is missing in front of others that are there; None if none is."""
        parts = list_parts(self.folder)
        count = whole_frames(parts)
        late = [frame for _, frame in parts if frame > count]
        if not late:
            return None
        missing = (Part.DELTA if count else Part.INIT).name_of(count)
        things = "1 later part" if len(late) == 1 else f"{len(late)} later parts"
        frames = f"of frames {min(late)} to {max(late)}" if min(late) < max(late) else f"of frame {late[0]}"
        return f"{missing} is not there: {things} ({frames}) cannot be played without it"

    def cut_short(self) -> list[str]:
        """Return the names of parts of whole frames that are empty or end in their header; opens none."""
        parts = list_parts(self.folder)
        count = whole_frames(parts)
        names = sorted(part.name_of(frame) for part, frame in parts if frame < count)
        return [name for name in names if (self.folder / name).stat().st_size <= HEAD_BYTES]

    def sizes(self) -> StreamSizes:
        """Return the bytes of every part of the whole frames.

        Raises:
            MissingFileError: not even frame 0 is there.
        """
        count = self.num_frames()
        if not count:
            raise self._missing(Part.INIT, 0)
        return StreamSizes(
            self._size(Part.INIT, 0),
            tuple(self._size(Part.DELTA, frame) for frame in range(1, count)),
            {frame: self._size(Part.KEY, frame) for frame in self.keyframes()},
        )

    def init(self) -> dict[str, np.ndarray]:
        """Return the planes of frame 0's state; raises as :meth:`delta` does."""
        return self._read(Part.INIT, 0)

    def delta(self, frame: int) -> dict[str, np.ndarray]:
        """Return the planes that turn the state of the frame before into that of a frame from 1 on.

        Raises:
            MissingFileError: the frame is not there (yet).
            DamagedFileError: the file is damaged; the message names it, and says what still plays.
        """
        return self._read(Part.DELTA, frame)

    def key(self, frame: int) -> dict[str, np.ndarray]:
        """Return the planes that turn frame 0's state into a keyframe's; raises as :meth:`delta` does."""
        return self._read(Part.KEY, frame)

    def stamp(self, frame: int) -> tuple[int, int, int]:
        """Return what differs once the frame has been written anew.

        Raises:
            MissingFileError: the frame is not there (yet).
        """
        part = Part.DELTA if frame else Part.INIT
        try:
            return self._state(part.name_of(frame))
        except FileNotFoundError as error:
            raise self._missing(part, frame) from error

    def _size(self, part: Part, frame: int) -> int:
        return (self.folder / part.name_of(frame)).stat().st_size

    def _state(self, name: str) -> tuple[int, int, int]:
        found = (self.folder / name).stat()
        return found.st_ino, found.st_mtime_ns, found.st_size

    def _missing(self, part: Part, frame: int) -> MissingFileError:
        return MissingFileError(
            f"{self.folder}: {part.name_of(frame)} is not there: the stream has {self.num_frames()} of "
            f"{self._header.planned_frames} frames so far"
        )

    def _read(self, part: Part, frame: int) -> dict[str, np.ndarray]:
        path = self.folder / part.name_of(frame)
        try:
            # No value takes more than eight bytes, and no header nearly as many as the spare ones.
            if path.stat().st_size > 8 * self.max_elements + _SPARE:
                raise DamagedFileError(f"{path}: frame {frame} is damaged: no part is that large")
            content = path.read_bytes()
        except FileNotFoundError as error:
            raise self._missing(part, frame) from error
        except OSError as error:
            raise DamagedFileError(f"{path}: frame {frame} cannot be read: {error.strerror}") from error
        try:
            return decode_planes(unpack_part(part, frame, content), self.max_elements)
        except DamagedFileError as error:
            plays = {
                Part.INIT: "nothing of the stream can be played without it",
                Part.DELTA: f"the stream plays up to frame {frame - 1}",
                Part.KEY: "the frame can still be reached from those before it",
            }
            raise DamagedFileError(f"{path}: frame {frame} is damaged: {error}; {plays[part]}") from error
