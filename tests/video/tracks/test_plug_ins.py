"""Trackers of other packages, written to the protocol and registered as users do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dyn3d_ns.io.clip.types import Flow
from dyn3d_ns.io.clip.workspace import Workspace
from dyn3d_ns.io.errors import StageError
from dyn3d_ns.video.tracks.settings import TracksSettings
from dyn3d_ns.video.tracks.stage import TracksStage
from tests.video.cards import QuietReport
from tests.video.clips import shifted_frames, write_folder

CODE = '''
import numpy as np
from dyn3d_ns.io.clip.types import Flow, Tracks
from dyn3d_ns.video.parts import Configured, FlowGuided


class Corner:
    """Follows the first pixel of every image."""

    def __call__(self, images, interval, grid):
        count = sum(image.shape == images[0].shape for image in images)
        xy = np.full((count, 2, 2), [interval, grid], np.float32)
        seen = np.ones((count, 2), bool)
        return Tracks(xy, seen, seen.astype(np.float32), np.zeros(2, np.int64), *images[0].shape[:2])


class Guided(Corner, Configured, FlowGuided):
    def __init__(self, limit):
        self.limit, self.flow = limit, None

    @classmethod
    def from_settings(cls, settings):
        return cls(settings.max_tracks)

    def guided_by(self, flow):
        self.flow = flow
        return self

    def __call__(self, images, interval, grid):
        assert self.limit == 7
        step = self.flow(0, 1).flow[0, 0, 0] if self.flow is not None else -1
        return super().__call__(images, interval, int(step))
'''


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """Return a clip of four frames, with the package of the trackers installed."""
    site = tmp_path / "site"
    (site / "corner-1.0.dist-info").mkdir(parents=True)
    (site / "corner.py").write_text(CODE)
    (site / "corner-1.0.dist-info/METADATA").write_text("Name: corner\nVersion: 1.0\n")
    (site / "corner-1.0.dist-info/entry_points.txt").write_text(
        "[dyn3d_ns.video.tracker]\ncorner = corner:Corner\n"
    )
    monkeypatch.syspath_prepend(site)
    write_folder(tmp_path / "clip/rgb", shifted_frames(4, 40, 60), "0000{}.png")
    return Workspace(tmp_path / "clip")


@pytest.mark.parametrize("method", ["corner", "corner:Corner"])
def test_a_tracker_written_to_the_protocol_runs_in_the_stage(workspace: Workspace, method: str) -> None:
    TracksStage(TracksSettings(method=method, interval=3, grid=5)).run(workspace, QuietReport())
    tracks = workspace.tracks()
    assert tracks.xy.shape == (4, 2, 2) and (tracks.xy == [3, 5]).all()
    assert workspace.tracks_path(3, 5).is_file()


def test_a_tracker_may_ask_for_settings_and_flow(workspace: Workspace) -> None:
    stage = TracksStage(TracksSettings(method="corner:Guided", max_tracks=7))
    report = QuietReport()
    stage.run(workspace, report)
    assert (workspace.tracks().xy[..., 1] == -1).all() and "without dense flow" in report.notes[0]
    flow = np.full((40, 60, 2), 2.0, np.float32)
    workspace.write_flow(0, 1, Flow(flow, np.ones((40, 60), bool)))
    stage.run(workspace, QuietReport())
    assert (workspace.tracks().xy[..., 1] == 2).all()


def test_a_name_that_nobody_registered_is_refused(workspace: Workspace) -> None:
    with pytest.raises(StageError, match=r"no tracker named 'corners'; choose one of corner, cotracker"):
        TracksStage(TracksSettings(method="corners")).run(workspace, QuietReport())
