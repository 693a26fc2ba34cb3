"""Places that a command writes to: checked before the work, and one process at a time."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from filelock import FileLock, Timeout

from dyn3d_ns.io.errors import CommandError

_held: dict[Path, FileLock] = {}


def require_writable(folder: Path, option: str) -> None:
    """Make a folder and try to write in it, so that nobody waits for a result which cannot be kept.

    It is kept for this process until that ends.

    Raises:
        CommandError: it cannot be made or written to, or another process writes there; the message names the
            option.
    """
    _try_to_write(folder, option)
    _one_at_a_time(folder, option)


def require_output_folder(path: Path, option: str = "--output") -> None:
    """Check that a folder can be made, or written to where it is there; keep it for this process.

    Raises:
        CommandError: it is a file, cannot be made or written to, or another process writes it.
    """
    if path.is_file():
        raise CommandError(f"{option} must be a folder, but {path} is a file")
    _try_to_write(path if path.is_dir() else path.parent, option)
    _one_at_a_time(path, option)


def _try_to_write(folder: Path, option: str) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise CommandError(
            f"cannot write to {folder} ({error.strerror}); give another place with {option}"
        ) from error


def require_output_file(path: Path, suffix: str | Sequence[str], option: str = "--output") -> None:
    """Check the name of a file to write, and that it can be written; keep it for this process.

    Raises:
        CommandError: another suffix was given, the path is a folder, it cannot be written to, or another
            process writes it.
    """
    suffixes = (suffix,) if isinstance(suffix, str) else suffix
    known = " or ".join(suffixes)
    if path.is_dir():
        raise CommandError(f"{option} must be a file ({known}), but {path} is a folder")
    if path.suffix.lower() not in suffixes:
        raise CommandError(f"{option} must end in {known}, got {path}")
    _try_to_write(path.parent, option)
    if path.exists() and not os.access(path, os.W_OK):
        raise CommandError(f"cannot write to {path} (Permission denied); give another place with {option}")
    _one_at_a_time(path, option)


def _one_at_a_time(path: Path, option: str) -> None:
    """Keep other commands of this user on this machine from writing to a place until this process ends.

    The lock lies in the system's folder for temporary files, so that nothing of it is left beside results.
    """
    path = path.resolve()
    if path in _held:
        return
    name = hashlib.sha256(str(path).encode()).hexdigest()[:24]
    user = os.getuid() if hasattr(os, "getuid") else ""
    lock = FileLock(Path(tempfile.gettempdir()) / f"dyn3d-{user}-{name}.lock", timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise CommandError(
            f"another process is writing to {path}: wait for its end, or give another place with {option}"
        ) from error
    _held[path] = lock
