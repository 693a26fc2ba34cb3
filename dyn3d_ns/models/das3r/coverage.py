"""How much each Gaussian shows in the training views, and how much of that at rest."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

_NOTABLE = 0.1
"""Pixels' worth of light from which on a view bears witness to a Gaussian."""
_ENOUGH = 2
"""Views that must have seen a surface at rest: one alone may have a mask that missed what moves."""


class Contributions(NamedTuple):
    """Blending weights of each Gaussian, summed over the pixels of all views."""

    total: Float[Tensor, "N"]
    at_rest: Float[Tensor, "N"]
    """The same, of static pixels only."""
    views: Int64[Tensor, "N"]
    """Views that show it at rest."""

    @property
    def share(self) -> Float[Tensor, "N"]:
        """Part at rest; 1 where a Gaussian shows nowhere, of which nobody knows."""
        return torch.where(self.total > _NOTABLE, self.at_rest / self.total.clamp_min(1e-9), 1.0)

    @property
    def witnessed(self) -> Bool[Tensor, "N"]:
        """Whether enough views show it at rest."""
        return self.views >= _ENOUGH


def contributions(
    render: Callable[[int, Float[Tensor, "N 2"]], Float[Tensor, "H W 2"]],
    static: Iterable[Float[Tensor, "H W"]],
    count: int,
    device: torch.device,
) -> Contributions:
    """Sum the blending weights of Gaussians over pixels.

    A rendering is linear in the Gaussians' channels, so the slope of a weighted sum of its pixels by a
    Gaussian's channel is the sum of its blending weights there.

    Args:
        render: Renders a view of the given number with two channels a Gaussian, on black, differentiably.
        static: How static each pixel of the views is, in 0..1, view by view.
        count: Number of Gaussians.
        device: Where they are.
    """
    total, at_rest = torch.zeros(count, device=device), torch.zeros(count, device=device)
    views = torch.zeros(count, dtype=torch.int64, device=device)
    for view, rests in enumerate(static):
        with torch.enable_grad():
            channels = torch.zeros(count, 2, device=device, requires_grad=True)
            image = render(view, channels)
            weighted = (image[..., 0] * (rests > 0.5)).sum() + image[..., 1].sum()
            (slope,) = torch.autograd.grad(weighted, channels)
        at_rest += slope[:, 0]
        total += slope[:, 1]
        views += slope[:, 0] > _NOTABLE
    return Contributions(total, at_rest, views)
