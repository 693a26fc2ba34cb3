"""The stream of a training's run: written frame by frame, played back, and taken up again."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dyn3d_ns.io.arrays import read_npz, write_npz
from dyn3d_ns.io.atomic import write_json
from dyn3d_ns.io.damage import CONTENT_ERRORS
from dyn3d_ns.io.errors import DamagedFileError, MissingFileError, UserError
from dyn3d_ns.io.stream.decoders import Planes, decoder_of
from dyn3d_ns.io.stream.header import FOLDER_NAME, HEADER_NAME, StreamHeader
from dyn3d_ns.io.stream.player import StreamPlayer
from dyn3d_ns.io.stream.reader import StreamReader
from dyn3d_ns.io.stream.writer import StreamWriter

RECORDS_NAME = "frames.json"
"""What each frame took, beside the stream and no part of it: seconds are never the same twice."""
_REMEDY = "restore it, or remove it: it holds figures only"
_MEMORY = "encoder"
_KEPT = 2
"""Memories of the encoder that are kept: of the last whole frame, and of one that is being written."""


@dataclass(frozen=True)
class FrameRecord:
    """What a frame of a stream took."""

    frame: int
    seconds: float
    """Wall-clock seconds of its training."""
    cpu_seconds: float
    """The same in all of the process's threads together."""
    bytes: int
    """Its parts in the stream, a key included."""
    figures: dict[str, int]
    """What the method counts, by name."""


class StreamRun:
    """A run's stream, its records, and what its encoder must remember to go on after a frame."""

    def __init__(self, run: Path) -> None:
        """Look at a run's folder; nothing is written."""
        self.run, self.folder = run, run / FOLDER_NAME
        self.records: dict[int, FrameRecord] = {}
        self._writer: StreamWriter | None = None
        if (run / RECORDS_NAME).is_file():
            self.records = _read_records(run / RECORDS_NAME)

    @property
    def exists(self) -> bool:
        """Whether there is a stream."""
        return (self.folder / HEADER_NAME).is_file()

    def player(self) -> StreamPlayer[Any]:
        """Return a player of the stream as far as it is written, now and later."""
        reader = StreamReader(self.folder)
        return StreamPlayer(reader, decoder_of(reader.header))

    def start(
        self, header: StreamHeader, init: Planes, record: FrameRecord, memory: Mapping[str, Any]
    ) -> None:
        """Write frame 0; a stream that a training of before has left in the folder is overwritten.

        Raises:
            UserError: it cannot be written.
        """
        if self.exists:
            shutil.rmtree(self.folder)
        self._writer = StreamWriter.create(self.folder, header)
        self._remember(0, memory)
        size = self._writer.write_init(init)
        self._note(record, size)

    def add(
        self, frame: int, delta: Planes, key: Planes | None, record: FrameRecord, memory: Mapping[str, Any]
    ) -> None:
        """Write a frame; what the encoder remembers goes first, so that it is there when the frame is.

        Raises:
            UserError: it cannot be written; the frames before it are whole.
        """
        assert self._writer is not None
        self._remember(frame, memory)
        size = self._writer.write_frame(frame, delta, key)
        if key is not None:
            size = sum(path.stat().st_size for path in self.folder.glob(f"{frame:06d}.*"))
        self._note(record, size)

    def end_at(self, frame_times: tuple[float, ...]) -> None:
        """Note that a recording has ended before it was planned to."""
        assert self._writer is not None
        self._writer.plan(frame_times)

    def last(self) -> tuple[int, dict[str, np.ndarray]]:
        """Return the last whole frame that a training can go on after, and what the encoder remembered there.

        Raises:
            MissingFileError: there is no stream, or nothing to go on with.
        """
        if not self.exists:
            raise MissingFileError(f"{self.run} holds no stream ({self.folder / HEADER_NAME}): train anew")
        last = StreamReader(self.folder).num_frames() - 1
        while last >= 0 and not self._memory_path(last).is_file():
            last -= 1
        if last < 0:
            raise MissingFileError(f"{self.run} has no whole frame to go on from: train anew")
        path = self._memory_path(last)
        return last, read_npz(path, None)

    def take_over(self, earlier: Path, last: int, frame_times: tuple[float, ...]) -> None:
        """Go on after a frame of an earlier run that :meth:`last` found; that run stays as it is.

        Args:
            earlier: Its folder.
            last: The frame.
            frame_times: Times of all frames that are planned now: a recording may have counted as ended.
        """
        before = StreamRun(earlier)
        if self.folder.resolve() != before.folder.resolve():
            if self.exists:
                shutil.rmtree(self.folder)
            shutil.copytree(before.folder, self.folder)
            target = self._memory_path(last)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(before._memory_path(last), target)
        self._writer = StreamWriter.reopen(self.folder, last)
        if self._writer.header.frame_times != frame_times:
            self._writer.plan(frame_times)
        self.records = {frame: record for frame, record in before.records.items() if frame <= last}

    def figures(self) -> dict[str, float]:
        """Return bytes and seconds a frame, with and without frame 0, as far as they are known."""
        if not self.exists:
            return {}
        sizes = StreamReader(self.folder).sizes()
        count = 1 + len(sizes.deltas)
        found: dict[str, float] = {
            "stream_frames": count,
            "bytes_per_frame": sizes.per_frame,
            "bytes_per_later_frame": sizes.per_later_frame,
        }
        for name in ("seconds", "cpu_seconds"):
            taken = [getattr(record, name) for _, record in sorted(self.records.items())]
            if len(taken) == count:
                found[f"{name}_per_frame"] = sum(taken) / len(taken)
                if len(taken) > 1:
                    found[f"{name}_per_later_frame"] = sum(taken[1:]) / (len(taken) - 1)
        return found

    def _memory_path(self, frame: int) -> Path:
        return self.run / _MEMORY / f"{frame:06d}.npz"

    def _remember(self, frame: int, memory: Mapping[str, Any]) -> None:
        try:
            write_npz(self._memory_path(frame), **{name: np.asarray(value) for name, value in memory.items()})
        except OSError as error:
            raise UserError(
                f"cannot write {self._memory_path(frame)}: {error.strerror}; the frames before {frame} are "
                "whole: free some space and go on with --load-dir"
            ) from error
        for path in sorted(self._memory_path(frame).parent.glob("*.npz"))[:-_KEPT]:
            os.unlink(path)

    def _note(self, record: FrameRecord, size: int) -> None:
        self.records[record.frame] = FrameRecord(**{**asdict(record), "bytes": size})
        write_json(self.run / RECORDS_NAME, [asdict(r) for _, r in sorted(self.records.items())], indent=None)


def _read_records(path: Path) -> dict[int, FrameRecord]:
    try:
        found = [FrameRecord(**record) for record in json.loads(path.read_text(encoding="utf-8"))]
        whole = all(isinstance(r.frame, int) and isinstance(r.bytes, int) for r in found)
        known = all(isinstance(n, int | float) for r in found for n in (r.seconds, r.cpu_seconds))
    except (OSError, *CONTENT_ERRORS) as error:
        raise DamagedFileError(f"{path} is no list of a stream's frames ({error}); {_REMEDY}") from error
    if not (whole and known):
        raise DamagedFileError(f"{path} must hold whole numbers of frames and bytes, and seconds; {_REMEDY}")
    return {record.frame: record for record in found}
