"""Colours for motion: what the viewer shows as velocity and flow."""

import torch
from jaxtyping import Float
from torch import Tensor


def velocity_colors(velocity: Float[Tensor, "H W 3"], top_speed: float) -> Float[Tensor, "H W 3"]:
    """Show a velocity as a colour: x, y and z as red, green and blue about mid-grey, ``top_speed`` at full
    range.

    Args:
        velocity: World units per unit of time, already weighted by the accumulation.
        top_speed: Speed along an axis that saturates the colour.
    """
    return (0.5 + 0.5 * velocity / max(top_speed, 1e-9)).clamp(0, 1)


def flow_colors(flow: Float[Tensor, "H W 2"], top: float) -> Float[Tensor, "H W 3"]:
    """Show optical flow on the usual wheel: the hue is the direction, white is rest.

    Args:
        flow: Pixels, x right and y down.
        top: Length in pixels that has full colour.
    """
    length = flow.norm(dim=-1, keepdim=True)
    hue = torch.atan2(flow[..., 1:], flow[..., :1]) / (2 * torch.pi) % 1.0
    wheel = (6 * hue + torch.tensor([0.0, 4.0, 2.0], device=flow.device, dtype=flow.dtype)) % 6
    color = ((wheel - 3).abs() - 1).clamp(0, 1)
    return 1 - (length / max(top, 1e-9)).clamp(0, 1) * (1 - color)


def divergence_colors(divergence: Float[Tensor, "H W 1"], top: float) -> Float[Tensor, "H W 3"]:
    """Show a divergence as a colour: white for none, red where matter spreads, blue where it contracts.

    Args:
        divergence: Per unit of time, already weighted by the accumulation.
        top: Size at which the colour is full.
    """
    size = (divergence / max(top, 1e-9)).clamp(-1, 1)
    return torch.cat([1 + size.clamp(max=0), 1 - size.abs(), 1 - size.clamp(min=0)], dim=-1)


def slot_colors(shares: Float[Tensor, "H W K"]) -> Float[Tensor, "H W 3"]:
    """Show how much of each slot a pixel has: evenly spaced hues, white where there is nothing."""
    hue = 6 * torch.arange(shares.shape[-1], device=shares.device, dtype=shares.dtype) / shares.shape[-1]
    wheel = (hue[:, None] + torch.tensor([0.0, 4.0, 2.0], device=shares.device, dtype=shares.dtype)) % 6
    palette = 0.15 + 0.8 * ((wheel - 3).abs() - 1).clamp(0, 1)
    return (shares @ palette + (1 - shares.sum(-1, keepdim=True))).clamp(0, 1)
