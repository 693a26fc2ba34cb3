"""Whose run a folder is: one training writes there at a time, and none over another's stream."""

from __future__ import annotations

from pathlib import Path

from filelock import FileLock, Timeout

from dyn3d_ns.engine import checkpoint
from dyn3d_ns.io.errors import UserError
from dyn3d_ns.io.shell import shell_word
from dyn3d_ns.io.stream.header import FOLDER_NAME, HEADER_NAME

LOCK_NAME = "training.lock"
"""File that a training holds; the system lets go of it however the training ends."""
_held: dict[Path, FileLock] = {}


def claim(run: Path, goes_on_from: Path | None) -> None:
    """Keep other trainings out of a run's folder until this process ends; calling it again changes nothing.

    Args:
        run: The folder, which is made if need be.
        goes_on_from: Folder of the run that is resumed, if one is.

    Raises:
        UserError: another training writes there, or it holds a stream that this one does not go on with.
    """
    run = run.resolve()
    if run in _held:
        return
    run.mkdir(parents=True, exist_ok=True)
    lock = FileLock(run / LOCK_NAME, timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise UserError(
            f"another training is writing to {run}: wait for its end, or choose another --timestamp or "
            "--output-dir"
        ) from error
    if (goes_on_from is None or goes_on_from.resolve() != run) and _can_go_on(run):
        lock.release()
        raise UserError(
            f"{run} holds a stream already: go on with it by --load-dir "
            f"{shell_word(run / checkpoint.FOLDER_NAME)}, choose another --timestamp or --output-dir, or "
            "delete the folder"
        )
    _held[run] = lock


def make_new(run: Path) -> bool:
    """Make a run's folder; return whether nobody had made it before, another process least of all."""
    run.parent.mkdir(parents=True, exist_ok=True)
    try:
        run.mkdir()
    except FileExistsError:
        return False
    return True


def _can_go_on(run: Path) -> bool:
    """Whether there is a stream that a training could go on with; one without a checkpoint is lost anyway."""
    return (run / FOLDER_NAME / HEADER_NAME).is_file() and bool(checkpoint.checkpoints_in(run))
