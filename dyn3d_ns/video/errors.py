"""What stops a stage, said so that the user can mend it."""

from __future__ import annotations

from dyn3d_ns.io.errors import DatasetError


class StageError(DatasetError):
    """A stage cannot do its work; the message names what was given, what was expected and the fix."""
