"""Commands that are shown to be copied into a shell."""

from __future__ import annotations

import shlex
from pathlib import Path


def shell_word(value: str | Path) -> str:
    """Return a path or name as one word of a command, quoted where a shell would take it apart."""
    return shlex.quote(str(value))
