"""What the `dyn3d` command tells its user without a traceback."""

from __future__ import annotations

from dyn3d_ns.io.errors import CommandError
from dyn3d_ns.io.outputs import one_at_a_time, require_output_file, require_writable

__all__ = ["CommandError", "one_at_a_time", "require_output_file", "require_writable"]
