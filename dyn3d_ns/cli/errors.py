"""What the `dyn3d` command tells its user without a traceback."""

from __future__ import annotations

from dyn3d_ns.io.errors import CommandError
from dyn3d_ns.io.outputs import require_output_file, require_output_folder, require_writable

__all__ = ["CommandError", "require_output_file", "require_output_folder", "require_writable"]
