"""What the `dyn3d` command tells its user without a traceback."""

from __future__ import annotations

import tempfile
from pathlib import Path

from dyn3d_ns.io.errors import UserError


class CommandError(UserError):
    """The arguments of a `dyn3d` command contradict each other, or name what is not there."""


def require_writable(folder: Path, option: str) -> None:
    """Make a folder and try to write in it, so that nobody waits for a result which cannot be kept.

    Raises:
        CommandError: it cannot be made or written to; the message names the option.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise CommandError(
            f"cannot write to {folder} ({error.strerror}); give another place with {option}"
        ) from error


def require_output_file(path: Path, suffix: str, option: str = "--output") -> None:
    """Check the name of a file to write, and that it can be written.

    Raises:
        CommandError: another suffix was given, the path is a folder, or it cannot be written to.
    """
    if path.is_dir():
        raise CommandError(f"{option} must be a file ({suffix}), but {path} is a folder")
    if path.suffix != suffix:
        raise CommandError(f"{option} must end in {suffix}, got {path}")
    require_writable(path.parent, option)
