"""Points to start from where each view has a depth map, and how static points of any origin are."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from dyn3d_ns.gaussians.seeds.points import SeedPoints, ViewSet, pixels_of
from dyn3d_ns.geometry.cameras import from_camera, unproject

_SAME_DEPTH = 0.05
"""Part of a view's depth by which a point may differ from it and still be what the view sees."""


def all_points(
    views: ViewSet, depths: Float[Tensor, "C H W"], static: Float[Tensor, "C H W"]
) -> tuple[SeedPoints, Int64[Tensor, "C H W"]]:
    """Lift every pixel whose depth is known.

    Returns:
        The points, and the point of each pixel, -1 where there is none.
    """
    known = (depths > 0) & torch.isfinite(depths)
    birth = torch.full(depths.shape, -1)
    birth[known] = torch.arange(int(known.sum()))
    return _lifted(views, depths, static, known.nonzero().unbind(1)), birth


def depth_points(
    views: ViewSet,
    depths: Float[Tensor, "C H W"],
    static: Float[Tensor, "C H W"],
    count: int,
    generator: torch.Generator,
) -> SeedPoints | None:
    """Lift pixels of all views, drawn by how static they are.

    Args:
        views: Cameras and images of the depth maps' size; pixel centres at +0.5.
        depths: Planar z, world units; 0 where nothing is known.
        static: How static each pixel is, in 0..1.
        count: Number of points, fewer where fewer pixels qualify.
        generator: Draws the pixels.

    Returns:
        Points with colour and staticness of their pixels, or None where no static pixel has a depth.
    """
    weights = static.clamp(0, 1) * (depths > 0) * torch.isfinite(depths)
    wanted = int((weights > 0).sum())
    if wanted == 0:
        return None
    # The largest of u ** (1 / w) are a draw without replacement by weight (Efraimidis and Spirakis 2006).
    keys = torch.rand(weights.shape, generator=generator).log() / weights.clamp_min(1e-9)
    keys = torch.where(weights > 0, keys, -torch.inf)
    chosen = keys.flatten().topk(min(count, wanted)).indices
    return _lifted(views, depths, static, torch.unravel_index(chosen, weights.shape))


def _lifted(
    views: ViewSet,
    depths: Float[Tensor, "C H W"],
    static: Float[Tensor, "C H W"],
    pixels: Sequence[Int64[Tensor, "N"]],
) -> SeedPoints:
    """Lift pixels, given by view, row and column."""
    view, row, column = pixels
    positions, colors = torch.empty(len(view), 3), torch.empty(len(view), 3)
    for i in range(len(views.images)):
        mine = (view == i).nonzero()[:, 0]
        places = torch.stack([column[mine], row[mine]], dim=1) + 0.5
        local = unproject(places, depths[i, row[mine], column[mine]], views.Ks[i])
        positions[mine] = from_camera(local, views.viewmats[i])
        colors[mine] = views.images[i, row[mine], column[mine], :3].float() / 255.0
    return SeedPoints(positions, colors, static[view, row, column])


def staticness_of_points(
    points: Float[Tensor, "N 3"],
    views: ViewSet,
    static: Float[Tensor, "C H W"],
    depths: Float[Tensor, "C H W"] | None,
) -> Float[Tensor, "N"]:
    """Return the mean staticness of the pixels that see each point; 1 where no view sees it.

    A view whose depth is known sees a point only where both agree to 5 %.
    """
    total, seen = torch.zeros(len(points)), torch.zeros(len(points))
    height, width = static.shape[1:]
    for i in range(len(static)):
        row, column, inside, away = pixels_of(points, views.viewmats[i], views.Ks[i], height, width)
        if depths is not None:
            depth = depths[i, row, column]
            inside &= (depth <= 0) | ((away - depth).abs() < _SAME_DEPTH * depth)
        total += static[i, row, column] * inside
        seen += inside
    return torch.where(seen > 0, total / seen.clamp_min(1), torch.ones_like(total))
