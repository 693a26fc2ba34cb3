"""Images of one camera of a recording: read, taken from the store, or decoded with what comes by."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Generator
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from dyn3d_ns.io.errors import DamagedFileError, DatasetError
from dyn3d_ns.io.recordings.base import Decode, RecordedCamera
from dyn3d_ns.io.recordings.pixels import PixelMap
from dyn3d_ns.io.recordings.store import FrameStore

_SHORT_WAY = 30
"""Frames that decoding on passes over, rather than seeking anew."""
_LONG_WAY = 60
"""Frames whose decoding takes long enough to be said."""
Seen = Callable[[int, UInt8[np.ndarray, "H W 3"]], None]


class CameraImages:
    """Images of one camera; :meth:`read` is called with the lock held."""

    def __init__(
        self, camera: RecordedCamera, index: int, pixels: PixelMap, store: FrameStore, start: int
    ) -> None:
        self.lock = threading.Lock()
        self._camera, self._index, self._start = camera, index, start
        self._pixels, self._store = pixels, store
        self.stores = camera.frames.sequential or pixels.changes
        """Whether images are stored; files that train as they are, are read."""
        self._frames: Generator[Decode, None, None] | None = None
        self._next = 0

    def path(self, moment: int) -> Path:
        """Return the file that holds an image, or will once it is decoded."""
        frame = self._start + moment
        own = self._camera.frames.path(frame)
        return self._stored(moment) if own is None else own

    def close(self) -> None:
        """Close the files."""
        with self.lock:
            if self._frames is not None:
                self._frames.close()
            self._frames = None

    def is_stored(self, moment: int) -> bool:
        """Return whether the store has an image."""
        return self._store.has(self._stored(moment))

    def is_ready(self, moment: int) -> bool:
        """Return whether an image can be had without decoding others before it."""
        frames = self._camera.frames
        if not frames.is_there(self._start + moment):
            return False
        return not frames.sequential or self.is_stored(moment)

    def read(self, moment: int, seen: Seen) -> UInt8[np.ndarray, "H W 3"]:
        """Return an image; ``seen(moment, image)`` is called with it and with those that came by."""
        frames, frame = self._camera.frames, self._start + moment
        if not frames.is_there(frame):
            raise DatasetError(
                f"frame {frame} of {self._camera.name} is not there yet, or not whole: wait for it, or "
                f"end before it (--frame-end {frame})"
            )
        image = self._store.read(self._stored(moment)) if self.stores else None
        if image is not None:
            seen(moment, image)
            return image
        if not frames.sequential:
            image = self._make(next(frames.frames_from(frame)), moment)
            seen(moment, image)
            return image
        return self._decode_to(moment, seen)

    def _decode_to(self, moment: int, seen: Seen) -> UInt8[np.ndarray, "H W 3"]:
        first = moment
        # What comes by on the way is stored, unless room is so scarce that it would not stay.
        while first > 0 and not self._store.evicted and not self.is_stored(first - 1):
            first -= 1
        frames, self._frames = self._frames, None
        if frames is None or not first - _SHORT_WAY <= self._next <= moment:
            self._next = first
            frames = self._camera.frames.frames_from(self._start + first)
        if moment - self._next > _LONG_WAY:
            source = self._camera.frames.source
            print(f"decoding {source} up to frame {self._start + moment}, to be kept", file=sys.stderr)
        for decode in frames:
            at, self._next = self._next, self._next + 1
            if at == moment or not self.is_stored(at):
                image = self._make(decode, at)
                seen(at, image)
                if at == moment:
                    self._frames = frames
                    return image
        raise DamagedFileError(
            f"{self._camera.frames.source} ends after {self._start + self._next} frames and says that it has "
            f"{self._camera.frames.num_frames}; use --frame-end {self._start + self._next}, or restore it"
        )

    def _make(self, decode: Decode, moment: int) -> UInt8[np.ndarray, "H W 3"]:
        image = self._pixels.apply(self._index, decode())
        if self.stores:
            self._store.write(self._stored(moment), image)
        return image

    def _stored(self, moment: int) -> Path:
        frame = self._start + moment
        return self._store.path(self._camera.name, frame, self._camera.frames.stamp(frame))
