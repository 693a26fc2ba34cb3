"""A small pool of Python threads for kernels that release the GIL.

Numba's OpenMP layer spins at barriers, so one busy neighbour stalls it for tens of milliseconds, and its
workqueue layer aborts when two threads call at once. Here a call is cut into pieces; idle workers and the
caller take pieces until none is left. A late worker costs nothing: the caller does its share.
"""

import atexit
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue

from dyn3d_ns.kernels import at_exit


class _State:
    """What changes while the process runs."""

    workers: "list[threading.Thread]" = []  # noqa: RUF012 (one state a process)
    stopped = False
    num_threads: int | None = None
    lock = threading.Lock()
    queue: "SimpleQueue[_Job | None]" = SimpleQueue()
    seconds: dict[str, float] | None = None


class _Job:
    """One call: a function, its pieces, and who has finished."""

    def __init__(self, function: Callable[[int], None], pieces: int):
        self.function = function
        self.todo = deque(range(pieces))
        self.left = pieces
        self.lock = threading.Lock()
        self.done = threading.Lock()
        self.done.acquire()
        self.error: BaseException | None = None

    def work(self) -> None:
        """Take pieces until none is left."""
        while True:
            try:
                piece = self.todo.popleft()
            except IndexError:
                return
            try:
                self.function(piece)
            except BaseException as error:  # noqa: BLE001 (raised again in the calling thread)
                self.error = self.error or error
            with self.lock:
                self.left -= 1
                if self.left == 0:
                    self.done.release()


def _serve() -> None:
    while (job := _State.queue.get()) is not None:
        job.work()


def get_num_threads() -> int:
    """Return how many threads rasterise: those of set_num_threads, else DYN3D_NUM_THREADS, else torch's."""
    if _State.num_threads is not None:
        return _State.num_threads
    given = os.environ.get("DYN3D_NUM_THREADS")
    if given is None:
        import torch

        return torch.get_num_threads()  # asked each time: torch.set_num_threads may be called later
    if not given.isdigit() or int(given) < 1:
        raise ValueError(f"DYN3D_NUM_THREADS is {given!r}; give a whole number of at least 1")
    _State.num_threads = int(given)
    return _State.num_threads


def set_num_threads(count: int) -> None:
    """Set how many threads rasterise, in every later call of this process."""
    if int(count) < 1:
        raise ValueError(f"the number of threads is {count}; give at least 1")
    _State.num_threads = int(count)


@contextmanager
def stage_seconds() -> Iterator[dict[str, float]]:
    """Collect the seconds that each named stage takes while the context is open, for benchmarks."""
    before, _State.seconds = _State.seconds, {}
    try:
        yield _State.seconds
    finally:
        _State.seconds = before


def run(function: Callable[[int], None], pieces: int, stage: str = "other") -> None:
    """Call function(0) … function(pieces - 1) on the pool and return when all are done.

    The first error of a piece is raised here. `stage` names the work for `stage_seconds`.
    """
    seconds = _State.seconds
    if seconds is None:
        _run(function, pieces)
        return
    start = time.perf_counter()
    _run(function, pieces)
    seconds[stage] = seconds.get(stage, 0.0) + time.perf_counter() - start


def _run(function: Callable[[int], None], pieces: int) -> None:
    if threading.get_ident() == threading.main_thread().ident:
        _share(function, pieces)
        return
    at_exit.enter()
    try:
        _share(function, pieces)
    finally:
        at_exit.leave()


def _share(function: Callable[[int], None], pieces: int) -> None:
    if pieces <= 1 or get_num_threads() == 1:
        for piece in range(pieces):
            function(piece)
        return
    helpers = min(get_num_threads(), pieces) - 1
    _grow(helpers)
    job = _Job(function, pieces)
    for _ in range(helpers):
        _State.queue.put(job)
    job.work()
    job.done.acquire()
    if job.error is not None:
        raise job.error


def pieces_of(rows: int, smallest: int = 2048) -> list[int]:
    """Return the bounds that cut rows into one piece a thread, each of at least ``smallest``."""
    pieces = max(min(get_num_threads(), rows // smallest), 1)
    return [rows * i // pieces for i in range(pieces + 1)]


def _grow(count: int) -> None:
    if len(_State.workers) >= count or _State.stopped:
        return
    with _State.lock:
        while len(_State.workers) < count:
            worker = threading.Thread(target=_serve, name=f"dyn3d-raster-{len(_State.workers)}", daemon=True)
            worker.start()
            _State.workers.append(worker)


def _stop() -> None:
    """End the workers while the interpreter is whole; callers then do all pieces themselves."""
    _State.stopped = True
    for _ in _State.workers:
        _State.queue.put(None)
    for worker in _State.workers:
        worker.join(timeout=1.0)


def _after_fork() -> None:
    """Threads do not survive a fork: start afresh in the child."""
    _State.workers, _State.queue, _State.lock = [], SimpleQueue(), threading.Lock()


atexit.register(_stop)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
