"""Where the voxels of frame 0 start, and which of them the training images see."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64, UInt8
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor

from dyn3d_ns.fields.voxel_grid import Shape, VoxelGrid, index_of, links_of, mask_of, numbers_of
from dyn3d_ns.fields.voxel_masks import dilate
from dyn3d_ns.gaussians.seeds.images import surface_points
from dyn3d_ns.gaussians.seeds.points import SH_C0, SeedPoints, views_of
from dyn3d_ns.geometry.ndc import GridSpace
from dyn3d_ns.models.stream.grid_space import Pixels
from dyn3d_ns.rendering.voxels import Steps, greatest_weights

_AROUND = 2
"""Voxels around a point on a surface that are there at the start."""
_ROUNDS, _RAYS = 16, 20_000
"""Rays that are asked which voxels have a part in them, in rounds that bound the memory."""


def surfaces_of(
    cameras: Cameras, images: UInt8[Tensor, "V H W D"], box: Float[Tensor, "2 3"], count: int
) -> SeedPoints | None:
    """Return points on surfaces as stereo finds them in images of one time; None where it finds too few."""
    generator = torch.Generator().manual_seed(0)
    return surface_points(views_of(cameras, images), box.cpu(), count, generator, True)


def grid_around(
    seeds: SeedPoints,
    space: GridSpace,
    shape: Shape,
    seen: Int64[Tensor, "K"],
    thin: float,
    solid: float,
) -> VoxelGrid:
    """Return a grid near points on surfaces, of their colours.

    Args:
        seeds: Points of the world.
        space: Where the grid lies.
        shape: Its points.
        seen: Grid points that may have a voxel.
        thin: Density of voxels beside the points.
        solid: Density of those that hold one.
    """
    device = seen.device
    inside = space.of_world(seeds.positions.to(device))
    sizes = torch.tensor(shape, device=device)
    points = ((inside + 1) / 2 * sizes).floor().long()
    within = ((points >= 0) & (points < sizes)).all(1)
    key, colors = numbers_of(points, shape)[within], seeds.colors.to(device)[within]
    near = dilate(mask_of(key, shape), _AROUND) & mask_of(seen, shape)
    grid = VoxelGrid(shape, index_of(near), thin)
    rows = links_of(grid.index, shape).view(-1)[key].long()
    with torch.no_grad():
        grid.density[rows[rows >= 0]] = solid
        for channel in range(3):
            grid.colors[rows[rows >= 0], 9 * channel] = (colors[rows >= 0, channel] - 0.5) / SH_C0
    grid.voxels(fresh=True)
    return grid


@torch.no_grad()
def hide_the_unseen(grid: VoxelGrid, pixels: Pixels, steps: Steps, least: float, seed: int) -> None:
    """Take the density of voxels that have less than a part in each of many training rays."""
    voxels = grid.voxels(fresh=True)
    generator, most = torch.Generator().manual_seed(seed), torch.zeros_like(grid.density)
    for _ in range(_ROUNDS):
        shot, _ = pixels.draw(_RAYS, generator)
        most = torch.maximum(most, greatest_weights(voxels, shot.rays, steps))
    grid.density[most < least] = 0.0
