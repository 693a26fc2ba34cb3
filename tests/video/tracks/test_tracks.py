"""Lucas-Kanade tracks on motion that is known."""

from __future__ import annotations

import numpy as np
import pytest

from dyn3d_ns.io.clip.types import Flow
from dyn3d_ns.video.flow.consistency import flow_both_ways
from dyn3d_ns.video.flow.opencv import DisFlow
from dyn3d_ns.video.tracks.lucas_kanade import LucasKanade, new_points, sample
from tests.video.clips import shifted_frames, texture


def test_a_sliding_picture_is_followed_both_ways() -> None:
    frames = shifted_frames(9, 80, 120, step=(2, 1))
    tracks = LucasKanade()(frames, interval=4, grid=10)
    assert set(np.unique(tracks.init_frames)) <= {0, 4, 8} and len(np.unique(tracks.init_frames)) > 1
    assert (tracks.height, tracks.width) == (80, 120)
    start = tracks.xy[tracks.init_frames, np.arange(len(tracks.init_frames))]
    elapsed = np.arange(9)[:, None] - tracks.init_frames
    expected = start + elapsed[..., None] * np.array([-2, -1])
    error = np.linalg.norm(tracks.xy - expected, axis=-1)[tracks.visible]
    assert np.median(error) < 0.1 and np.percentile(error, 95) < 0.5
    late = tracks.init_frames == 8
    assert tracks.visible[2, late].mean() > 0.5, "tracks from the last frame run back to the first ones"


def test_points_that_leave_the_image_are_not_visible() -> None:
    frames = shifted_frames(12, 64, 96, step=(6, 0))
    tracks = LucasKanade()(frames, interval=20, grid=8)
    assert ((tracks.xy[tracks.visible] >= 0) & (tracks.xy[tracks.visible] <= (95, 63))).all()
    gone = tracks.xy[0, :, 0] < 30
    assert gone.any() and not tracks.visible[8, gone].any()


def test_a_covered_point_is_lost() -> None:
    back, square = texture(96, 128), texture(40, 40, seed=3)
    frames = []
    for i in range(6):
        frame = back.copy()
        frame[28:68, 10 + 12 * i : 50 + 12 * i] = square
        frames.append(frame)
    flows = {}
    for i in range(5):
        flows[i, i + 1], flows[i + 1, i] = flow_both_ways(DisFlow(), frames[i], frames[i + 1])

    def guide(i: int, j: int) -> Flow:
        return flows[i, j]

    tracks = LucasKanade(guide=guide)(frames, interval=10, grid=14)
    x, y = tracks.xy[0].T
    covered = (x > 80) & (x < 104) & (y > 34) & (y < 62)
    beside = (y > 76) | (y < 20)
    assert covered.sum() >= 3
    assert tracks.visible[5, covered].mean() < 0.35
    assert tracks.visible[5, beside].mean() > 0.9


def test_new_points_fill_empty_cells_only() -> None:
    gray = texture(80, 120)[..., 0]
    everywhere = new_points(gray, np.zeros((0, 2), np.float32), 10)
    assert 60 <= len(everywhere) <= 100
    half = everywhere[everywhere[:, 0] < 60]
    more = new_points(gray, half, 10)
    assert len(more) and (more[:, 0] > 55).all()
    assert len(new_points(gray, everywhere, 10)) == 0
    assert len(new_points(np.full((80, 120), 77, np.uint8), half[:0], 10)) == 0


def test_the_number_of_tracks_is_bounded_and_shared_by_the_clip() -> None:
    frames = [texture(64, 96, seed=i) for i in range(8)]
    frames = [f for f in frames for _ in range(2)]
    tracks = LucasKanade(max_tracks=60)(frames, interval=4, grid=20)
    assert 0 < len(tracks.init_frames) <= 60
    assert (tracks.init_frames == 12).sum() >= 10


def test_clips_without_texture_give_no_tracks() -> None:
    tracks = LucasKanade()([np.full((48, 64, 3), 100, np.uint8)] * 4, interval=2, grid=8)
    assert tracks.xy.shape == (4, 0, 2)


@pytest.mark.parametrize("levels", [0, 3])
def test_the_pyramid_finds_large_motion(levels: int) -> None:
    frames = shifted_frames(2, 96, 160, step=(18, 0))
    tracks = LucasKanade(window=11, levels=levels)(frames, interval=5, grid=8)
    step = (tracks.xy[1] - tracks.xy[0])[tracks.visible.all(axis=0)]
    right = len(step) > 20 and np.abs(np.median(step, axis=0) - (-18, 0)).max() < 0.5
    assert right == (levels == 3)


def test_sampling_is_bilinear() -> None:
    values = np.stack(np.meshgrid(np.arange(6.0), np.arange(5.0)), axis=-1).astype(np.float32)
    points = np.float32([[1.25, 2.5], [4.5, 0.75], [9, 9]])
    assert sample(values, points) == pytest.approx(np.array([[1.25, 2.5], [4.5, 0.75], [5, 4]]), abs=0.02)
