"""Motion statistics, the greedy selection, and the compensation of camera motion."""

from __future__ import annotations

import numpy as np
import pytest

from dyn3d_ns.video.keyframes.selection import motion_statistics, select_keyframes, without_camera_motion


def test_statistics_are_those_of_the_length() -> None:
    flow = np.zeros((10, 10, 2), np.float32)
    flow[..., 0] = np.arange(100).reshape(10, 10) * 0.6
    flow[..., 1] = np.arange(100).reshape(10, 10) * 0.8
    found = motion_statistics(flow)
    expected = {"mean": 49.5, "median": 49.5, "percentile_75": 74.25, "percentile_90": 89.1, "max": 99.0}
    assert {k: found[k] for k in expected} == pytest.approx(expected, rel=1e-4)


def test_selection_is_greedy_with_a_gap() -> None:
    scores = [9, 8, 7, 1, 2, 6, 5, 1, 1, 4, 1]
    assert select_keyframes(scores, 12, 0.25, 3) == [0, 5, 9]
    assert select_keyframes(scores, 12, 0.25, 1) == [0, 1, 2]


def test_the_gap_shrinks_where_it_leaves_no_room() -> None:
    # 6 of 12 frames do not fit with a gap of 4; it becomes (12 - 1) // 6 = 1.
    assert select_keyframes(list(range(11)), 12, 0.5, 4) == [5, 6, 7, 8, 9, 10]
    assert select_keyframes([1.0], 2, 0.01, 3) == [0]


def test_the_last_frame_has_no_step_and_is_never_chosen() -> None:
    assert max(select_keyframes([1, 1, 1, 1], 5, 1.0, 1)) == 3


def test_camera_motion_is_taken_away_and_a_moving_object_stays() -> None:
    height, width = 60, 80
    xs, ys = np.meshgrid(np.arange(width), np.arange(height))
    turn = np.radians(2)
    x = np.cos(turn) * xs - np.sin(turn) * ys + 5
    y = np.sin(turn) * xs + np.cos(turn) * ys - 2
    flow = np.stack((x - xs, y - ys), axis=-1).astype(np.float32)
    flow[20:32, 30:50, 0] += 7
    rest = without_camera_motion(flow, np.ones((height, width), bool))
    assert rest is not None
    expected = np.zeros_like(flow)
    expected[20:32, 30:50, 0] = 7
    assert np.abs(rest - expected).max() < 0.2


def test_flow_without_any_common_motion_has_none() -> None:
    noise = np.random.default_rng(0).normal(size=(60, 80, 2)).astype(np.float32) * 30
    assert without_camera_motion(noise, np.ones((60, 80), bool)) is None
    assert without_camera_motion(noise, np.zeros((60, 80), bool)) is None
