"""Check a stream by playing it: every part is applied, and every key compared with the frame that plays."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import numpy as np

from dyn3d_ns.io.errors import DatasetError
from dyn3d_ns.io.stream.decoders import Planes, StreamDecoder
from dyn3d_ns.io.stream.parts import Part
from dyn3d_ns.io.stream.reader import StreamReader

T = TypeVar("T")


def verify_stream(reader: StreamReader, decoder: StreamDecoder[Any]) -> Iterator[tuple[int, list[str]]]:
    """Play a stream's whole frames in order, and yield each with what is wrong with its parts.

    What comes after a delta that cannot be applied is read, and played on from the next keyframe. Where a key
    is not the state that the deltas lead to, there is no telling which is right: both are played on, so that
    one wrong part is one error.
    """
    checks = _Checks(reader, decoder)
    count, keyframes = reader.num_frames(), set(reader.keyframes())
    yield 0, checks.start()
    for frame in range(1, count):
        yield frame, checks.step(frame, frame in keyframes)


class _Checks:
    def __init__(self, reader: StreamReader, decoder: StreamDecoder[Any]) -> None:
        self._reader, self._decoder = reader, decoder
        self._initial: Any = None
        self._states: list[Any] = []
        """What the frame may be; empty where it cannot be played."""
        self._since = 0
        """Last frame that was known to be as it was written."""
        self._problems: list[str] = []

    def start(self) -> list[str]:
        self._problems = []
        planes = self._tried(self._reader.init)
        if planes is not None:
            applied = self._applied(Part.INIT, 0, [lambda: self._decoder.start(planes)])
            self._states, self._initial = applied, next(iter(applied), None)
        return self._problems

    def step(self, frame: int, is_keyframe: bool) -> list[str]:
        self._problems = []
        planes = self._tried(lambda: self._reader.delta(frame))
        self._states = [] if planes is None else self._advanced(frame, planes)
        if is_keyframe and (planes := self._tried(lambda: self._reader.key(frame))) is not None:
            self._compare(frame, planes)
        return self._problems

    def _advanced(self, frame: int, planes: Planes) -> list[Any]:
        ways = [lambda state=state: self._decoder.advance(state, planes) for state in self._states]
        return self._applied(Part.DELTA, frame, ways)

    def _compare(self, frame: int, planes: Planes) -> None:
        if self._initial is None:
            return
        for key in self._applied(Part.KEY, frame, [lambda: self._decoder.jump(self._initial, planes)]):
            if not self._states or any(self._equal(key, state) for state in self._states):
                self._states = [key]
            else:
                self._problems.append(
                    f"{self._path(Part.KEY, frame)}: frame {frame} is another one when played: the key, "
                    f"or a delta from {Part.DELTA.name_of(self._since + 1)} on, is not this stream's"
                )
                self._states = [key, *self._states[:1]]
            self._since = frame

    def _applied(self, part: Part, frame: int, ways: list[Callable[[], T]]) -> list[T]:
        """Return what the ways lead to that can be gone; it is an error if there are some and none can."""
        found, errors = [], []
        for way in ways:
            try:
                found.append(way())
            except DatasetError as error:
                errors.append(error)
        if errors and not found:
            self._problems.append(f"{self._path(part, frame)}: frame {frame} cannot be decoded: {errors[0]}")
        return found

    def _tried(self, read: Callable[[], Planes]) -> Planes | None:
        try:
            return read()
        except DatasetError as error:
            self._problems.append(str(error))
            return None

    def _equal(self, a: Any, b: Any) -> bool:
        """Compare states by the planes that they are made of."""
        one, other = self._decoder.to_init(a), self._decoder.to_init(b)
        return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)

    def _path(self, part: Part, frame: int) -> str:
        return str(self._reader.folder / part.name_of(frame))
