"""An orderly end for daemon threads that rasterise, such as a viewer's.

When the interpreter ends it kills a daemon thread as it next asks for the GIL; below C++ frames, torch's or
Numba's, that aborts the process. So at exit such a thread may finish its kernel and is held at its next one,
without the GIL, for the rest of the process.
"""

import atexit
import os
import selectors
import sys
import threading
import time
import weakref

_PATIENCE = 10.0
"""Seconds at most that the exit waits for busy daemon threads that have rasterised to come to a kernel."""
_LONGEST_KERNEL = 10.0
_ASLEEP = frozenset({threading.__file__, selectors.__file__})


class _State:
    """Who is in a kernel, and whether the interpreter is ending."""

    lock = threading.Lock()
    inside = 0
    closing = False
    free: "weakref.WeakSet[threading.Thread]" = weakref.WeakSet()
    """threads that have run kernels and are not held"""


def enter() -> None:
    """Count the calling thread in before a kernel, or hold it for ever if the interpreter is ending."""
    thread = threading.current_thread()
    with _State.lock:
        closing = _State.closing
        if closing:
            _State.free.discard(thread)
        else:
            _State.inside += 1
            _State.free.add(thread)
    if closing:
        held = threading.Lock()
        held.acquire()
        held.acquire()


def leave() -> None:
    """Count the calling thread out after a kernel."""
    with _State.lock:
        _State.inside -= 1


def _busy() -> bool:
    """Whether a thread that has rasterised is neither held nor ended nor asleep in a lock, queue or selector.

    A sleeper, such as a viewer that waits for its next request, is killed in C code that stands that.
    """
    frames = sys._current_frames()
    of_threads = [frames.get(thread.ident or 0) for thread in list(_State.free) if thread.is_alive()]
    return any(frame is not None and frame.f_code.co_filename not in _ASLEEP for frame in of_threads)


def _close() -> None:
    """Wait until no kernel runs and no thread that has rasterised is on its way to the next one."""
    with _State.lock:
        _State.closing = True
    start = time.monotonic()
    while time.monotonic() < start + _LONGEST_KERNEL and _State.inside > 0:
        time.sleep(0.001)
    start = time.monotonic()
    while time.monotonic() < start + _PATIENCE and _busy():
        time.sleep(0.001)


def _after_fork() -> None:
    """Only the thread that forked lives in the child, and it is its main thread."""
    _State.lock, _State.inside, _State.closing, _State.free = threading.Lock(), 0, False, weakref.WeakSet()


atexit.register(_close)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
