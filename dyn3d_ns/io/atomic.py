"""Write files so that a reader sees the old content or the whole new one, never a part."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any


@contextmanager
def atomic_path(path: Path | str, durable: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` that replaces it when the block ends without an exception.

    The data are flushed to the disk before the rename; without ``durable`` they are not, so that a power cut
    may leave less, for who checks what he reads and can make it again. On an exception, a full disk included,
    the temporary file is removed and ``path`` stays as it was.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".tmp")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes files private; give the result what a plain open() would have given.
        temporary.chmod(0o666 & ~_umask())
        if durable:
            _fsync(temporary)
        temporary.replace(target)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno is not None and error.filename is None:
            error.filename = str(target)  # a full disk names none
        raise
    if durable:
        _fsync_folder(target.parent)


@contextmanager
def atomic_folder(path: Path | str) -> Iterator[Path]:
    """Yield a temporary folder beside ``path``, renamed to it when the block ends without an exception.

    ``path`` must not exist, or be an empty folder. On an exception the temporary folder is removed.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.", suffix=".tmp"))
    try:
        yield temporary
        # mkdtemp makes folders private; give the result what a plain mkdir() would have given.
        temporary.chmod(0o777 & ~_umask())
        if target.is_dir():
            target.rmdir()
        temporary.rename(target)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    _fsync_folder(target.parent)


@contextmanager
def atomic_open(path: Path | str, mode: str = "wb") -> Iterator[IO[Any]]:
    """Open a file for writing that takes the place of ``path`` once it is closed without an exception."""
    if mode not in ("w", "wb"):
        raise ValueError(f"atomic_open writes whole files: mode must be 'w' or 'wb', got {mode!r}")
    encoding = None if "b" in mode else "utf-8"
    with atomic_path(path) as temporary, open(temporary, mode, encoding=encoding) as file:
        yield file


def write_bytes(path: Path | str, content: bytes) -> None:
    """Replace a file's content by bytes, atomically."""
    with atomic_open(path, "wb") as file:
        file.write(content)


def write_text(path: Path | str, content: str) -> None:
    """Replace a file's content by UTF-8 text, atomically."""
    with atomic_open(path, "w") as file:
        file.write(content)


def write_json(path: Path | str, value: Any, indent: int | None = 2) -> None:
    """Replace a file's content by JSON, atomically; NaN and infinities are refused."""
    write_text(path, json.dumps(value, indent=indent, allow_nan=False) + "\n")


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


def _fsync(path: Path) -> None:
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def _fsync_folder(folder: Path) -> None:
    """Make a rename durable; Windows has no such call and renames durably enough."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
