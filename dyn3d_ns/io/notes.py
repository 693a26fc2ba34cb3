"""Lines for the user that are no errors."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path


@cache
def tell(where: Path, note: str) -> None:
    """Print a line about a file or folder, once in a process: commands may read a dataset several times."""
    print(f"{where}: {note}", file=sys.stderr)
