"""Rotations against matrix exponentials, and gradients where they are delicate."""

import math

import pytest
import torch

from dyn3d_ns.geometry.rotations import (
    quat_apply,
    quat_conjugate,
    quat_multiply,
    quat_to_matrix,
    sinc_sq,
    sine_defect_sq,
    skew,
    so3_exp,
    so3_exp_quat,
    versine_sq,
)

ANGLES = [0.0, 1e-12, 1e-6, 1e-3, 0.19, 0.21, 0.49, 0.51, 0.99, 1.01, 2.0, 3.0, math.pi - 1e-6]


def random_vectors(angle, n=64):
    axes = torch.nn.functional.normalize(
        torch.randn(n, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)), dim=-1
    )
    return angle * axes


@pytest.mark.parametrize("angle", ANGLES)
def test_exponentials_agree_with_the_matrix_exponential(angle):
    v = random_vectors(angle)
    expected = torch.linalg.matrix_exp(skew(v))
    torch.testing.assert_close(so3_exp(v), expected, atol=1e-13, rtol=0)
    torch.testing.assert_close(quat_to_matrix(so3_exp_quat(v)), expected, atol=1e-13, rtol=0)


def test_product_is_composition():
    a, b = so3_exp_quat(random_vectors(1.3)), so3_exp_quat(random_vectors(2.1).flip(0))
    product = quat_to_matrix(a) @ quat_to_matrix(b)
    torch.testing.assert_close(quat_to_matrix(quat_multiply(a, b)), product)
    points = torch.randn(64, 3, dtype=torch.float64)
    torch.testing.assert_close(quat_apply(a, points), (quat_to_matrix(a) @ points[..., None])[..., 0])
    identity = torch.tensor([1.0, 0, 0, 0], dtype=torch.float64).expand(64, 4)
    torch.testing.assert_close(quat_multiply(a, quat_conjugate(a)), identity)


def test_matrix_of_unnormalised_quaternion_is_a_rotation():
    q = torch.randn(50, 4, dtype=torch.float64) * 7
    matrix = quat_to_matrix(q)
    torch.testing.assert_close(matrix @ matrix.mT, torch.eye(3, dtype=torch.float64).expand(50, 3, 3))
    torch.testing.assert_close(torch.linalg.det(matrix), torch.ones(50, dtype=torch.float64))


@pytest.mark.parametrize("scale", [0.0, 1e-8, 0.4, 0.6, 2.5])
@pytest.mark.parametrize("function", [so3_exp_quat, so3_exp])
def test_gradients_agree_with_finite_differences(function, scale):
    v = random_vectors(scale, 3).requires_grad_()
    assert torch.autograd.gradcheck(function, (v,), eps=1e-6, atol=1e-6)


@pytest.mark.parametrize("a", [1e-4, 0.1, 0.4999, 0.5001, 1.0, 3.0, 6.0])
def test_quotients(a):
    x = torch.tensor(a * a, dtype=torch.float64)
    assert sinc_sq(x).item() == pytest.approx(math.sin(a) / a, rel=1e-14)
    assert versine_sq(x).item() == pytest.approx(2 * math.sin(a / 2) ** 2 / a**2, rel=1e-14)
    assert sine_defect_sq(x).item() == pytest.approx(
        (a - math.sin(a)) / a**3, rel=1e-12 if a > 0.05 else 1e-5
    )


def test_float32_is_accurate_near_zero():
    v = random_vectors(1e-3).float()
    exact = so3_exp_quat(v.double())
    torch.testing.assert_close(so3_exp_quat(v).double(), exact, atol=1e-7, rtol=0)
