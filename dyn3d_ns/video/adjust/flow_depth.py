"""Adjust depth maps so that the camera's motion explains the flow between frames."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

_NEAREST, _FURTHEST = 0.01, 100.0


@dataclass(frozen=True)
class FlowDepthSettings:
    """How depth is fitted to flow."""

    iterations: int = 50
    rate: float = 1e-2
    sample_ratio: float = 0.5
    """Part of the pixels of each frame that takes part in a step."""
    cycle_sigma: float = 1.0
    """Error of flow there and back (pixels) at which a pixel counts for exp(-1/2)."""
    min_weight: float = 0.01
    huber: bool = True
    """Huber's loss with threshold 1 pixel; squared without."""
    max_gradient: float = 1.0


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
    ys, xs = torch.meshgrid(
        torch.arange(height, dtype=depths.dtype), torch.arange(width, dtype=depths.dtype), indexing="ij"
    )
    rays = torch.stack(((xs - K[0, 2]) / K[0, 0], (ys - K[1, 2]) / K[1, 1], torch.ones_like(xs)), dim=-1)
    grid = torch.stack((xs, ys), dim=-1)
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
    at = (rays * depth[:, None]) @ transform[:3, :3].T + transform[:3, 3]
    image = at @ K.T
    return image[:, :2] / image[:, 2:].clamp_min(1e-4) - grid


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
