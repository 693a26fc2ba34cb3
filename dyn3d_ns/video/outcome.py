"""What became of the stages of a run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

State = Literal["done", "kept", "given", "failed", "left out", "interrupted"]


@dataclass
class Outcome:
    """What became of one stage."""

    stage: str
    state: State
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_memory_mb: float = 0.0
    notes: list[str] = field(default_factory=list)
    error: str = ""


@dataclass
class Run:
    """What became of all stages."""

    outcomes: list[Outcome] = field(default_factory=list)

    @property
    def failed(self) -> bool:
        """Whether any stage failed or could not run."""
        return any(outcome.state in ("failed", "left out", "interrupted") for outcome in self.outcomes)
