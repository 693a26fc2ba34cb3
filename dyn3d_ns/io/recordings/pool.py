"""Images of a recording when they are asked for: from memory, from the store, or decoded, ahead of need."""

from __future__ import annotations

import os
import sys
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from jaxtyping import Int, UInt8

from dyn3d_ns.io.errors import DatasetError
from dyn3d_ns.io.recordings.base import Recording
from dyn3d_ns.io.recordings.camera_images import CameraImages
from dyn3d_ns.io.recordings.pixels import PixelMap
from dyn3d_ns.io.recordings.store import FrameStore
from dyn3d_ns.io.recordings.synchrony import SynchronyCheck

_KEEP = 3
"""Moments that stay in memory."""
_LOOK_AHEAD = 6
"""Moments that are decoded before they are asked for; the first of them goes into memory."""
_POLL_SECONDS = 0.1


class FramePool:
    """Images of all cameras, shared by the splits of a dataset and by threads.

    A video is decoded once, from its beginning to its end, and what comes by is stored. While moments are
    asked for one after another, threads decode the next ones. In memory there are the images of a few
    moments, however long the recording is.
    """

    def __init__(
        self, recording: Recording, pixels: PixelMap, store: FrameStore, start: int, stop: int
    ) -> None:
        """Open nothing yet.

        Args:
            recording: Cameras and readers.
            pixels: From frames to images.
            store: Where images are kept; those of files that train as they are, are not.
            start: Frame of the recording that is moment 0.
            stop: Frame after the last.
        """
        self.recording, self.start, self.num_moments = recording, start, stop - start
        names = [camera.name for camera in recording.cameras]
        self._check = SynchronyCheck(names, self.num_moments)
        self._cameras = [
            CameraImages(camera, i, pixels, store, start) for i, camera in enumerate(recording.cameras)
        ]
        self._memory = _Moments(_KEEP)
        workers = max(1, min(len(names), (os.cpu_count() or 1) // 2))
        self._todo: Iterator[tuple[int, int]] = iter(())
        self._ahead_lock = threading.Lock()
        self._workers, self._working, self._asked = workers, 0, -1
        self._threads: list[threading.Thread] = []
        # Also at the end of the process, before modules that decoders need are gone.
        self._close_files = weakref.finalize(self, _close_all, self._cameras)

    def image(self, camera: int, moment: int) -> UInt8[np.ndarray, "H W 3"]:
        """Return an image of a camera; shared, not to be written to.

        Raises:
            DatasetError: it cannot be decoded, or is not recorded yet.
        """
        self._look_ahead(moment)
        return self._load(camera, moment)

    def path(self, camera: int, moment: int) -> Path:
        """Return the file that holds an image, or will once it is decoded."""
        return self._cameras[camera].path(moment)

    def is_ready(self, camera: int, moment: int) -> bool:
        """Return whether an image can be had without decoding others before it."""
        return self._memory.get(camera, moment) is not None or self._cameras[camera].is_ready(moment)

    def latest(self) -> int:
        """Return how many moments are recorded by now."""
        return min(max(self.recording.available() - self.start, 0), self.num_moments)

    def wait(self, moment: int, timeout: float) -> bool:
        """Wait until a moment is recorded, at most so many seconds; return whether it is.

        Raises:
            ValueError: there will be none.
        """
        if not 0 <= moment < self.num_moments:
            raise ValueError(f"moment {moment} of {self.num_moments}")
        end = time.monotonic() + timeout
        while self.latest() <= moment:
            left = end - time.monotonic()
            if left <= 0:
                return False
            time.sleep(min(_POLL_SECONDS, left))
        return True

    def lacking(self, moment: int) -> list[str]:
        """Return the names of the cameras whose image of a moment is not there, or not whole."""
        cameras = self.recording.cameras
        return [camera.name for camera in cameras if not camera.frames.is_there(self.start + moment)]

    def close(self) -> None:
        """Stop decoding ahead, wait for what is under way, and close the files."""
        with self._ahead_lock:
            self._todo = iter(())
        for thread in self._threads:
            thread.join()
        self._close_files()

    def _load(self, camera: int, moment: int, keep: bool = True) -> UInt8[np.ndarray, "H W 3"]:
        found = self._memory.get(camera, moment)
        if found is not None:
            return found
        images = self._cameras[camera]
        with images.lock:
            found = self._memory.get(camera, moment)
            if found is None:
                found = images.read(moment, lambda at, image: self._synchrony(camera, at, image))
            if keep:
                self._memory.put(camera, moment, found)
        return found

    def _synchrony(self, camera: int, moment: int, image: UInt8[np.ndarray, "H W 3"]) -> None:
        for warning in self._check.add(camera, moment, image):
            print(f"{self.recording.root}: {warning}", file=sys.stderr)

    def _look_ahead(self, moment: int) -> None:
        """Have threads decode what comes next, where moments are asked for in their order."""
        with self._ahead_lock:
            before, self._asked = self._asked, moment
            if moment != before + 1:
                return
            last = min(moment + _LOOK_AHEAD, self.num_moments - 1)
            cameras = range(len(self._cameras))
            self._todo = ((c, m) for m in range(moment + 1, last + 1) for c in cameras)
            self._threads = [thread for thread in self._threads if thread.is_alive()]
            for _ in range(self._workers - self._working):
                self._working += 1
                self._threads.append(threading.Thread(target=self._decode_ahead, name="decode"))
                self._threads[-1].start()

    def _decode_ahead(self) -> None:
        """Decode until nothing is left to do, or the process ends."""
        while True:
            with self._ahead_lock:
                task = next(self._todo, None)
                if task is None or not threading.main_thread().is_alive():
                    self._working -= 1
                    return
                next_one = task[1] == self._asked + 1
            # What fails ahead of need fails again, and says so, where it is asked for.
            with suppress(DatasetError):
                self._decode(*task, keep=next_one)

    def _decode(self, camera: int, moment: int, keep: bool) -> None:
        images = self._cameras[camera]
        if not self.recording.cameras[camera].frames.is_there(self.start + moment):
            return
        if keep or (images.stores and not images.is_stored(moment)):
            self._load(camera, moment, keep)


class SplitFrames:
    """The images of a split: a camera and a moment each. A :class:`FrameSource`."""

    def __init__(self, pool: FramePool, cameras: Int[np.ndarray, "N"], moments: Int[np.ndarray, "N"]) -> None:
        self.pool, self._cameras, self._moments = pool, cameras.tolist(), moments.tolist()

    def __deepcopy__(self, memo: dict) -> SplitFrames:
        """Return itself: Nerfstudio copies metadata, and threads and files are shared."""
        return self

    def image(self, index: int) -> UInt8[np.ndarray, "H W 3"]:
        """Return an image at the size of its camera; shared, not to be written to."""
        return self.pool.image(self._cameras[index], self._moments[index])

    def is_ready(self, index: int) -> bool:
        """Return whether an image can be had without decoding others before it."""
        return self.pool.is_ready(self._cameras[index], self._moments[index])

    def latest(self) -> int:
        """Return how many moments are recorded by now, whole in all cameras."""
        return self.pool.latest()

    def wait(self, moment: int, timeout: float) -> bool:
        """Wait until a moment is recorded, at most so many seconds; return whether it is."""
        return self.pool.wait(moment, timeout)

    def lacking(self, moment: int) -> list[str]:
        """Return the names of the cameras whose image of a moment is not there, or not whole."""
        return self.pool.lacking(moment)

    def path(self, index: int) -> Path:
        """Return the file that holds an image, or will once it is decoded."""
        return self.pool.path(self._cameras[index], self._moments[index])


class _Moments:
    """Images of the moments used last."""

    def __init__(self, keep: int) -> None:
        self._keep, self._lock = keep, threading.Lock()
        self._moments: OrderedDict[int, dict[int, np.ndarray]] = OrderedDict()

    def get(self, camera: int, moment: int) -> np.ndarray | None:
        with self._lock:
            found = self._moments.get(moment)
            if found is None:
                return None
            self._moments.move_to_end(moment)
            return found.get(camera)

    def put(self, camera: int, moment: int, image: np.ndarray) -> None:
        with self._lock:
            self._moments.setdefault(moment, {})[camera] = image
            self._moments.move_to_end(moment)
            while len(self._moments) > self._keep:
                self._moments.popitem(last=False)


def _close_all(cameras: Sequence[CameraImages]) -> None:
    for camera in cameras:
        camera.close()


def camera_of(names: Sequence[str], asked: str | None) -> int:
    """Return the number of the camera that is meant by a name or a number; the first if None.

    Raises:
        DatasetError: there is none.
    """
    if asked is None:
        return 0
    if asked in names:
        return list(names).index(asked)
    if asked.isdecimal() and int(asked) < len(names):
        return int(asked)
    raise DatasetError(f"no camera is named {asked}, or has that number; there are {', '.join(names)}")
