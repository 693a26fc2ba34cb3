"""The bases against closed forms (spec: steady rotation has zero divergence and zero transport residual)."""

import pytest
import torch

from dyn3d_ns.fields.rigid_bases import centripetal_bases, rigid_bases
from dyn3d_ns.geometry.se3 import twist_velocity


def test_combinations_of_the_bases_are_twist_velocities() -> None:
    x = torch.randn(20, 3, dtype=torch.float64)
    twist = torch.randn(20, 6, dtype=torch.float64)
    combined = (twist[:, :, None] * rigid_bases(x)).sum(1)
    expected = twist[:, :3] + torch.linalg.cross(twist[:, 3:], x)
    torch.testing.assert_close(combined, expected)
    torch.testing.assert_close(twist_velocity(twist, x), expected)


def test_constant_coefficients_have_an_antisymmetric_gradient() -> None:
    twist = torch.randn(6, dtype=torch.float64)
    x = torch.randn(3, dtype=torch.float64)
    gradient = torch.autograd.functional.jacobian(lambda p: (twist[:, None] * rigid_bases(p)).sum(0), x)
    torch.testing.assert_close(gradient, -gradient.T)
    assert abs(float(gradient.trace())) < 1e-12


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_steady_rotation_is_explained_by_the_centripetal_bases(axis: int) -> None:
    speed = 1.7
    x = torch.randn(50, 3, dtype=torch.float64)
    w = torch.zeros(3, dtype=torch.float64)
    w[axis] = speed
    acceleration = torch.linalg.cross(w.expand_as(x), torch.linalg.cross(w.expand_as(x), x))
    torch.testing.assert_close(speed**2 * centripetal_bases(x)[:, 3 + axis], acceleration)
