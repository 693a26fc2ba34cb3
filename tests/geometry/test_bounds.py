"""Bounds of scenes from cameras: rings, rooms, parallel rigs; grouping of poses."""

import numpy as np

from dyn3d_ns.cli.camera_paths import look_at
from dyn3d_ns.geometry.bounds import (
    bounds_of_points,
    focus_point,
    group_poses,
    object_bounds,
    surrounding_bounds,
)


def ring(radius=4.0, centre=(0.0, 0.0, 0.0), count=8, height=1.0):
    angles, centre = np.arange(count) * (2 * np.pi / count), np.array(centre)
    eyes = centre + np.stack((radius * np.cos(angles), radius * np.sin(angles), np.full(count, height)), -1)
    return look_at(eyes, centre, np.array([0.0, 0.0, 1.0]))


def test_focus_point_of_a_ring():
    np.testing.assert_allclose(focus_point(ring(centre=(3.0, -2.0, 1.0))), [3.0, -2.0, 1.0], atol=0.01)


def test_object_box_is_centred_and_holds_the_view_cones():
    poses = ring(centre=(3.0, -2.0, 1.0))
    box = object_bounds(poses, np.full(8, 0.4))
    distance = np.sqrt(17)
    np.testing.assert_allclose(box.mean(0), [3, -2, 1], atol=0.01)
    np.testing.assert_allclose(np.diff(box, axis=0), 2 * 1.15 * 0.4 * distance, rtol=0.01)


def test_parallel_cameras_have_bounds_ahead_of_them():
    poses = np.tile(np.eye(4), (4, 1, 1))
    poses[:, 0, 3] = [0.0, 0.1, 0.2, 0.3]
    box = surrounding_bounds(poses, np.full((4, 2), 0.5))
    assert np.isfinite(box).all()
    assert box[0, 2] < -0.5


def test_cameras_in_a_room_looking_across_it():
    poses = ring(radius=2.5, height=0.0, count=12)
    box = surrounding_bounds(poses, np.full((12, 2), 0.7))
    assert (box[0, :2] < -2.5).all() and (box[1, :2] > 2.5).all()
    assert (np.abs(box) < 6).all()


def test_single_camera():
    box = surrounding_bounds(np.eye(4)[None], np.full((1, 2), 0.5))
    assert (box[1] > box[0]).all()


def test_a_camera_at_rest_is_one_camera():
    """The mean of equal places is off by its rounding, which is no spread of the cameras."""
    one = ring()[3:4]
    one[0, :3, 3] = [2.7314159, -1.1, 1.6]
    tangents = np.full((14, 2), 0.4)
    expected = surrounding_bounds(one, tangents[:1])
    np.testing.assert_allclose(surrounding_bounds(np.repeat(one, 14, 0), tangents), expected)


def test_points_bound_without_stray_ones():
    points = np.random.default_rng(0).uniform(-1, 1, (10_000, 3))
    points[:5] = 1e4
    np.testing.assert_allclose(bounds_of_points(points), [[-1.2] * 3, [1.2] * 3], atol=0.02)


def test_group_poses_ignores_rounding():
    poses = ring(count=3)[[2, 0, 1, 0, 2]]
    poses = poses + np.random.default_rng(0).uniform(-4e-6, 4e-6, poses.shape)
    assert group_poses(poses).tolist() == [0, 1, 2, 1, 0]
    poses[4, 0, 3] += 1e-3
    assert group_poses(poses).tolist() == [0, 1, 2, 1, 3]
