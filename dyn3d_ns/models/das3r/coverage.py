"""Which pixels of a view some training view saw at rest."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dyn3d_ns.geometry.cameras import from_camera, project, to_camera, unproject

_BEHIND = 0.05
"""Part of its depth by which a surface may lie behind what a view shows and still be what it shows."""


def seen_at_rest(
    depth: Float[Tensor, "H W"],
    viewmat: Float[Tensor, "4 4"],
    K: Float[Tensor, "3 3"],
    static: Float[Tensor, "V h w"],
    depths: Sequence[Float[Tensor, "h w"]],
    viewmats: Float[Tensor, "V 4 4"],
    Ks: Float[Tensor, "V 3 3"],
) -> Bool[Tensor, "H W"]:
    """Return where the surface that a view shows was seen, unoccluded and resting, by another view.

    Args:
        depth: Planar z of the static scene in the view, world units.
        viewmat: World to camera of the view.
        K: Its intrinsics, pixels.
        static: How static each pixel of the training views is, in 0..1.
        depths: Planar z of the static scene in the training views.
        viewmats: World to camera of the training views.
        Ks: Their intrinsics, pixels.
    """
    height, width = depth.shape
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    pixels = torch.stack([columns, rows], -1).reshape(-1, 2).to(depth) + 0.5
    points = from_camera(unproject(pixels, depth.reshape(-1), K), viewmat)
    seen = torch.zeros(len(points), dtype=torch.bool, device=depth.device)
    h, w = static.shape[1:]
    for i in range(len(static)):
        local = to_camera(points, viewmats[i])
        column, row = torch.floor(project(local, Ks[i])).long().unbind(-1)
        inside = (local[:, 2] > 1e-3) & (column >= 0) & (column < w) & (row >= 0) & (row < h)
        row, column = row.clamp(0, h - 1), column.clamp(0, w - 1)
        unoccluded = local[:, 2] < (1 + _BEHIND) * depths[i][row, column]
        seen |= inside & unoccluded & (static[i, row, column] > 0.5)
    return seen.reshape(height, width)
