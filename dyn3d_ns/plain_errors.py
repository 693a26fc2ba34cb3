"""One clear message instead of a traceback, for what the user of a command can mend.

`dyn3d` prints it itself. Nerfstudio's commands let every exception end the process; there a hook before
Python's own prints it, once a method of ours is set up. ``DYN3D_TRACEBACK=1`` in the environment shows the
traceback too.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from types import TracebackType

from dyn3d_ns.io.errors import UserError

EXIT_STATUS = 2
"""Status with which every command ends that shows its user such a message; a crash ends with 1."""

_UNWRITABLE = (errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT)
"""Error numbers of a place that cannot be written to, or is full."""

_Hook = Callable[[type[BaseException], BaseException, TracebackType | None], object]


def explanation(error: BaseException) -> str | None:
    """Return what an exception means to the user of a command, or None where only a traceback helps."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, OSError) and error.errno in _UNWRITABLE:
        return (
            f"cannot use {error.filename or 'the file'}: {error.strerror}; free some space or choose "
            "another place (--output-dir of ns-train, --output-path of the other commands)"
        )
    return None


def traceback_wanted() -> bool:
    """Tell whether the user asked for tracebacks beside the messages."""
    return os.environ.get("DYN3D_TRACEBACK") == "1"


class ReadableErrors:
    """A ``sys.excepthook`` that shows what can be explained as its message, the rest as ``previous`` does."""

    def __init__(self, previous: _Hook) -> None:
        self.previous = previous

    def __call__(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
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
