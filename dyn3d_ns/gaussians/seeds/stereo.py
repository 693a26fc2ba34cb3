"""Points on the surfaces of a scene without masks: depth maps that confirm each other."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from dyn3d_ns.gaussians.seeds.plane_sweep import DepthMaps, depth_maps, pixel_rays
from dyn3d_ns.gaussians.seeds.points import MIN_VIEWS, SeedPoints, ViewSet
from dyn3d_ns.geometry.cameras import from_camera, project, to_camera

MOST_VIEWS = 16
"""Views that are searched, evenly spread over those given."""
AGREEMENT = 0.03
"""Relative difference of depths that confirm each other."""
SURE = 0.1
"""Margin from which on a depth speaks against others."""
UNSURE = 0.01
"""Weight of a depth that only one view confirms, where others are near."""
FEWEST = 0.02
"""Share of the pixels that have to be confirmed for the points to be of use."""


def world_points(maps: DepthMaps) -> Float[Tensor, "C H W 3"]:
    """Return where the pixels of the depth maps lie in the world."""
    cam = pixel_rays(maps.views) * maps.depths[..., None]
    return from_camera(cam.flatten(1, 2), maps.views.viewmats).view_as(cam)


def confirmations(maps: DepthMaps) -> tuple[Float[Tensor, "C H W"], Float[Tensor, "C H W"]]:
    """Count for every pixel the other depth maps that agree with it, and those that see through it."""
    count, height, width = maps.depths.shape
    points = world_points(maps).reshape(-1, 3)
    agree, through = torch.zeros(2, len(points))
    owner = torch.arange(count).repeat_interleave(height * width)
    for j in range(count):
        cam = to_camera(points, maps.views.viewmats[j])
        z = cam[:, 2]
        uv = torch.floor(project(cam, maps.views.Ks[j]))
        inside = (z > 0) & (uv >= 0).all(1) & (uv[:, 0] < width) & (uv[:, 1] < height) & (owner != j)
        column, row = uv[inside].long().unbind(1)
        ratio = maps.depths[j, row, column] / z[inside].clamp_min(1e-6)
        agree[inside] += ((ratio - 1).abs() < AGREEMENT).float()
        sure = maps.margins[j, row, column] > SURE
        through[inside] += (sure & (ratio > 1 + 2 * AGREEMENT)).float()
    return agree.view(count, height, width), through.view(count, height, width)


def thin_points(
    positions: Float[Tensor, "P 3"], colors: Float[Tensor, "P 3"], weights: Float[Tensor, "P"], count: int
) -> SeedPoints:
    """Merge the points of each cell of a grid, as wide as it takes to leave about ``count`` or fewer."""
    low = positions.amin(0)
    smallest, largest = 0.0, float((positions.amax(0) - low).amax()) * 1.001 + 1e-6
    for _ in range(20):
        size = 0.5 * (smallest + largest)
        index = _cells(positions - low, size)
        if len(index.unique()) > count:
            smallest = size
        else:
            largest = size
    occupied, cells = _cells(positions - low, largest).unique(return_inverse=True)
    sums = positions.new_zeros(len(occupied), 7)
    sums.index_add_(
        0, cells, torch.cat([positions, colors, torch.ones_like(weights)[:, None]], 1) * weights[:, None]
    )
    return SeedPoints(sums[:, :3] / sums[:, 6:], sums[:, 3:6] / sums[:, 6:])


def _cells(offsets: Float[Tensor, "P 3"], size: float) -> Int64[Tensor, "P"]:
    place = (offsets / size).long()
    extent = place.amax(0) + 1
    return (place[:, 0] * extent[1] + place[:, 1]) * extent[2] + place[:, 2]


def stereo_points(views: ViewSet, box: Float[Tensor, "2 3"], count: int) -> SeedPoints | None:
    """Find coloured points on the surfaces that several views see: those of a scene without masks.

    Depths that another view confirms are merged; what two or more confirm goes before what one does.

    Args:
        views: Images of one time, or of a scene where little moves; of more than ``MOST_VIEWS`` some are left
            out.
        box: Bounds of the scene; cameras may lie within it.
        count: Points that are wanted.

    Returns:
        About ``count`` points or fewer, or None where there are fewer than three views or where hardly any
        depth is confirmed.
    """
    if len(views.images) < MIN_VIEWS:
        return None
    spread = torch.linspace(0, len(views.images) - 1, min(len(views.images), MOST_VIEWS)).round().long()
    maps = depth_maps(ViewSet(views.viewmats[spread], views.Ks[spread], views.images[spread]), box)
    agree, through = confirmations(maps)
    chosen = (agree >= 1) & (through <= agree)
    if int(chosen.sum()) < FEWEST * spread.numel() * chosen[0].numel():
        return None
    certain = (agree >= 2) & (through < agree)
    weights = torch.where(certain, 1.0, UNSURE)[chosen]
    return thin_points(world_points(maps)[chosen], maps.views.images[chosen] / 255.0, weights, count)
