"""The stage `tracks`: points followed through the clip."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from dyn3d_ns.io.errors import StageError
from dyn3d_ns.video.registry import make_part
from dyn3d_ns.video.stage import Report, Stage
from dyn3d_ns.video.tracking import LucasKanade
from dyn3d_ns.video.workspace import Workspace


@dataclass(frozen=True)
class TracksSettings:
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


class TracksStage(Stage):
    """Follows points both ways and writes DynamicVerse's results.npz."""

    name = "tracks"
    needs = ("frames",)
    uses = ("flow",)
    settings: TracksSettings

    def external_inputs(self) -> list[Path]:
        """Return the weight file, if any."""
        return [self.settings.weights] if self.settings.weights is not None else []

    def outputs(self, workspace: Workspace) -> list[Path]:
        """Return the file of tracks."""
        return [workspace.tracks_path(self.settings.interval, self.settings.grid)]

    def run(self, workspace: Workspace, report: Report) -> None:
        """Write the tracks."""
        settings = self.settings
        tracker = make_part("tracker", settings.method, settings)
        if isinstance(tracker, LucasKanade) and settings.guided:
            if workspace.has_flow(0, 1):
                tracker = replace(tracker, guide=workspace.flow)
            else:
                report.note(
                    "points are followed without dense flow; run the stage `flow` first for better ones"
                )
        images = workspace.images()
        with report.progress(2 * len(images), "tracks") as step:
            tracks = tracker(images, settings.interval, settings.grid, step)
        if tracks.xy.shape[1] == 0:
            report.note(
                "no point could be followed: the frames have no texture, or too much changes between them"
            )
        workspace.write_tracks(tracks, settings.interval, settings.grid)
