"""Flow between any two frames: from disk, or computed once for both ways."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from dyn3d_ns.io.clip.types import Cameras, SparsePoints
from dyn3d_ns.video.depth.views import PointsByFrame, matching_frames
from dyn3d_ns.video.flow.consistency import flow_both_ways
from dyn3d_ns.video.flow.opencv import DisFlow
from dyn3d_ns.video.flow.source import FlowSource
from tests.video.cards import CardClip


class Counting:
    """Estimates flow, and counts how often."""

    def __init__(self) -> None:
        self.count, self.estimator = 0, DisFlow()

    def __call__(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        self.count += 1
        return self.estimator(a, b)


def test_both_ways_are_computed_once(tmp_path: Path) -> None:
    clip = CardClip(frames=4)
    source = FlowSource(clip.write(tmp_path / "clip", "frames flow"))
    counting = source._estimator = Counting()
    ahead, back = source(0, 2), source(2, 0)
    assert counting.count == 2
    true_ahead, true_back = flow_both_ways(DisFlow(), clip.images[0], clip.images[2])
    np.testing.assert_array_equal(ahead.flow, true_ahead.flow)
    np.testing.assert_allclose(back.flow, true_back.flow, rtol=1e-3, atol=1e-3)
    assert (ahead.valid == true_ahead.valid).all() and (back.valid == true_back.valid).all()
    source(2, 0)
    assert counting.count == 4, "it is not held for ever"
    assert (source(1, 2).flow == source.workspace.flow(1, 2).flow).all() and counting.count == 4


def test_little_room_holds_little(tmp_path: Path) -> None:
    clip = CardClip(frames=5)
    source = FlowSource(clip.write(tmp_path / "clip", "frames"), flow_bytes=2 * 5 * 96 * 128)
    for target in (1, 2, 3, 4):
        source(0, target)
    assert list(source._back) == [(3, 0), (4, 0)]


def seen_by_all(frames: int, step: float) -> tuple[Cameras, PointsByFrame]:
    """Return cameras that go sideways past points at depth 1, all seen in all frames."""
    poses = np.tile(np.eye(4), (frames, 1, 1))
    poses[:, 0, 3] = step * np.arange(frames)
    Ks = np.tile(np.array([[100.0, 0, 50], [0, 100, 40], [0, 0, 1]]), (frames, 1, 1))
    xyz = np.array([[0.1 * k, 0.0, 1.0] for k in range(5)], np.float32)
    ids = np.repeat(np.arange(frames, dtype=np.int32), 5)
    points = SparsePoints(
        xyz, np.zeros((5, 3), np.uint8), ids, np.tile(np.arange(5, dtype=np.int32), frames),
        np.zeros((5 * frames, 2), np.float32),
    )  # fmt: skip
    return Cameras(Ks, poses, np.ones(frames, bool)), PointsByFrame(points, frames)


def test_frames_are_matched_both_ways_as_far_as_flow_is_trusted() -> None:
    # A frame moves what is seen by 2 of 100 pixels; 15 are trusted.
    cameras, seen = seen_by_all(40, 0.02)
    matched = matching_frames(cameras, seen, 100, 6)
    assert all(frame in matched[other] for frame in range(40) for other in matched[frame])
    assert all(0 < abs(other - frame) <= 7 for frame in range(40) for other in matched[frame])
    assert (matched[0] == [1, 2, 4, 5, 6, 7]).all(), "the first has later ones alone"
    assert matched[20].min() == 13 and matched[20].max() == 27
    pairs = sum(len(others) for others in matched) / 2
    assert pairs <= 40 * 6 / 2 + 6 and min(len(others) for others in matched) >= 5


def test_a_camera_that_shows_nothing_new_is_matched_with_none() -> None:
    cameras, seen = seen_by_all(5, 0.02)
    assert all(len(others) == 0 for others in matching_frames(replace(cameras, static=True), seen, 100, 6))
    cameras, seen = seen_by_all(5, 0.5)
    assert all(len(others) == 0 for others in matching_frames(cameras, seen, 100, 6))
