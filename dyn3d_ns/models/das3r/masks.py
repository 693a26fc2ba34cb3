"""Refine where a view moves by what the static scene leaves unexplained: SpotLessSplats' idea, no network."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import avg_pool2d, max_pool2d


@dataclass
class MaskSettings:
    """Settings of the second look at the masks."""

    trust: float = 3.0
    """Log-odds of what the masks say: how much evidence from colours it takes to overrule them."""
    sharpness: float = 1.0
    """Log-odds gained for each robust standard deviation of the error beyond the tolerance."""
    tolerance: float = 3.0
    """Error in robust standard deviations that says nothing either way."""
    forgiveness: float = 1.0
    """Log-odds that a small error takes from a mask at most: where a mask is right but the scene has taken up
    what moves, errors are small too."""
    window: int = 5
    """Side of the square over which errors are averaged, pixels, odd."""


def residual(
    render: Float[Tensor, "H W 3"], truth: Float[Tensor, "H W 3"], window: int
) -> Float[Tensor, "H W"]:
    """Return the error of a rendering, averaged over channels and a small square: what moves is coherent."""
    error = (render - truth).abs().mean(-1)
    return avg_pool2d(error[None], window, 1, window // 2, count_include_pad=False)[0]


def robust_scale(errors: Float[Tensor, "*n"], weights: Float[Tensor, "*n"]) -> float:
    """Return 1.4826 times the median of the errors of static pixels, at least a grey level."""
    chosen = errors[weights > 0.5]
    found = float(chosen.median()) if len(chosen) else 0.0
    return max(1.4826 * found, 1 / 255)


def second_look(
    prior: Float[Tensor, "H W"], error: Float[Tensor, "H W"], scale: float, settings: MaskSettings
) -> Float[Tensor, "H W"]:
    """Return how likely each pixel moves, from what the masks said and how badly the static scene fits it.

    Bayes' rule in log-odds, both sides bounded, so that neither a mask nor a colour has the last word alone.

    Args:
        prior: How likely each pixel moves before, in 0..1.
        error: Error of :func:`residual`.
        scale: Error of static pixels, :func:`robust_scale`.
        settings: How much each side counts.
    """
    before = settings.trust * (2 * prior.clamp(0, 1) - 1)
    evidence = settings.sharpness * (error / scale - settings.tolerance)
    return torch.sigmoid(before + evidence.clamp(-settings.forgiveness, settings.trust + 1))


def widen(motion: Float[Tensor, "*V H W"], pixels: int) -> Float[Tensor, "*V H W"]:
    """Grow what moves by so many pixels: edges of movers mix with what lies behind."""
    if pixels < 1:
        return motion
    shape = motion.shape
    grown = max_pool2d(motion.reshape(-1, 1, *shape[-2:]), 2 * pixels + 1, 1, pixels)
    return grown.reshape(shape)
