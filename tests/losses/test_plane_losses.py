"""Regularisers of planes and of the segmentation, against values worked out by hand."""

import torch

from dyn3d_ns.geometry.rotations import so3_exp
from dyn3d_ns.losses.planes import space_sparsity, time_sparsity, total_variation
from dyn3d_ns.losses.segmentation import neighbour_disagreement, rigid_fits, rigid_residual


def test_total_variation_is_zero_for_a_constant_and_counts_each_direction() -> None:
    assert float(total_variation(torch.full((4, 5, 2), 0.7))) == 0
    ramp = torch.arange(5.0)[None, :, None].expand(4, 5, 2)
    assert float(total_variation(ramp)) == 2.0
    assert float(total_variation(ramp.transpose(0, 1), row_factor=3.0)) == 6.0
    assert float(total_variation(torch.rand(1, 1, 3))) == 0


def test_sparsity_prefers_empty_space_and_planes_that_do_not_change() -> None:
    assert float(space_sparsity(torch.zeros(2, 2, 1))) == 0 and float(time_sparsity(torch.ones(2, 2, 1))) == 0
    assert float(space_sparsity(torch.full((2, 2, 1), -0.5))) == 0.5
    assert float(time_sparsity(torch.full((2, 2, 1), 0.5))) == 0.5


def test_rigid_fits_find_the_motion_of_each_slot() -> None:
    torch.manual_seed(0)
    points = torch.randn(200, 3, dtype=torch.float64)
    turn, shift = so3_exp(torch.tensor([0.3, -0.8, 0.5], dtype=torch.float64)), torch.tensor([1.0, 0, -2])
    moved = points.clone()
    moved[:100] = points[:100] @ turn.T + shift
    weights = torch.zeros(200, 2, dtype=torch.float64)
    weights[:100, 0], weights[100:, 1] = 1, 1
    rotations, shifts = rigid_fits(points, moved, weights)
    torch.testing.assert_close(rotations[0], turn)
    torch.testing.assert_close(rotations[1], torch.eye(3, dtype=torch.float64))
    torch.testing.assert_close(shifts[0], shift.double())
    assert float(rigid_residual(points, moved, weights)) < 1e-20
    assert float(rigid_residual(points, moved, torch.full_like(weights, 0.5))) > 0.1


def test_a_mirror_image_is_no_rigid_motion() -> None:
    points = torch.randn(50, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    mirrored = points * torch.tensor([-1.0, 1, 1], dtype=torch.float64)
    rotations, _ = rigid_fits(points, mirrored, torch.ones(50, 1, dtype=torch.float64))
    assert abs(float(torch.linalg.det(rotations[0])) - 1) < 1e-9
    assert float(rigid_residual(points, mirrored, torch.ones(50, 1, dtype=torch.float64))) > 0.1


def test_the_residuals_slope_needs_no_slope_of_the_fit() -> None:
    torch.manual_seed(2)
    points, moved = torch.randn(12, 3, dtype=torch.float64), torch.randn(12, 3, dtype=torch.float64)
    raw = torch.rand(12, 2, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda w: rigid_residual(points, moved, w), raw, atol=1e-5)


def test_neighbours_that_agree_cost_nothing() -> None:
    weights = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    assert float(neighbour_disagreement(weights, weights[:, None].expand(2, 3, 2))) == 0
    assert float(neighbour_disagreement(weights, weights.flip(0)[:, None])) == 2
