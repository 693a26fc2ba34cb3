"""What moves in one frame, as Gaussians on its pixels, to be shown in the static scene from any side."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from dyn3d_ns.gaussians import Gaussians
from dyn3d_ns.gaussians.seeds.points import SH_C0
from dyn3d_ns.geometry.cameras import from_camera, project, unproject
from dyn3d_ns.models.gaussian_model import TrainingView

_OPACITY = 0.95


def movers_of_frame(
    image: UInt8[Tensor, "H W 3"],
    moves: Bool[Tensor, "H W"],
    depth: Float[Tensor, "H W"],
    viewmat: Float[Tensor, "4 4"],
    K: Float[Tensor, "3 3"],
) -> Gaussians:
    """Lift the pixels that move to where their depth says; those without a depth are left out.

    Args:
        image: Recorded colours.
        moves: Where something moves.
        depth: Planar z, world units; 0 where nothing is known.
        viewmat: World to camera of the frame.
        K: Its intrinsics, pixels with centres at +0.5.
    """
    row, column = (moves & (depth > 0) & torch.isfinite(depth)).nonzero(as_tuple=True)
    z = depth[row, column].to(viewmat)
    local = unproject(torch.stack([column, row], 1).to(viewmat) + 0.5, z, K)
    size = z / torch.diagonal(K)[:2].mean()
    quats = torch.zeros(len(z), 4, device=z.device)
    quats[:, 0] = 1.0
    colors = image[row, column].to(viewmat) / 255.0
    return Gaussians(
        means=from_camera(local, viewmat),
        quats=quats,
        scales=(0.5 * size)[:, None].repeat(1, 3),
        opacities=torch.full_like(z, _OPACITY),
        colors=((colors - 0.5) / SH_C0)[:, None],
    )


def join(static: Gaussians, movers: Gaussians) -> Gaussians:
    """Put the movers into the static scene; their colours do not depend on the direction."""
    rest = static.colors.shape[1] - movers.colors.shape[1]
    colors = torch.nn.functional.pad(movers.colors, (0, 0, 0, rest))
    return Gaussians(
        torch.cat([static.means, movers.means]),
        torch.cat([static.quats, movers.quats]),
        torch.cat([static.scales, movers.scales]),
        torch.cat([static.opacities, movers.opacities]),
        torch.cat([static.colors, colors]),
    )


def looked_up(
    image: Float[Tensor, "H W C"], own: TrainingView, view: TrainingView
) -> Float[Tensor, "H2 W2 C"]:
    """Show an image in a view of the same pose with other intrinsics; zero outside of the image."""
    rows, columns = torch.meshgrid(torch.arange(view.height), torch.arange(view.width), indexing="ij")
    pixels = torch.stack([columns, rows], dim=-1).reshape(-1, 2).to(image) + 0.5
    rays = unproject(pixels, torch.ones_like(pixels[:, 0]), view.Ks[0])
    size = pixels.new_tensor([own.width, own.height])
    places = (2 * project(rays, own.Ks[0]) / size - 1).reshape(1, view.height, view.width, 2)
    planes = image.permute(2, 0, 1)[None]
    found = torch.nn.functional.grid_sample(planes, places, mode="bilinear", align_corners=False)
    return found[0].permute(1, 2, 0)
