"""What an export has written, and what every format asks of the disk and of its packages."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np

from dyn3d_ns.io.atomic import atomic_path
from dyn3d_ns.io.errors import CommandError
from dyn3d_ns.io.splats import About, SplatSequence


@dataclass(frozen=True)
class Written:
    """What lies on the disk by now."""

    path: Path
    size: int
    """Bytes, of all files."""
    loss: str
    """What the format does not hold, or not exactly, and by how much."""
    note: str = ""
    """What else a user should know."""


def require_package(name: str, extra: str, why: str) -> ModuleType:
    """Import a package that only some formats need.

    Raises:
        CommandError: it is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise CommandError(f"{why} needs an extra: pip install 'dyn3d-ns[{extra}]'") from error


def require_space(folder: Path, size: int) -> None:
    """Refuse a result that the disk has no room for, before anything is written.

    Raises:
        CommandError: it has not.
    """
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if free < size:
        raise CommandError(
            f"{folder} has {free / 1e6:.1f} MB left, and the export takes about {size / 1e6:.1f} MB: "
            "free some space, ask for fewer times, or give another place with --output"
        )


@contextmanager
def new_file(path: Path, size: int = 0) -> Iterator[Path]:
    """Yield a temporary path, of the same suffix, whose file takes the place of ``path`` at the end.

    Args:
        path: File to write.
        size: Bytes that it will take, about.

    Raises:
        CommandError: the disk has no room for it.
    """
    require_space(path.parent, size)
    with atomic_path(path) as temporary:
        # Some libraries go by the suffix.
        named = temporary.with_name(temporary.name + path.suffix)
        try:
            yield named
            named.replace(temporary)
        finally:
            named.unlink(missing_ok=True)


def frame_rate(sequence: SplatSequence) -> float:
    """Return the rate of times that are evenly spaced, or that of the recording where they are not."""
    return even_rate(sequence) or sequence.about.fps


def even_rate(sequence: SplatSequence) -> float | None:
    """Return the rate of times that are evenly spaced, or None where they are not."""
    steps = np.diff(sequence.seconds)
    if len(steps) and steps.min() > 0 and np.ptp(steps) < 1e-4 * steps.mean():
        return round(float(1 / steps.mean()), 6)
    return None


def provenance(about: About) -> dict[str, str]:
    """Return what a format can state of where a scene comes from, in words by name."""
    found = {"method": about.method, "writer": about.version, "up": about.up}
    if about.observed[1] > about.observed[0]:
        found["observed seconds"] = f"{about.observed[0]:.6g} to {about.observed[1]:.6g}"
    found["recorded frames per second"] = f"{about.fps:.6g}"
    if about.metres_per_unit is not None:
        found["metres per unit"] = f"{about.metres_per_unit:.6g}"
    if any(about.origin):
        found["origin"] = " ".join(f"{value:.17g}" for value in about.origin)
    return {name: value for name, value in found.items() if value}
