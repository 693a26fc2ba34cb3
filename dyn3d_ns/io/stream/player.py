"""Reach any frame of a stream: from a cached one, a keyframe or the first, whichever is nearest."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Generic

from dyn3d_ns.io.errors import DamagedFileError, MissingFileError
from dyn3d_ns.io.stream.decoders import Planes, State, StreamDecoder
from dyn3d_ns.io.stream.parts import Part
from dyn3d_ns.io.stream.reader import StreamReader

DEFAULT_CACHE_BYTES = 512 << 20
Stamp = tuple[int, int, int]


@dataclass(frozen=True)
class _Entry(Generic[State]):
    """A decoded frame."""

    state: State
    stamp: Stamp
    """Which writing of the frame it is; a training that went on from earlier may have written another."""
    size: int


@dataclass(frozen=True)
class Reached(Generic[State]):
    """How far towards a frame a stream plays."""

    state: State
    frame: int
    """The frame asked for, or the last one before it that can be played."""
    problem: DamagedFileError | None = None
    """Why it is not the one asked for."""


class StreamPlayer(Generic[State]):
    """Decode the frames of a stream in any order; safe to use from several threads.

    The states that are passed on the way are kept as well, so that playing backwards decodes each keyframe's
    run once. States are shared: do not change them.
    """

    def __init__(
        self, reader: StreamReader, decoder: StreamDecoder[State], cache_bytes: int = DEFAULT_CACHE_BYTES
    ) -> None:
        """Play what ``reader`` reads; decoded frames beside frame 0 and the last one take ``cache_bytes``."""
        self.reader = reader
        self._decoder = decoder
        self._limit = cache_bytes
        self._lock = threading.Lock()
        self._initial: _Entry[State] | None = None
        self._cache: OrderedDict[int, _Entry[State]] = OrderedDict()
        self._held = 0

    def num_frames(self) -> int:
        """Return how many frames can be played now; a training may be adding to them."""
        return self.reader.num_frames()

    def seek(self, frame: int) -> State:
        """Return the state of a frame.

        Raises:
            MissingFileError: the frame is not there (yet).
            DamagedFileError: it, or one between it and the keyframe before it, is damaged.
        """
        reached = self.reach(frame)
        if reached.problem is not None:
            raise reached.problem
        return reached.state

    def reach(self, frame: int) -> Reached[State]:
        """Return the state of a frame; behind a damaged one, that of the last one before the damage.

        Raises:
            MissingFileError: the frame is not there (yet).
            DamagedFileError: frame 0 is damaged.
        """
        if frame < 0:
            raise ValueError(f"frames count from 0, got {frame}")
        with self._lock:
            self.reader.stamp(frame)
            initial = self._first()
            if frame == 0:
                return Reached(initial.state, 0)
            at, state = self._nearest(frame, initial)
            for between in range(at + 1, frame + 1):
                try:
                    state = self._decode(Part.DELTA, between, partial(self._decoder.advance, state))
                except DamagedFileError as error:
                    return Reached(state, between - 1, error)
            return Reached(state, frame)

    def cached_bytes(self) -> int:
        """Return the memory of the frames that are kept, frame 0 apart."""
        return self._held

    def _first(self) -> _Entry[State]:
        """Return frame 0, decoded anew where it was written anew."""
        stamp = self.reader.stamp(0)
        if self._initial is None or self._initial.stamp != stamp:
            # The keyframes and every later frame build on it.
            self._cache.clear()
            self._held = 0
            state = self._call(Part.INIT, 0, self._decoder.start, self.reader.init())
            self._initial = _Entry(state, stamp, self._decoder.size(state))
        return self._initial

    def _nearest(self, frame: int, initial: _Entry[State]) -> tuple[int, State]:
        """Return the nearest frame at or before one whose state is known, or stored as a keyframe."""
        known = sorted((at for at in self._cache if at <= frame), reverse=True)
        cached = next((at for at in known if self._is_current(at)), 0)
        if not cached or cached < frame - 1:
            for key in reversed(self.reader.keyframes()):
                if cached < key <= frame:
                    try:
                        return key, self._decode(Part.KEY, key, partial(self._decoder.jump, initial.state))
                    except DamagedFileError:
                        # A damaged key costs time only: the frame is reached from further back.
                        continue
        if not cached:
            return 0, initial.state
        self._cache.move_to_end(cached)
        return cached, self._cache[cached].state

    def _is_current(self, frame: int) -> bool:
        """Tell whether a cached frame is still the one on disk."""
        try:
            return self._cache[frame].stamp == self.reader.stamp(frame)
        except MissingFileError:
            return False

    def _decode(self, part: Part, frame: int, decode: Callable[[Planes], State]) -> State:
        """Decode a frame and keep it."""
        stamp = self.reader.stamp(frame)
        planes = self.reader.key(frame) if part is Part.KEY else self.reader.delta(frame)
        state = self._call(part, frame, decode, planes)
        before = self._cache.pop(frame, None)
        self._cache[frame] = _Entry(state, stamp, self._decoder.size(state))
        self._held += self._cache[frame].size - (before.size if before else 0)
        while self._held > self._limit and len(self._cache) > 1:
            _, oldest = self._cache.popitem(last=False)
            self._held -= oldest.size
        return state

    def _call(self, part: Part, frame: int, decode: Callable[[Planes], State], planes: Planes) -> State:
        """Decode planes; a decoder's error gets the file's name."""
        try:
            return decode(planes)
        except DamagedFileError as error:
            plays = f"the stream plays up to frame {frame - 1}" if frame else "nothing of it can be played"
            path = self.reader.folder / part.name_of(frame)
            raise DamagedFileError(f"{path}: frame {frame} cannot be decoded: {error}; {plays}") from error
