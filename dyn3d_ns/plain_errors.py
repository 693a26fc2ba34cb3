"""One clear message instead of a traceback, for what the user of a command can mend.

`dyn3d` prints it itself. Nerfstudio's commands let every exception end the process; there a hook before
Python's own prints it, once a method of ours is set up. ``DYN3D_TRACEBACK=1`` in the environment shows the
traceback too.
"""

from __future__ import annotations

import atexit
import errno
import os
import select
import sys
from collections.abc import Callable
from types import TracebackType

from dyn3d_ns.io.errors import UserError

EXIT_STATUS = 2
"""Status with which every command ends that shows its user such a message; a crash ends with 1."""

NOBODY_READS = 141
"""Status of a command whose output nobody reads any more, as a shell sees it of those that SIGPIPE ends."""

STOPPED = 130
"""Status of a command that Ctrl-C stops, as a shell sees it."""

_UNWRITABLE = (
    errno.ENOTDIR,
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.ENAMETOOLONG,
)
"""Error numbers of a place that cannot be written to, or is full."""

_Hook = Callable[[type[BaseException], BaseException, TracebackType | None], object]


def explanation(error: BaseException) -> str | None:
    """Return what an exception means to the user of a command, or None where only a traceback helps."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, OSError) and error.errno in _UNWRITABLE:
        return (
            f"cannot use {error.filename or 'a file that is to be written'}: {error.strerror}; free some "
            "space or choose another place (--output-dir of ns-train, --output-path of the other commands of "
            "Nerfstudio, --output of dyn3d)"
        )
    return None


def reader_left(error: BaseException | None = None) -> bool:
    """Tell whether who read this process's output, as `head` does, has left; nothing more is written then.

    Args:
        error: What was raised; other errors than of a broken pipe are somebody else's.
    """
    if error is not None and not isinstance(error, BrokenPipeError):
        return False
    try:
        number = sys.stdout.fileno()
        poll = select.poll()
        poll.register(number, 0)
        left = any(event & select.POLLERR for _, event in poll.poll(0))
    except (AttributeError, OSError, ValueError):  # no such call, or no file
        return False
    if left:
        # Python would fail at its end over what is still to be written.
        os.dup2(os.open(os.devnull, os.O_WRONLY), number)
    return left


def traceback_wanted() -> bool:
    """Tell whether the user asked for tracebacks beside the messages."""
    return os.environ.get("DYN3D_TRACEBACK") == "1"


class ReadableErrors:
    """A ``sys.excepthook`` that shows what can be explained as its message, the rest as ``previous`` does."""

    def __init__(self, previous: _Hook) -> None:
        self.previous = previous

    def __call__(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if reader_left(error):
            raise SystemExit(NOBODY_READS)
        if isinstance(error, KeyboardInterrupt) and not traceback_wanted():
            print("\nStopped.", file=sys.stderr)
            raise SystemExit(STOPPED)
        message = explanation(error)
        if message is None or traceback_wanted():
            self.previous(kind, error, trace)
        if message is not None:
            print(f"\nError: {message}", file=sys.stderr)
            # The interpreter takes the status of the process from a SystemExit out of its hook.
            raise SystemExit(EXIT_STATUS)


def install() -> None:
    """Explain the uncaught exceptions of this process from now on; calling it again changes nothing."""
    if not isinstance(sys.excepthook, ReadableErrors):
        sys.excepthook = ReadableErrors(sys.excepthook)
        atexit.register(reader_left)
