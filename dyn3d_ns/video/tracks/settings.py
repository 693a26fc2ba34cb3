"""Settings of the stage `tracks`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dyn3d_ns.io.errors import StageError
from dyn3d_ns.video.settings import StageSettings


@dataclass(frozen=True)
class TracksSettings(StageSettings):
    """How points are followed."""

    method: str = "lucas-kanade"
    """`lucas-kanade`, `cotracker` (needs --tracks.weights), the name of a plug-in, or module:Class."""
    interval: int = 10
    """New points are picked every so many frames."""
    grid: int = 50
    """Points picked in one frame: at most the square of this, evenly spread."""
    window: int = 0
    """Lucas-Kanade: side of the matched window, pixels; 0 takes one that fits the image."""
    guided: bool = True
    """Lucas-Kanade: follow points only where dense flow agrees, if the stage `flow` has run."""
    levels: int = 3
    """Lucas-Kanade: pyramid levels above the full size."""
    max_error: float = 1.0
    """Lucas-Kanade: a point is lost if following it back misses it by more pixels."""
    max_tracks: int = 20_000
    """Most tracks of the clip."""
    weights: Path | None = None
    """Weight file of CoTracker3 offline."""
    device: str = "cpu"
    """Where a network runs: cpu, cuda."""

    def check(self) -> None:
        """Raise a StageError for values that make no sense."""
        for name in ("interval", "grid", "max_tracks"):
            if getattr(self, name) < 1:
                raise StageError(
                    f"--tracks.{name.replace('_', '-')} must be positive, got {getattr(self, name)}"
                )
