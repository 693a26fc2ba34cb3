"""Arrays kept beside a scene, which are made again when what they were made of has changed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from dyn3d_ns.io.arrays import Npz
from dyn3d_ns.io.atomic import atomic_open
from dyn3d_ns.io.damage import ARRAY_ERRORS

FOLDER = "dyn3d"
_VERSION = "1"
"""To be counted up whenever something is made in another way."""
_KEY = "key"


def key_of(files: Iterable[Path], *more: bytes) -> str:
    """Return what changes when one of the files does: names, sizes and times, and other bytes."""
    digest = hashlib.sha256(_VERSION.encode())
    for path in files:
        state = path.stat()
        digest.update(f"{path.name} {state.st_size} {state.st_mtime_ns}\n".encode())
    for part in more:
        digest.update(part)
    return digest.hexdigest()


def kept(root: Path, kind: str, key: str, make: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Return the arrays of a kind, made and kept in ``root/dyn3d`` unless they lie there with this key.

    Where the folder cannot be written to they are not kept.
    """
    path = root / FOLDER / f"made-{kind}.npz"
    found = _read(path, key)
    if found is not None:
        return found
    made = make()
    if may_write(root):
        try:
            with atomic_open(path) as file:
                np.savez(file, **{_KEY: np.array(key)}, **made)  # type: ignore[arg-type]
        except OSError:
            # What is kept saves time and nothing else: a full disk ends no training.
            return made
    return made


def may_write(folder: Path) -> bool:
    """Tell whether a folder is meant to be written to; the superuser may, but should not, where none is."""
    return bool(folder.stat().st_mode & 0o222) and os.access(folder, os.W_OK)


def _read(path: Path, key: str) -> dict[str, np.ndarray] | None:
    if not path.is_file():
        return None
    try:
        with Npz(path) as content:
            if _KEY not in content or str(content[_KEY]) != key:
                return None
            return {name: content[name] for name in content if name != _KEY}
    except ARRAY_ERRORS:
        # A damaged file is one that is made again.
        return None
