"""Alignment recovers known transforms, also for coplanar, mirrored and outlying points."""

import pytest
import torch

from dyn3d_ns.geometry.alignment import kabsch, umeyama
from dyn3d_ns.geometry.rotations import so3_exp


@pytest.fixture
def points():
    return torch.randn(4, 30, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


ROTATION = so3_exp(torch.tensor([0.3, -1.2, 2.0], dtype=torch.float64))
SHIFT = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)


def test_umeyama_recovers_a_similarity(points):
    found = umeyama(points, 2.5 * points @ ROTATION.T + SHIFT)
    torch.testing.assert_close(found.scale, torch.full((4,), 2.5, dtype=torch.float64))
    torch.testing.assert_close(found.rotation, ROTATION.expand(4, 3, 3))
    torch.testing.assert_close(found.translation, SHIFT.expand(4, 3))
    torch.testing.assert_close(found.apply(points), 2.5 * points @ ROTATION.T + SHIFT)


def test_coplanar_points(points):
    flat = points * torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64)
    torch.testing.assert_close(kabsch(flat, flat @ ROTATION.T).rotation, ROTATION.expand(4, 3, 3))


def test_mirrored_points_give_a_proper_rotation(points):
    found = kabsch(points, points * torch.tensor([1.0, 1.0, -1.0], dtype=torch.float64))
    torch.testing.assert_close(torch.linalg.det(found.rotation), torch.ones(4, dtype=torch.float64))


def test_kabsch_is_the_best_rigid_motion_of_scaled_points(points):
    target = 1.7 * points @ ROTATION.T
    found = kabsch(points, target)
    best = (found.apply(points) - target).square().sum()
    for axis in torch.eye(3, dtype=torch.float64):
        turned = found._replace(rotation=so3_exp(0.01 * axis) @ found.rotation)
        assert (turned.apply(points) - target).square().sum() > best


def test_weight_zero_ignores_an_outlier(points):
    target = points @ ROTATION.T
    target[:, 0] += 100
    weights = torch.ones(4, 30, dtype=torch.float64)
    weights[:, 0] = 0
    torch.testing.assert_close(kabsch(points, target, weights).rotation, ROTATION.expand(4, 3, 3))


def test_shapes_must_agree(points):
    with pytest.raises(ValueError, match="equally many"):
        umeyama(points, points[:, 1:])
