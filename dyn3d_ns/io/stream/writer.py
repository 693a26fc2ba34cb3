"""Write a stream frame by frame, so that a reader beside it sees whole frames only."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from dyn3d_ns.io.atomic import write_bytes
from dyn3d_ns.io.errors import UserError
from dyn3d_ns.io.stream.codec import encode_planes
from dyn3d_ns.io.stream.header import HEADER_NAME, StreamHeader, read_header, write_header
from dyn3d_ns.io.stream.parts import Part, list_parts, pack_part, remnants, whole_frames


class StreamError(UserError):
    """A stream cannot be written to; the message says which frames are whole and what to do."""


class StreamWriter:
    """Write the frames of one stream in their order. Make one with :meth:`create` or :meth:`reopen`."""

    def __init__(self, folder: Path, header: StreamHeader, next_frame: int) -> None:
        self.folder = folder
        self.header = header
        self.next_frame = next_frame
        """Frame to be written next."""

    @classmethod
    def create(cls, folder: Path, header: StreamHeader) -> StreamWriter:
        """Start a stream in a folder, which is made if need be.

        Raises:
            StreamError: the folder holds a stream already, or cannot be written to.
        """
        if (folder / HEADER_NAME).exists() or (folder.is_dir() and list_parts(folder)):
            raise StreamError(f"{folder} holds a stream already: go on with it, or choose another folder")
        try:
            write_header(folder, header)
        except OSError as error:
            raise StreamError(f"cannot start a stream in {folder}: {error.strerror}") from error
        return cls(folder, header, 0)

    @classmethod
    def reopen(cls, folder: Path, at_frame: int) -> StreamWriter:
        """Go on after frame ``at_frame`` (-1: from frame 0 on): what is there of later frames is removed.

        Raises:
            StreamError: the frames up to ``at_frame`` are not all there.
            MissingFileError, DamagedFileError: the stream's header cannot be read.
        """
        header, parts = read_header(folder), list_parts(folder)
        if not -1 <= at_frame < whole_frames(parts):
            raise StreamError(
                f"{folder} cannot go on after frame {at_frame}: it has {whole_frames(parts)} whole frames"
            )
        # The last frame first and its delta before its key: a reader meanwhile sees a shorter stream, no gap.
        later = sorted(
            (key for key in parts if key[1] > at_frame), key=lambda key: (-key[1], key[0] is Part.KEY)
        )
        for part, frame in later:
            (folder / part.name_of(frame)).unlink()
        for path in remnants(folder):
            path.unlink()
        return cls(folder, header, at_frame + 1)

    def write_init(self, planes: Mapping[str, np.ndarray]) -> int:
        """Write frame 0 and return its bytes.

        Raises:
            StreamError: frame 0 is there already, or the disk is full.
            ValueError: the planes cannot be stored.
        """
        self._require(0)
        written = self._write(Part.INIT, 0, planes)
        self.next_frame = 1
        return written

    def write_frame(
        self, frame: int, delta: Mapping[str, np.ndarray], key: Mapping[str, np.ndarray] | None = None
    ) -> int:
        """Write a frame from 1 on, and return the bytes of its delta.

        Args:
            frame: Its number; the one after the last written.
            delta: Planes that turn the state of the frame before into that of this frame.
            key: Planes that turn the state of frame 0 into that of this frame, in a keyframe.

        Raises:
            StreamError: it is not the next frame, is more than were planned, or the disk is full.
            ValueError: the planes cannot be stored.
        """
        self._require(frame)
        if frame == 0:
            raise StreamError(f"{self.folder}: frame 0 is written with write_init")
        if key is not None:
            self._write(Part.KEY, frame, key)
        # The delta comes last: its file is what makes the frame count as whole.
        written = self._write(Part.DELTA, frame, delta)
        self.next_frame = frame + 1
        return written

    def plan(self, frame_times: tuple[float, ...]) -> None:
        """Change the times of the planned frames, for a recording whose length is known only later.

        Raises:
            StreamError: the frames that are written would have no time.
        """
        if len(frame_times) < self.next_frame:
            raise StreamError(f"{self.folder} has {self.next_frame} frames already, not {len(frame_times)}")
        self.header = StreamHeader(self.header.kind, self.header.fps, frame_times, self.header.decoder)
        write_header(self.folder, self.header)

    def _require(self, frame: int) -> None:
        if frame != self.next_frame or frame >= self.header.planned_frames:
            raise StreamError(
                f"{self.folder}: frame {self.next_frame} of {self.header.planned_frames} is next, not {frame}"
            )

    def _write(self, part: Part, frame: int, planes: Mapping[str, np.ndarray]) -> int:
        path = self.folder / part.name_of(frame)
        content = pack_part(part, frame, encode_planes(planes))
        try:
            write_bytes(path, content)
        except OSError as error:
            whole = f"frames 0 to {frame - 1} are whole" if frame else "no frame is written yet"
            raise StreamError(
                f"cannot write frame {frame} to {path}: {error.strerror}; {whole}: free some space and go on"
            ) from error
        return len(content)
