"""Adjust depth maps so that the camera's motion explains the flow between frames."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dyn3d_ns.geometry.cameras import pixel_grid, project, to_camera, unproject
from dyn3d_ns.video.adjust.energies import NEAREST
from dyn3d_ns.video.adjust.settings import FlowDepthSettings

_NEAREST, _FURTHEST = 0.01, 100.0


@dataclass(frozen=True)
class WindowPair:
    """Flow from one frame of a window to another."""

    flow: Float[Tensor, "H W 2"]
    cycle: Float[Tensor, "H W"]
    """Error of the flow there and back in pixels; infinite where it leaves the image."""
    transform: Float[Tensor, "4 4"]
    """From the first camera's axes to the second's."""


def adjust_window(
    depths: Float[Tensor, "K H W"],
    regions: Bool[Tensor, "K H W"],
    pairs: Mapping[tuple[int, int], WindowPair],
    K: Float[Tensor, "3 3"],
    settings: FlowDepthSettings,
    generator: torch.Generator,
) -> Float[Tensor, "K H W"]:
    """Return the depths of a window of frames after some steps of Adam; pixels outside the regions stay.

    The loss is the mean over pairs of the weighted error of the flow that camera and depth predict (Huber),
    weighted by how well the flow returns. Depth stays within 0.01 and 100.
    """
    height, width = depths.shape[1:]
    grid = torch.from_numpy(pixel_grid(height, width)).to(depths)
    rays = unproject(grid, torch.ones_like(depths[0]), K)
    moved = depths.clone().requires_grad_()
    optimizer = torch.optim.Adam([moved], lr=settings.rate, amsgrad=True)
    for _ in range(settings.iterations):
        optimizer.zero_grad()
        losses = []
        chosen = [_sample(region, settings.sample_ratio, generator) for region in regions]
        for (a, _), pair in pairs.items():
            rows, columns = chosen[a]
            if len(rows):
                predicted = _geometric_flow(
                    moved[a, rows, columns], rays[rows, columns], grid[rows, columns], pair.transform, K
                )
                losses.append(_loss(predicted, pair, rows, columns, settings))
        if not losses:
            return depths
        torch.stack(losses).mean().backward()
        torch.nn.utils.clip_grad_norm_([moved], settings.max_gradient)
        optimizer.step()
        with torch.no_grad():
            moved.clamp_(_NEAREST, _FURTHEST)
    return torch.where(regions, moved.detach(), depths)


def _sample(region: Bool[Tensor, "H W"], ratio: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    rows, columns = region.nonzero(as_tuple=True)
    if ratio < 1.0:
        kept = torch.rand(len(rows), generator=generator) < ratio
        rows, columns = rows[kept], columns[kept]
    return rows, columns


def _geometric_flow(
    depth: Float[Tensor, "M"],
    rays: Float[Tensor, "M 3"],
    grid: Float[Tensor, "M 2"],
    transform: Float[Tensor, "4 4"],
    K: Float[Tensor, "3 3"],
) -> Float[Tensor, "M 2"]:
    return project(to_camera(rays * depth[:, None], transform), K, NEAREST) - grid


def _loss(
    predicted: Float[Tensor, "M 2"],
    pair: WindowPair,
    rows: Tensor,
    columns: Tensor,
    settings: FlowDepthSettings,
) -> Tensor:
    miss = (predicted - pair.flow[rows, columns]).square().sum(-1).add(1e-12).sqrt()
    weight = torch.exp(-0.5 * (pair.cycle[rows, columns] / settings.cycle_sigma) ** 2)
    weight = weight.clamp_min(settings.min_weight)
    cost = torch.where(miss < 1.0, 0.5 * miss**2, miss - 0.5) if settings.huber else miss**2
    return (weight * cost).sum() / weight.sum()
