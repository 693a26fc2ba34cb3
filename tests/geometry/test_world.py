"""Worlds to train in: ordinary scenes stay, others come back exactly."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from dyn3d_ns.geometry.bounds import group_poses
from dyn3d_ns.geometry.world import World, far_from_origin, training_world

BOX = np.array([[-2.0, -1.5, -1.0], [2.0, 2.5, 3.0]])


@pytest.mark.parametrize("scale", [0.2, 1.0, 16.0, 100.0])
@pytest.mark.parametrize("shift", [0.0, 30.0])
def test_ordinary_scenes_train_as_they_are(scale: float, shift: float) -> None:
    assert training_world(scale * (BOX + shift)).same


@pytest.mark.parametrize("scale", [2.0**-20, 1e-3, 1e4])
@pytest.mark.parametrize("shift", [(0.0, 0.0, 0.0), (448000.0, 5411000.0, 120.0)])
def test_others_are_brought_to_the_origin_and_to_usual_size(scale: float, shift: tuple[float, ...]) -> None:
    box = scale * BOX + shift
    world = training_world(box)
    moved = world.points(box)
    size = np.linalg.norm(moved[1] - moved[0])
    assert 4 < size < 9 and np.abs(moved).max() < 2 * size
    assert np.log2(world.scale) == round(np.log2(world.scale)), "no place is rounded"
    places = shift + scale * np.random.default_rng(0).uniform(-2, 2, (20, 3))
    np.testing.assert_array_equal(world.points_back(world.points(places)), places)


def test_poses_and_velocities_come_back_through_turned_worlds() -> None:
    turned, rng = np.eye(4), np.random.default_rng(1)
    turned[:3, :3] = Rotation.from_rotvec([0.3, -0.5, 0.9]).as_matrix()
    turned[:3, 3] = 1.0, -2.0, 3.0
    world = World(turned, 0.25).then(training_world(1e6 + BOX))
    assert world.scale == 0.25
    poses = np.tile(np.eye(4), (5, 1, 1))
    poses[:, :3, :3] = Rotation.random(5, random_state=2).as_matrix()
    poses[:, :3, 3] = rng.normal(size=(5, 3))
    moved = world.poses(poses)
    np.testing.assert_allclose(moved[:, :3, 3], world.points(poses[:, :3, 3]))
    two_steps = training_world(1e6 + BOX).points(World(turned, 0.25).points(poses[:, :3, 3]))
    np.testing.assert_allclose(moved[:, :3, 3], two_steps)
    np.testing.assert_allclose(world.poses_back(moved), poses, atol=1e-8)
    velocities = rng.normal(size=(5, 3))
    later = world.points_back(world.points(poses[:, :3, 3]) + 1e-3 * velocities)
    np.testing.assert_allclose(later, poses[:, :3, 3] + 1e-3 * world.vectors_back(velocities), atol=1e-8)


def test_float32_is_enough_near_the_origin_only() -> None:
    assert not far_from_origin(BOX + 100) and far_from_origin(BOX + 5e6)
    assert far_from_origin(1e-5 * BOX + 1)


def test_cameras_of_tiny_rigs_are_told_apart() -> None:
    poses = np.tile(np.eye(4), (4, 1, 1))
    poses[:, 0, 3] = 1e-4 * np.array([0.0, 0.05, 1.0, 0.05])
    assert group_poses(poses).tolist() == [0, 1, 2, 1]
    poses[:, 0, 3] = 1e-7 * np.arange(4)  # one camera, written with rounding
    assert group_poses(poses).tolist() == [0, 0, 0, 0]
