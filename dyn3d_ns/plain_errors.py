"""One clear message instead of a traceback, for what the user of a command can mend.

Nerfstudio's commands let every exception end the process. ``install`` puts a hook before Python's own that
says in a few lines what was given, what was expected and how to mend it, where that is known; everything
else is shown as before. ``DYN3D_TRACEBACK=1`` in the environment shows the traceback as well.
"""

from __future__ import annotations

import errno
import json
import os
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

UNWRITABLE = (errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT)
"""Error numbers of a place that cannot be written to, or is full."""


def install() -> None:
    """Explain uncaught exceptions of this process; installing it twice changes nothing."""
    previous = sys.excepthook
    if getattr(previous, "_dyn3d_explains", False):
        return

    def explain_or_show(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        message = explanation(error, trace)
        if message is None or os.environ.get("DYN3D_TRACEBACK") == "1":
            previous(kind, error, trace)
        if message is not None:
            print(f"\nError: {message}", file=sys.stderr)

    explain_or_show._dyn3d_explains = True  # type: ignore[attr-defined]
    sys.excepthook = explain_or_show


def explanation(error: BaseException, trace: TracebackType | None) -> str | None:
    """Return what an uncaught exception means to the user, or None where only a traceback helps."""
    from dyn3d_ns.io.errors import DatasetError

    if isinstance(error, DatasetError) or getattr(error, "for_user", False):
        return str(error)
    if isinstance(error, OSError) and error.errno in UNWRITABLE:
        return (
            f"cannot use {error.filename or 'the file'}: {error.strerror}; free some space or choose "
            "another place (--output-dir of ns-train, --output-path of the other commands)"
        )
    command = (_locals_of(trace, "main") or {}).get("self")
    camera_path = getattr(command, "camera_path_filename", None)
    if isinstance(error, OSError | ValueError | KeyError) and camera_path is not None:
        wrong = _wrong_camera_path(camera_path, error)
        if wrong is not None:
            return wrong
    found = _locals_of(trace, "eval_setup")
    if found is None:
        return None
    return _wrong_config(found["config_path"]) or _wrong_checkpoints(found.get("config"), error)


def _locals_of(trace: TracebackType | None, function: str) -> dict[str, Any] | None:
    """Return the local variables of a function of that name which the exception passed through."""
    while trace is not None:
        if trace.tb_frame.f_code.co_name == function:
            return trace.tb_frame.f_locals
        trace = trace.tb_next
    return None


def _wrong_camera_path(path: Path, error: BaseException) -> str | None:
    """Explain what is wrong with the file of ``ns-render camera-path``, if it is that file."""
    remedy = "`dyn3d path orbit --load-config … --output orbit.json` writes one, and so does the viewer"
    if not path.is_file():
        return f"--camera-path-filename {path} is {'a folder' if path.is_dir() else 'not there'}; {remedy}"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as reason:
        return f"--camera-path-filename {path} is no JSON ({reason}); {remedy}"
    if isinstance(error, KeyError) and error.args[0] not in content:
        return f"--camera-path-filename {path} lacks {error.args[0]!r}; {remedy}"
    return None


def _wrong_config(path: Path) -> str | None:
    if not path.is_file():
        return (
            f"--load-config must be the config.yml of a training, but {path} is "
            f"{'a folder' if path.is_dir() else 'not there'}; ns-train prints its place "
            "(outputs/<scene>/<method>/<date>/config.yml)"
        )
    return None


def _wrong_checkpoints(config: Any, error: BaseException) -> str | None:
    """Explain that the folder which the config names holds no checkpoint, or none of the step asked for."""
    folder = getattr(config, "load_dir", None)
    if folder is None or not isinstance(error, AssertionError | IndexError | FileNotFoundError | ValueError):
        return None
    steps = sorted(path.name for path in Path(folder).glob("step-*.ckpt"))
    if isinstance(error, AssertionError) and "Checkpoint" in str(error) and steps:
        return f"{error}; there are {', '.join(steps)}"
    if steps:
        return None
    return (
        f"{folder} holds no checkpoint (step-*.ckpt); train first, or run the command in the folder in which "
        "the training ran, since its config.yml may name places relative to that"
    )
