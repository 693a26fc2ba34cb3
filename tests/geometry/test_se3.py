"""Rigid motions against matrix exponentials and finite differences."""

import torch

from dyn3d_ns.geometry.rotations import skew
from dyn3d_ns.geometry.se3 import (
    se3_exp,
    se3_inverse,
    se3_log,
    se3_matrix,
    transform_points,
    twist_velocity,
)


def random_twists(angle, n=32):
    generator = torch.Generator().manual_seed(1)
    values = torch.randn(n, 6, dtype=torch.float64, generator=generator)
    values[:, 3:] = angle * torch.nn.functional.normalize(values[:, 3:], dim=-1)
    return values


def test_exponential_and_logarithm():
    for angle in (0.0, 1e-7, 0.05, 0.2, 0.49, 0.51, 1.5, 3.0):
        twist = random_twists(angle)
        generator = torch.zeros(32, 4, 4, dtype=torch.float64)
        generator[:, :3, :3], generator[:, :3, 3] = skew(twist[:, 3:]), twist[:, :3]
        torch.testing.assert_close(se3_exp(twist), torch.linalg.matrix_exp(generator), atol=1e-12, rtol=0)
        torch.testing.assert_close(se3_log(se3_exp(twist)), twist, atol=1e-10, rtol=0)


def test_gradients_at_zero_rotation_and_elsewhere():
    for angle in (0.0, 0.09, 0.11, 1.0):
        twist = random_twists(angle, 2).requires_grad_()
        assert torch.autograd.gradcheck(se3_exp, (twist,), atol=1e-6)
        assert torch.autograd.gradcheck(lambda t: se3_log(se3_exp(t)), (twist,), atol=1e-6)


def test_twist_velocity_is_the_derivative_of_the_motion():
    twist, points = random_twists(0.7), torch.randn(32, 3, dtype=torch.float64)
    h = 1e-5
    ahead, behind = (transform_points(se3_exp(s * twist), points) for s in (h, -h))
    torch.testing.assert_close(twist_velocity(twist, points), (ahead - behind) / (2 * h), atol=1e-8, rtol=0)


def test_twist_broadcasts_over_points():
    twist = random_twists(0.7, 1)[0]
    assert twist_velocity(twist, torch.zeros(5, 3, dtype=torch.float64)).shape == (5, 3)


def test_inverse():
    transform = se3_exp(random_twists(2.0))
    identity = torch.eye(4, dtype=torch.float64).expand(32, 4, 4)
    torch.testing.assert_close(se3_inverse(transform) @ transform, identity)
    torch.testing.assert_close(se3_matrix(transform[:, :3, :3], transform[:, :3, 3]), transform)
