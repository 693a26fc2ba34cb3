"""The fused product of six planes against torch's operators, values and gradients."""

import pytest
import torch

from dyn3d_ns.fields.plane_product import _product_torch, plane_product


def planes(x: int, y: int, z: int, k: int, channels: int, dtype=torch.float32) -> list[torch.Tensor]:
    shapes = [(y, x), (z, x), (z, y), (k, x), (k, y), (k, z)]
    return [(0.2 + torch.rand(*shape, channels, dtype=dtype)).requires_grad_() for shape in shapes]


@pytest.mark.parametrize("channels", [16, 32])
@pytest.mark.parametrize("size", [(5, 6, 7), (2, 2, 2), (1, 3, 4)])
def test_kernel_and_torch_agree(size: tuple[int, int, int], channels: int) -> None:
    torch.manual_seed(0)
    tables = planes(*size, 3, channels)
    points = (2.4 * torch.rand(200, 3) - 1.2).requires_grad_()
    rows, slope = torch.randint(0, 3, (200,)), torch.randn(200, channels)
    fused, plain = plane_product(points, rows, tuple(tables)), _product_torch(points, rows, tuple(tables))
    torch.testing.assert_close(fused, plain, rtol=1e-5, atol=1e-6)
    expected = torch.autograd.grad((plain * slope).sum(), [points, *tables])
    for a, b in zip(torch.autograd.grad((fused * slope).sum(), [points, *tables]), expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_torch_path_by_finite_differences() -> None:
    torch.manual_seed(1)
    tables = planes(4, 5, 3, 2, 2, torch.float64)
    points = (1.8 * torch.rand(6, 3, dtype=torch.float64) - 0.9).requires_grad_()
    rows = torch.tensor([0, 1, 1, 0, 1, 0])
    assert torch.autograd.gradcheck(lambda p, *t: plane_product(p, rows, t), (points, *tables))


def test_values_at_grid_points_are_products_of_the_stored_ones() -> None:
    tables = planes(3, 3, 3, 2, 16)
    point = torch.tensor([[1.0, 0.0, -1.0]])  # x index 2, y index 1, z index 0
    xy, xz, yz, tx, ty, tz = tables
    expected = xy[1, 2] * xz[0, 2] * yz[0, 1] * tx[1, 2] * ty[1, 1] * tz[1, 0]
    torch.testing.assert_close(plane_product(point, torch.tensor([1]), tuple(tables))[0], expected)


def test_no_points() -> None:
    tables = planes(3, 3, 3, 2, 16)
    out = plane_product(torch.zeros(0, 3), torch.zeros(0, dtype=torch.long), tuple(tables))
    assert out.shape == (0, 16)
    out.sum().backward()
