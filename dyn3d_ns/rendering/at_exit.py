"""An orderly end for daemon threads that rasterise, such as a viewer's.

When the interpreter ends it kills a daemon thread as it next asks for the GIL; below C++ frames, torch's or
Numba's, that aborts the process. So at exit such a thread may finish its kernel and is held at its next one,
without the GIL, for the rest of the process.
"""

import atexit
import os
import threading
import time
import weakref

_PATIENCE = 0.5
"""Seconds that the exit waits for daemon threads that have rasterised to come to a kernel, or to end."""
_LONGEST_KERNEL = 10.0


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


def _close() -> None:
    """Wait until no kernel runs and, for a moment, until each daemon thread is held."""
    with _State.lock:
        _State.closing = True
    start = time.monotonic()
    while time.monotonic() < start + _LONGEST_KERNEL and _State.inside > 0:
        time.sleep(0.001)
    start = time.monotonic()
    while time.monotonic() < start + _PATIENCE and any(t.is_alive() for t in list(_State.free)):
        time.sleep(0.001)


def _after_fork() -> None:
    """Only the thread that forked lives in the child, and it is its main thread."""
    _State.lock, _State.inside, _State.closing, _State.free = threading.Lock(), 0, False, weakref.WeakSet()


atexit.register(_close)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
