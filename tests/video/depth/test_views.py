"""Flow between any two frames: from disk, or computed once for both ways."""

from __future__ import annotations

from pathlib import Path

import numpy as np

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
