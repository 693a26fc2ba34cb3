"""Depth maps by plane-sweep stereo.

Every view is compared with the views that see the same matter from another side, over hypotheses of its
depth (Collins 1996); the costs are smoothed along scanlines (semi-global matching, Hirschmueller 2008).
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from rich.progress import track
from torch import Tensor
from torch.nn.functional import avg_pool2d, grid_sample, interpolate

from dyn3d_ns.gaussians.seeds.points import ViewSet
from dyn3d_ns.geometry.cameras import from_camera, project, scale_intrinsics, to_camera, unproject

LONG_SIDE = 128
"""Largest picture side that depths are searched at, pixels."""
DEPTHS = 112
"""Hypotheses of the depth, at equal ratios between near and far."""
SOURCES = 8
"""Views that one view is compared with."""
BEST = 2
"""Of these the best matches count; the others may be blocked."""
NEAREST = 1 / 40
"""Nearest depth as a fraction of the farthest, for cameras within the box."""
SPREAD = 0.06
"""Difference of two looks (in units of RGB 0..1) that counts as no match at all."""
UNSEEN = 0.6
"""Cost of a source that does not see the point, so that more than one match counts where there are more."""
STEP_COST, JUMP_COST = 0.03, 0.25
"""Costs of a neighbour's depth that is one hypothesis away, and of one farther away."""
_CHUNK = 16
"""Hypotheses that are evaluated at once, which bounds the memory."""


class DepthMaps(NamedTuple):
    """Depths of several views with pictures of that size."""

    views: ViewSet
    depths: Float[Tensor, "C H W"]
    """Planar z, world units."""
    margins: Float[Tensor, "C H W"]
    """By how much the best depth beats the best one that is clearly different; 0 says nothing, from about
    0.1 on it can be trusted."""


def scale_views(views: ViewSet, long_side: int) -> tuple[ViewSet, Float[Tensor, "C 3 H W"]]:
    """Shrink views until no side is longer than ``long_side``.

    Returns:
        The views (RGB) and the same pictures as floats in 0..1.
    """
    pictures = views.images[..., :3].permute(0, 3, 1, 2).float() / 255.0
    height, width = pictures.shape[-2:]
    factor = min(long_side / max(height, width), 1.0)
    if factor < 1.0:
        size = (max(round(height * factor), 1), max(round(width * factor), 1))
        pictures = interpolate(pictures, size, mode="bilinear", antialias=True, align_corners=False)
    Ks = scale_intrinsics(views.Ks, pictures.shape[-1] / width, pictures.shape[-2] / height)
    images = (pictures * 255.0).round().to(torch.uint8).permute(0, 2, 3, 1)
    return ViewSet(views.viewmats, Ks, images), pictures


def depth_ranges(views: ViewSet, box: Float[Tensor, "2 3"]) -> Float[Tensor, "C 2"]:
    """Return each view's nearest and farthest depth of a box that may lie around the camera or before it."""
    corners = torch.cartesian_prod(*box.T.unbind(0)).to(views.viewmats)
    z = to_camera(corners, views.viewmats)[..., 2]
    far = z.amax(1).clamp_min(1e-3 * float((box[1] - box[0]).norm()))
    return torch.stack([torch.maximum(z.amin(1), NEAREST * far), far], dim=1)


def pixel_rays(views: ViewSet) -> Float[Tensor, "C H W 3"]:
    """Return camera-space rays through the pixel centres, with z = 1."""
    height, width = views.images.shape[1:3]
    v, u = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    pixels = torch.stack([u, v], dim=-1).flatten(0, 1).to(views.Ks)
    return unproject(pixels, torch.ones_like(pixels[:, 0]), views.Ks).unflatten(1, (height, width))


def choose_sources(
    views: ViewSet, ranges: Float[Tensor, "C 2"], box: Float[Tensor, "2 3"], count: int
) -> list[Tensor]:
    """Pick for every view those that see most of the same space, at angles that tell depth well.

    An angle of 12 degrees at the point counts in full; small ones count in proportion, large ones fade.
    """
    rays = pixel_rays(views)[:, ::8, ::8].flatten(1, 2)
    ratio = torch.linspace(0.3, 1.0, 8).to(rays)
    z = ranges[:, :1] * (ranges[:, 1:] / ranges[:, :1]) ** ratio
    points = from_camera((rays[:, :, None] * z[:, None, :, None]).flatten(1, 2), views.viewmats)
    eyes = from_camera(rays.new_zeros(1, 3), views.viewmats)
    size = torch.tensor([views.images.shape[2], views.images.shape[1]]).to(rays)
    chosen = []
    for i, samples in enumerate(points):
        mine = samples[((samples >= box[0]) & (samples <= box[1])).all(1)]
        cam = to_camera(mine, views.viewmats)
        uv = project(cam, views.Ks)
        seen = (cam[..., 2] > 0) & (uv >= 0).all(-1) & (uv < size).all(-1)
        ways = torch.nn.functional.normalize(mine - eyes, dim=-1)
        angle = torch.rad2deg(torch.arccos((ways * ways[i]).sum(-1).clamp(-1, 1)))
        worth = torch.where(angle < 12, angle / 12, torch.exp(-0.5 * ((angle - 12) / 18).square()))
        total = (worth * seen).sum(1)
        total[i] = -1.0
        order = total.argsort(descending=True, stable=True)[:count]
        chosen.append(order[total[order] > 0])
    return chosen


def describe(pictures: Float[Tensor, "C 3 H W"]) -> Float[Tensor, "C 6 H W"]:
    """Return what pixels look like: their colour, and how it differs from the surroundings."""
    around = avg_pool2d(pictures, 7, 1, 3, count_include_pad=False)
    return torch.cat([0.5 * pictures, pictures - around], dim=1)


def sweep(
    looks: Float[Tensor, "C F H W"],
    views: ViewSet,
    rays: Float[Tensor, "H W 3"],
    index: int,
    sources: Tensor,
    depths: Float[Tensor, "D"],
) -> Float[Tensor, "D H W"]:
    """Return how badly a view's pixels match the sources for every depth, 0..1."""
    height, width = rays.shape[:2]
    between = views.viewmats[sources] @ torch.linalg.inv(views.viewmats[index])
    ahead = (rays.flatten(0, 1) @ between[:, :3, :3].mT)[:, None]
    shift = between[:, None, None, :3, 3]
    to_grid = 2.0 / rays.new_tensor([width, height])
    costs = []
    for part in depths.split(_CHUNK):
        place = (ahead * part[:, None, None] + shift).flatten(1, 2)
        grid = project(place, views.Ks[sources]) * to_grid - 1.0
        outside = (place[..., 2] <= 0) | (grid.abs() > 1).any(-1)
        shape = (len(part), height, width)
        seen = grid_sample(
            looks[sources], grid.unflatten(1, (-1, width)), padding_mode="border", align_corners=False
        ).unflatten(2, shape[:2])
        difference = (seen - looks[index][:, None]).abs_().mean(1) / SPREAD
        difference = difference.clamp_max_(1.0).masked_fill_(outside.unflatten(1, shape), UNSEEN)
        smooth = avg_pool2d(difference, 3, 1, 1, count_include_pad=False)
        best = min(BEST, len(sources))
        costs.append(smooth.topk(best, dim=0, largest=False).values.mean(0))
    return torch.cat(costs)


def smooth_costs(costs: Float[Tensor, "C D H W"]) -> Float[Tensor, "C D H W"]:
    """Average the costs along the four directions of the scanlines (semi-global matching)."""
    total = torch.zeros_like(costs)
    for axis in (2, 3):
        for backward in (False, True):
            lines = costs.movedim(axis, 0)
            order = range(len(lines))
            out = total.movedim(axis, 0)
            previous = None
            for k in reversed(order) if backward else order:
                previous = lines[k] if previous is None else lines[k] + _carry(previous)
                out[k] += previous
    return total / 4


def _carry(previous: Float[Tensor, "C D L"]) -> Float[Tensor, "C D L"]:
    """Return the least cost of coming from a neighbour pixel, less its overall minimum."""
    lowest = previous.amin(1, keepdim=True)
    least = torch.minimum(previous, lowest + JUMP_COST)
    least[:, 1:] = torch.minimum(least[:, 1:], previous[:, :-1] + STEP_COST)
    least[:, :-1] = torch.minimum(least[:, :-1], previous[:, 1:] + STEP_COST)
    return least - lowest


def best_depths(
    costs: Float[Tensor, "C D H W"], ranges: Float[Tensor, "C 2"]
) -> tuple[Float[Tensor, "C H W"], Float[Tensor, "C H W"]]:
    """Return the depth of least cost between the hypotheses (parabola), and its margin."""
    number = costs.shape[1]
    lowest, index = costs.min(dim=1)
    inner = index.clamp(1, number - 2)
    left, middle, right = (costs.gather(1, (inner + k)[:, None])[:, 0] for k in (-1, 0, 1))
    bend = (left + right - 2 * middle).clamp_min(1e-6)
    position = torch.where(inner == index, inner + (0.5 * (left - right) / bend).clamp(-0.5, 0.5), index)
    steps = torch.arange(number)[None, :, None, None]
    other = costs.masked_fill((steps - index[:, None]).abs() <= 3, torch.inf).amin(1)
    ratio = (ranges[:, 1] / ranges[:, 0])[:, None, None]
    return ranges[:, 0, None, None] * ratio ** (position / (number - 1)), other - lowest


def depth_maps(views: ViewSet, box: Float[Tensor, "2 3"]) -> DepthMaps:
    """Search every view's depths, behind a progress bar."""
    small, pictures = scale_views(views, LONG_SIDE)
    ranges = depth_ranges(small, box)
    sources, rays, looks = choose_sources(small, ranges, box, SOURCES), pixel_rays(small), describe(pictures)
    ratio = torch.linspace(0, 1, DEPTHS)
    found = []
    for i in track(range(len(looks)), "Searching the surfaces...", transient=True):
        near, far = ranges[i]
        if len(sources[i]) < 2:
            continue
        costs = sweep(looks, small, rays[i], i, sources[i], near * (far / near) ** ratio)
        found.append((i, *best_depths(smooth_costs(costs[None]), ranges[i : i + 1])))
    kept = torch.tensor([i for i, _, _ in found], dtype=torch.long)
    depths = torch.cat([d for _, d, _ in found]) if found else pictures.new_zeros(0, *pictures.shape[-2:])
    margins = torch.cat([m for _, _, m in found]) if found else depths
    return DepthMaps(ViewSet(small.viewmats[kept], small.Ks[kept], small.images[kept]), depths, margins)
