"""The part of a training view that a frame changes: its pixels, and the Gaussians that reach them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

from dyn3d_ns.gaussians import Gaussians
from dyn3d_ns.geometry.cameras import crop_intrinsics, flip_axes, pixel_sizes, project, to_camera
from dyn3d_ns.io.stream.look import StartCamera
from dyn3d_ns.rendering import rasterize

TILE = 16
"""Pixels along the side of the squares that are fitted or left alone as a whole."""
REACH = 3.0
"""Standard deviations to which a Gaussian shows."""
_MAX_SLANT = 3.0
"""Largest secant of the angle from the middle of the image; the rasteriser bounds it more tightly."""
_LOW_PASS = 6.0
"""Pixels that the rasteriser's low-pass filter and the loss's neighbourhood may add to that."""


@dataclass(frozen=True)
class Rig:
    """The training cameras of a moment, which rest: as the rasteriser takes them."""

    viewmats: Float[Tensor, "V 4 4"]
    Ks: Float[Tensor, "V 3 3"]
    width: int
    height: int
    near: float

    def __len__(self) -> int:
        return len(self.viewmats)

    def start_camera(self) -> StartCamera:
        """Return the first camera, at which viewers start."""
        pose = flip_axes(torch.linalg.inv(self.viewmats[0].double())[:3]).cpu().numpy()
        (fx, _, cx), (_, fy, cy) = self.Ks[0, :2].tolist()
        return StartCamera(pose, fx, fy, cx, cy, self.width, self.height)


@dataclass(frozen=True)
class ChangedView:
    """A crop around the tiles of one view that are fitted."""

    view: int
    """Number of the camera in the rig."""
    image: UInt8[Tensor, "h w 3"]
    """The recorded pixels of the crop."""
    weight: Float[Tensor, "h w 1"]
    """1 in tiles that are fitted, changed ones and those around; 0 elsewhere."""
    tiles: Bool[Tensor, "1 r c"]
    """The same a tile."""
    fresh: Float[Tensor, "h w"]
    """1 where the image differs from the frame before, 0 elsewhere."""
    stale: Float[Tensor, "h w"]
    """1 where it differs from what was fitted last, or from the frame before, 0 elsewhere."""
    viewmats: Float[Tensor, "1 4 4"]
    Ks: Float[Tensor, "1 3 3"]
    near: float
    gaussians: Int64[Tensor, "n"]
    """Gaussians that reach a tile that is fitted."""

    def render(
        self, gaussians: Gaussians, colors: Tensor, sh_degree: int | None, whole: bool = False
    ) -> tuple[Float[Tensor, "h w D"], Float[Tensor, "h w 1"]]:
        """Render the view's own Gaussians, as given; return channels and accumulation.

        Tiles that are not fitted need not be rendered but for the ``whole`` crop.
        """
        height, width = self.weight.shape[:2]
        render, alpha, _ = rasterize(
            gaussians.means,
            gaussians.quats,
            gaussians.scales,
            gaussians.opacities,
            colors,
            self.viewmats,
            self.Ks,
            width,
            height,
            near_plane=self.near,
            packed=False,
            sh_degree=sh_degree,
            tile_mask=None if whole else self.tiles,
        )
        return render[0], alpha[0]

    def light(
        self, gaussians: Gaussians, weights: Float[Tensor, "h w D"], whole: bool = False
    ) -> Float[Tensor, "n D"]:
        """Return the light of each of the view's Gaussians: its blending weights, summed over the pixels.

        A rendering is linear in the Gaussians' channels: the slope of a weighted sum of its pixels by a
        Gaussian's channel is the weighted sum of its blending weights.
        """
        with torch.enable_grad():
            channels = torch.zeros(
                len(gaussians), weights.shape[-1], device=weights.device, requires_grad=True
            )
            image, _ = self.render(gaussians, channels, None, whole)
            (slope,) = torch.autograd.grad((image * weights).sum(), channels)
        return slope


def tiles_of(mask: Bool[Tensor, "V H W"]) -> Bool[Tensor, "V h w"]:
    """Return which tiles hold a pixel of a mask."""
    return F.max_pool2d(mask.float()[:, None], TILE, TILE, ceil_mode=True)[:, 0] > 0


def pixels_of(tiles: Bool[Tensor, "*V h w"], height: int, width: int) -> Bool[Tensor, "*V H W"]:
    """Return the pixels of tiles."""
    spread = tiles.repeat_interleave(TILE, -2).repeat_interleave(TILE, -1)
    return spread[..., :height, :width]


def grown(mask: Bool[Tensor, "V H W"], radius: int) -> Bool[Tensor, "V H W"]:
    """Widen a mask by a number of pixels to all sides."""
    size = 2 * radius + 1
    along = F.max_pool2d(mask.float()[:, None], (1, size), 1, (0, radius))
    return F.max_pool2d(along, (size, 1), 1, (radius, 0))[:, 0] > 0


def changed_view(
    rig: Rig,
    view: int,
    image: UInt8[Tensor, "H W 3"],
    tiles: Bool[Tensor, "h w"],
    fresh: Bool[Tensor, "H W"],
    stale: Bool[Tensor, "H W"],
    gaussians: Gaussians,
) -> ChangedView | None:
    """Cut out of a view what its tiles to fit need; None where there is none."""
    if not bool(tiles.any()):
        return None
    rows, columns = tiles.any(1).nonzero()[:, 0], tiles.any(0).nonzero()[:, 0]
    y0, y1 = int(rows[0]) * TILE, min((int(rows[-1]) + 1) * TILE, rig.height)
    x0, x1 = int(columns[0]) * TILE, min((int(columns[-1]) + 1) * TILE, rig.width)
    weight = pixels_of(tiles, rig.height, rig.width)[y0:y1, x0:x1, None]
    return ChangedView(
        view,
        image[y0:y1, x0:x1].contiguous(),
        weight.float().contiguous(),
        tiles[None, y0 // TILE : -(-y1 // TILE), x0 // TILE : -(-x1 // TILE)],
        fresh[y0:y1, x0:x1].float(),
        (fresh | stale)[y0:y1, x0:x1].float(),
        rig.viewmats[view : view + 1],
        crop_intrinsics(rig.Ks[view : view + 1], x0, y0),
        rig.near,
        reaching(rig, view, tiles, gaussians),
    )


def reaching(rig: Rig, view: int, tiles: Bool[Tensor, "h w"], gaussians: Gaussians) -> Int64[Tensor, "n"]:
    """Return the Gaussians whose square of three standard deviations touches one of the tiles."""
    K = rig.Ks[view]
    points = to_camera(gaussians.means, rig.viewmats[view])
    depth = points[:, 2]
    center = project(points, K, rig.near)
    # Away from the middle of the image depth shows as well, by the tangent of the angle.
    slant = (points.norm(dim=1) / depth.clamp_min(rig.near)).clamp_max(_MAX_SLANT)
    size = pixel_sizes(depth.clamp_min(rig.near), K)
    radius = REACH * gaussians.scales.amax(1) / size * slant + _LOW_PASS
    # Tiles within a rectangle are counted by four look-ups into their running sum.
    summed = F.pad(tiles.long().cumsum(0).cumsum(1), (1, 0, 1, 0))
    limit = torch.tensor([tiles.shape[1], tiles.shape[0]], device=center.device)
    least = ((center - radius[:, None]) / TILE).floor().clamp_min(0)
    most = ((center + radius[:, None]) / TILE).floor() + 1
    x0, y0 = torch.minimum(least, limit).long().unbind(1)
    x1, y1 = torch.minimum(most.clamp_min(0), limit).long().unbind(1)
    count = summed[y1, x1] - summed[y0, x1] - summed[y1, x0] + summed[y0, x0]
    inside = (x1 > x0) & (y1 > y0) & (depth > rig.near)
    return ((count > 0) & inside).nonzero()[:, 0]
