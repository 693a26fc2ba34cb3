"""Sparse voxels: the kernels against torch's operators, closed forms, and threads."""

import numpy as np
import torch

from dyn3d_ns.engine.rmsprop import TouchedRMSprop
from dyn3d_ns.fields.voxel_grid import VoxelGrid, index_of, voxels_of
from dyn3d_ns.kernels.pool import get_num_threads, set_num_threads
from dyn3d_ns.rendering import voxels as module
from dyn3d_ns.rendering.voxels import Rays, Steps, TotalVariation, greatest_weights, render_rays

SHAPE = (12, 9, 7)


def scene(count: int = 700) -> tuple[VoxelGrid, Rays]:
    generator = torch.Generator().manual_seed(0)
    mask = torch.rand(SHAPE, generator=generator) < 0.7
    grid = VoxelGrid(SHAPE, index_of(mask))
    with torch.no_grad():
        grid.density.copy_(6 * torch.randn(len(grid), generator=generator) + 2)
        grid.colors.copy_(torch.randn(len(grid), 27, generator=generator))
    origins = torch.rand(count, 3, generator=generator) * 1.6 - 0.8
    origins[:, 2] = -1
    directions = 0.3 * torch.randn(count, 3, generator=generator)
    directions[:, 2] = 2
    basis = 0.4 * torch.randn(count, 9, generator=generator)
    return grid, Rays(origins, directions, basis, torch.rand(count, generator=generator))


def gradients(torch_path: bool, trained: torch.Tensor | None = None) -> list[torch.Tensor]:
    """Return outputs and gradients of a loss, by the kernels or by torch."""
    grid, rays = scene()
    rows = torch.arange(len(grid)) if trained is None else trained
    slots = torch.full((len(grid),), -1, dtype=torch.int32)
    slots[rows] = torch.arange(len(rows), dtype=torch.int32)
    voxels = voxels_of(SHAPE, grid.index, grid.density.detach(), grid.colors.detach(), slots)
    density = grid.density.detach()[rows].requires_grad_()
    colors = grid.colors.detach()[rows].requires_grad_()
    variation = TotalVariation(torch.arange(0, len(grid), 3), 0.02, 0.03)
    if torch_path:
        found, _ = module._scene_of(voxels, rays, Steps())
        out, varied = module._render_torch(found, density, colors, variation)
    else:
        out = torch.zeros(len(rays.origins), 5)
        drawn = render_rays(voxels, rays, Steps(), density, colors, variation)
        out, varied = torch.cat([drawn.colors, drawn.accumulation[:, None]], 1), drawn.variation
    target = torch.linspace(0, 1, 4)
    ((out[:, :4] - target).square().sum() + varied).backward()
    assert density.grad is not None and colors.grad is not None
    return [out[:, :4].detach(), varied.detach(), density.grad, colors.grad]


def test_the_kernels_agree_with_torch_in_values_and_gradients() -> None:
    for ours, theirs in zip(gradients(False), gradients(True), strict=True):
        torch.testing.assert_close(ours, theirs, atol=2e-3, rtol=2e-3)


def test_rows_that_are_not_trained_get_no_gradient_and_change_none() -> None:
    rows = torch.arange(5, 300, 2)
    every, some = gradients(False), gradients(False, rows)
    torch.testing.assert_close(some[0], every[0])
    torch.testing.assert_close(some[2], every[2][rows], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(some[3], every[3][rows], atol=1e-5, rtol=1e-4)


def test_gradients_are_the_same_bits_with_any_number_of_threads() -> None:
    before, found = get_num_threads(), []
    for threads in (1, 2, 3):
        set_num_threads(threads)
        found.append(gradients(False))
    set_num_threads(before)
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


def test_a_slab_lets_through_what_its_density_says() -> None:
    mask = torch.zeros(SHAPE, dtype=torch.bool)
    mask[:, :, 2:5] = True
    grid = VoxelGrid(SHAPE, index_of(mask), 3.0)
    rays = Rays(
        torch.tensor([[0.05, 0.02, -1.0]]),
        torch.tensor([[0.0, 0.0, 2.0]]),
        torch.zeros(1, 9),
        torch.full((1,), 0.5),
    )
    drawn = render_rays(grid.voxels(), rays, Steps(0.05, 0.0, 0.0), grid.density, grid.colors)
    # Three voxels and half a ramp on either side; twelve voxels along the longest axis have length 2.
    expected = 1 - np.exp(-3.0 * 3 * 2 / 12)
    np.testing.assert_allclose(drawn.accumulation.detach(), [expected], atol=0.01)
    torch.testing.assert_close(drawn.colors, 0.5 * drawn.accumulation[:, None].expand(1, 3))
    middle = float(drawn.along / drawn.accumulation)
    assert abs(-1 + 2 * middle - (2 * 3 + 1) / 7 + 1) < 0.12


def test_greatest_weights_are_of_what_rays_see() -> None:
    mask = torch.zeros(SHAPE, dtype=torch.bool)
    mask[:, :, 1], mask[:, :, 5] = True, True
    grid = VoxelGrid(SHAPE, index_of(mask), 200.0)
    _, rays = scene()
    most = greatest_weights(grid.voxels(), rays, Steps())
    front = grid.index % SHAPE[2] == 1
    assert most[front].max() > 0.3 and most[~front].max() < 1e-3


def test_rmsprop_leaves_untouched_numbers_and_their_memory_alone() -> None:
    parameter = torch.nn.Parameter(torch.zeros(4))
    optimizer = TouchedRMSprop([parameter], lr=0.1, beta=0.5)
    parameter.grad = torch.tensor([2.0, 0.0, -1.0, 0.0])
    optimizer.step()
    torch.testing.assert_close(parameter.detach(), torch.tensor([-0.1, 0, 0.1, 0]))
    parameter.grad = torch.tensor([0.0, 0.0, -3.0, 0.0])
    optimizer.step()
    torch.testing.assert_close(optimizer.state[parameter]["squares"], torch.tensor([4.0, 0, 5, 0]))
    torch.testing.assert_close(parameter.detach(), torch.tensor([-0.1, 0, 0.1 + 0.3 / 5**0.5, 0]))
