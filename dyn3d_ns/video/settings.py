"""What the settings of all stages have in common."""

from __future__ import annotations


class StageSettings:
    """Settings of a stage: a frozen dataclass with a default for each field."""

    def check(self) -> None:
        """Raise a StageError for values that make no sense; called when the stage is built."""
