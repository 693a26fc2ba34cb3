"""The stage `tracks`: points followed through the clip."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from dyn3d_ns.io.clip.workspace import Workspace
from dyn3d_ns.video.parts import FlowGuided, Tracker
from dyn3d_ns.video.registry import make_part
from dyn3d_ns.video.stage import Report, Stage
from dyn3d_ns.video.tracks.settings import TracksSettings


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
        tracker: Tracker = make_part("tracker", settings.method, settings)
        if isinstance(tracker, FlowGuided) and settings.guided:
            if workspace.has_flow(0, 1):
                tracker = tracker.guided_by(workspace.flow)
            else:
                report.note(
                    "points are followed without dense flow; run the stage `flow` first for better ones"
                )
        images = workspace.images()
        with report.progress(2 * len(images), "tracks") as step:
            tracks = tracker(_Watched(images, step), settings.interval, settings.grid)
        if tracks.xy.shape[1] == 0:
            report.note(
                "no point could be followed: the frames have no texture, or too much changes between them"
            )
        workspace.write_tracks(tracks, settings.interval, settings.grid)


class _Watched(Sequence[np.ndarray]):
    """The frames, telling of each that is read; trackers read most of them once or twice."""

    def __init__(self, images: Sequence[np.ndarray], step: Callable[[], None]) -> None:
        self._images, self._step = images, step

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, i: int) -> UInt8[np.ndarray, "H W 3"]:  # type: ignore[override]
        self._step()
        return self._images[i]
