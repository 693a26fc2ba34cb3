"""Residuals against closed forms and against a scene whose motion is known."""

from __future__ import annotations

import numpy as np
import pytest

from dyn3d_ns.geometry.cameras import pixel_grid
from dyn3d_ns.geometry.epipolar import sampson_distance
from dyn3d_ns.video.masks.epipolar import homography_distance
from dyn3d_ns.video.masks.residuals import pair_residual
from tests.video.cards import MOVER, PILLAR, WALL, CardClip

SIDEWAYS = np.array([[0.0, 0, 0], [0, 0, -1], [0, 1, 0]])
"""Fundamental matrix of a camera that moves along x: epipolar lines are rows."""


def test_sampson_distance_of_a_sideways_camera() -> None:
    a = np.array([[10.0, 20.0], [30.0, 5.0], [7.0, 7.0]])
    b = a + np.array([[4.0, 0.0], [9.0, 3.0], [0.0, -2.0]])
    # Only rows must agree; the error is shared between both pictures, hence the root of 2.
    assert sampson_distance(SIDEWAYS, a, b) == pytest.approx(np.array([0, 3, 2]) / np.sqrt(2))


def test_homography_distance_of_a_shift() -> None:
    shift = np.array([[1.0, 0, 3], [0, 1, -1], [0, 0, 1]])
    a = np.array([[0.0, 0.0], [5.0, 6.0]])
    assert homography_distance(shift, a, a + [3, -1]) == pytest.approx([0, 0])
    assert homography_distance(shift, a, a + [3, 1]) == pytest.approx([2, 2])


def test_a_still_camera_is_told_by_its_flow() -> None:
    flow = np.zeros((48, 64, 2), np.float32)
    flow[10:20, 10:20] = (3, 4)
    pair = pair_residual(flow, np.ones((48, 64), bool))
    assert pair.kind == "still"
    assert pair.epipolar is None
    assert pair.planar[15, 15] == pytest.approx(5)
    assert pair.planar[30, 30] == 0


def test_a_turning_camera_is_planar() -> None:
    """The flow of a rotation is a homography, whatever the depth: no epipolar geometry is made up."""
    angle, focal = 0.03, 60.0
    turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    K = np.array([[focal, 0, 31.5], [0, focal, 23.5], [0, 0, 1]])
    grid = pixel_grid(48, 64)
    ends = np.concatenate((grid, np.ones((48, 64, 1))), axis=-1) @ (K @ turn @ np.linalg.inv(K)).T
    flow = (ends[..., :2] / ends[..., 2:] - grid).astype(np.float32)
    flow[5:15, 5:15] += (0, 2)
    pair = pair_residual(flow, np.ones((48, 64), bool))
    assert pair.kind == "planar"
    assert np.median(pair.planar) < 0.05
    assert pair.planar[8:12, 8:12] == pytest.approx(2, abs=0.2)


def test_parallax_leaves_the_epipolar_residual_alone() -> None:
    """A near pillar that stands still is far from the wall's homography, not from the epipolar lines."""
    cards = (WALL, PILLAR, MOVER)
    clip = CardClip(cards)
    flow = clip.flow(3, 5)
    pair = pair_residual(flow.flow, flow.valid)
    assert pair.kind == "parallax"
    assert pair.epipolar is not None
    pillar = (clip.depths[3] < 3.5) & flow.valid
    mover = (clip.labels[3] == 1) & flow.valid
    assert np.median(pair.planar[pillar]) > 1
    assert np.median(pair.epipolar[pillar]) < 0.3
    assert np.median(pair.epipolar[mover]) > 1


def test_nothing_to_fit_is_no_motion() -> None:
    flow = np.full((20, 30, 2), 5, np.float32)
    assert pair_residual(flow, np.zeros((20, 30), bool)).kind == "still"
