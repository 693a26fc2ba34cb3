"""Cells of a grid that the silhouettes of all cameras leave possible."""

import torch
from jaxtyping import Bool, Float, UInt8
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor


@torch.no_grad()
def hull_cells(
    cameras: Cameras,
    images: UInt8[Tensor, "C H W 4"],
    center: Float[Tensor, "3"],
    half_width: float,
    cells: int,
) -> Bool[Tensor, "G G G"]:
    """Return which cells of a cube may hold matter: those no camera sees through.

    A cell is kept where it projects onto, or within its own size of, a pixel that is not transparent, in
    every camera whose image it falls into; cells that no camera sees are kept.

    Args:
        cameras: Cameras of one moment.
        images: Their images with alpha.
        center: Centre of the cube in world units.
        half_width: Half of its side.
        cells: Cells along an axis; the result is indexed ``[z, y, x]``.
    """
    axis = (torch.arange(cells) + 0.5) * (2.0 / cells) - 1
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    points = torch.stack([x, y, z], dim=-1).reshape(-1, 3) * half_width + center.cpu()
    radius = 3**0.5 * half_width / cells
    keep = torch.ones(len(points), dtype=torch.bool)
    for i in range(len(images)):
        pose = cameras.camera_to_worlds[i].cpu()
        local = (points[keep] - pose[:, 3]) @ pose[:, :3]
        depth = -local[:, 2]
        fx, fy = float(cameras.fx[i]), float(cameras.fy[i])
        cx, cy = float(cameras.cx[i]), float(cameras.cy[i])
        height, width = images.shape[1:3]
        ahead = depth > radius
        safe = depth.clamp_min(radius)
        column = torch.floor(local[:, 0] / safe * fx + cx).long()
        row = torch.floor(-local[:, 1] / safe * fy + cy).long()
        inside = ahead & (column >= 0) & (column < width) & (row >= 0) & (row < height)
        if not bool(inside.any()):
            continue
        rim = int(torch.ceil(radius * fx / depth[inside].min())) + 1
        solid = (images[i, ..., 3] > 0).float()[None, None]
        solid = torch.nn.functional.max_pool2d(solid, 2 * rim + 1, 1, rim)[0, 0] > 0
        seen = solid[row.clamp(0, height - 1), column.clamp(0, width - 1)] | ~inside
        index = keep.nonzero()[:, 0]
        keep[index[~seen]] = False
    return keep.view(cells, cells, cells)
