"""Cells of a grid that the silhouettes of all cameras leave possible."""

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor

from dyn3d_ns.geometry.cameras import focals, project, to_camera, viewmats_of

COARSEST = 16
"""Cells along an axis that are all looked up in the images."""


@torch.no_grad()
def hull_cells(
    cameras: Cameras,
    images: UInt8[Tensor, "C H W 4"],
    center: Float[Tensor, "3"],
    half_width: float,
    cells: int,
    min_views: int = 2,
) -> Bool[Tensor, "G G G"]:
    """Return which cells of a cube may hold matter: those no camera sees through.

    A cell is kept where it projects onto, or within its own size of, a pixel that is not transparent, in
    every camera whose image it falls into, and where at least ``min_views`` images show it: what fewer see
    could not be placed.

    Args:
        cameras: Cameras of one moment.
        images: Their images with alpha.
        center: Centre of the cube in world units.
        half_width: Half of its side.
        cells: Cells along an axis; the result is indexed ``[z, y, x]``.
        min_views: Images that have to show a cell.
    """
    places = (torch.arange(cells) + 0.5) * (2.0 / cells) - 1
    z, y, x = torch.meshgrid(places, places, places, indexing="ij")
    points = torch.stack([x, y, z], dim=-1).reshape(-1, 3) * half_width + center.cpu()
    radius = 3**0.5 * half_width / cells
    keep = torch.ones(len(points), dtype=torch.bool)
    if cells % 2 == 0 and cells > COARSEST:
        # A cell is possible only within one of twice its size that is, so most need no look at any image.
        coarse = hull_cells(cameras, images, center, half_width, cells // 2, 0)
        for axis in range(3):
            coarse = coarse.repeat_interleave(2, dim=axis)
        keep = coarse.flatten()
    views = torch.zeros(len(points), dtype=torch.int16)
    viewmats, Ks = viewmats_of(cameras.camera_to_worlds).cpu(), cameras.get_intrinsics_matrices().cpu()
    for i in range(len(images)):
        local = to_camera(points[keep], viewmats[i])
        depth = local[:, 2]
        column, row = torch.floor(project(local, Ks[i], near=radius)).long().unbind(-1)
        height, width = images.shape[1:3]
        inside = (depth > radius) & (column >= 0) & (column < width) & (row >= 0) & (row < height)
        if not bool(inside.any()):
            continue
        rim = int(torch.ceil(radius * focals(Ks[i])[0, 0] / depth[inside].min())) + 1
        # OpenCV takes a rectangle's dilation apart; as a pooling it took longer than all the rest.
        size = (2 * rim + 1, 2 * rim + 1)
        alpha = (images[i, ..., 3] > 0).numpy().astype(np.uint8)
        solid = torch.from_numpy(cv2.dilate(alpha, cv2.getStructuringElement(cv2.MORPH_RECT, size))) > 0
        seen = solid[row.clamp(0, height - 1), column.clamp(0, width - 1)] | ~inside
        index = keep.nonzero()[:, 0]
        views[index] += inside.short()
        keep[index[~seen]] = False
    return (keep & (views >= min(min_views, len(images)))).view(cells, cells, cells)
