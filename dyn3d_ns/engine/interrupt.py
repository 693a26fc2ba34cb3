"""Ctrl-C and SIGTERM: as a request that a loop answers between two steps, or as an exception.

What a shell starts in the background (``nohup ... &``) ignores SIGINT from its first moment. It stays deaf to
Ctrl-C here: only SIGTERM stops it, and :func:`how_to_stop` says so.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from dyn3d_ns.io.shell import shell_word

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_WHERE_FROM = ("--load-dir", "--load-checkpoint", "--load-step")
"""Options of a training that say what it resumes."""


class Terminated(KeyboardInterrupt):
    """SIGTERM, where Ctrl-C raises KeyboardInterrupt."""


def exit_code(stop: KeyboardInterrupt) -> int:
    """Return the exit code that a shell expects of a program ended by Ctrl-C or SIGTERM."""
    return 128 + (signal.SIGTERM if isinstance(stop, Terminated) else signal.SIGINT)


def how_to_stop() -> str:
    """Name what stops this process: Ctrl-C, or a command where it does not listen to Ctrl-C."""
    return f"kill {os.getpid()}" if signal.getsignal(signal.SIGINT) == signal.SIG_IGN else "Ctrl-C"


def resume_command(arguments: Sequence[str], checkpoints: Path) -> str:
    """Return what resumes the training of a process, given its command line and folder of checkpoints.

    The option stands right after the method: behind the name of a dataparser it would be none of ns-train's.
    """
    if len(arguments) < 2 or Path(arguments[0]).name != "ns-train":
        return f"the same command and --load-dir {shell_word(checkpoints)} (before a dataparser's name)"
    kept, value_follows = [], False
    for word in arguments[2:]:
        name = word.partition("=")[0].replace("_", "-")
        if name in _WHERE_FROM:
            value_follows = "=" not in word
        elif value_follows:
            value_follows = False
        else:
            kept.append(word)
    return shlex.join(["ns-train", arguments[1], "--load-dir", str(checkpoints), *kept])


@contextlib.contextmanager
def sigterm_as_exception() -> Iterator[None]:
    """Raise Terminated at the first SIGTERM, so that work is left as by Ctrl-C; a second one ends at once.

    Outside the main thread signals cannot be caught, and nothing happens.
    """

    previous: dict[int, Any] = {}

    def terminate(_number: int, _frame: FrameType | None) -> None:
        _restore(previous)
        raise Terminated

    _catch((signal.SIGTERM,), terminate, previous)
    try:
        yield
    finally:
        _restore(previous)


class StopRequest:
    """While entered, the first Ctrl-C or SIGTERM only sets ``signal``; a second one acts as usual.

    Outside the main thread signals cannot be caught, and nothing happens.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        _catch(_SIGNALS, self._request, self._previous)
        return self

    def __exit__(self, *_: object) -> None:
        _restore(self._previous)

    def __bool__(self) -> bool:
        return self.signal is not None

    @property
    def exit_code(self) -> int:
        """Exit code that a shell expects of a program ended by this signal."""
        return 128 + (self.signal or 0)

    def _request(self, number: int, _frame: FrameType | None) -> None:
        self.signal = number
        _restore(self._previous)


def _catch(numbers: tuple[signal.Signals, ...], handler: Any, previous: dict[int, Any]) -> None:
    """Handle signals that are not ignored; note in ``previous`` what handled them before."""
    if threading.current_thread() is not threading.main_thread():
        return
    for number in numbers:
        before = signal.getsignal(number)
        if before not in (signal.SIG_IGN, None):  # None was not set from Python and could not be put back
            previous[number] = before
            signal.signal(number, handler)


def _restore(previous: dict[int, Any]) -> None:
    """Put handlers back, once."""
    while previous:
        signal.signal(*previous.popitem())
