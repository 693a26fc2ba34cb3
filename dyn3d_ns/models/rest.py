"""What rests, though it was found to move while it was followed: as the images show it.

Walls without texture drift, and what lies beside something that moves is drawn along by it. A picture in
which such Gaussians stay at their canonical places is then as good as one in which they move.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from dyn3d_ns.gaussians import Gaussians
from dyn3d_ns.models.gaussian_model import TrainingView

VISIBLE, AS_WELL = 1 / 255, 1.5
"""Pixels count that rest changes by more than that; what moves rests where their square error is at most so
many times as large then."""
BANDS = (0.0, 0.01, 0.02, 0.04)
"""Displacements, of the scene's extent, between which Gaussians may rest one by one; those that move farther
are what they are found to be. Each band is tried by itself, since what rests wrongly hides what is right."""


Draw = Callable[..., tuple[Tensor, Tensor, dict[str, Any]]]
"""``rasterize_gaussians`` of a model."""


class Look(NamedTuple):
    """What a camera saw at a moment."""

    view: TrainingView
    image: Float[Tensor, "H W 3"]


class RestFinder:
    """Compares pictures of Gaussians that move with pictures in which some of them rest."""

    def __init__(
        self,
        draw: Draw,
        background: Float[Tensor, "3"],
        looks: Sequence[Look],
        moved_at: Callable[[float], Gaussians],
        still: Gaussians,
    ) -> None:
        """Say what to compare.

        Args:
            draw: Rasterises Gaussians with the given colours or channels.
            background: What is behind them in the images.
            looks: What is to be met.
            moved_at: Where the Gaussians are found to be at a time.
            still: Where they rest.
        """
        self.draw, self.background = draw, background
        self.looks, self.moved_at, self.still = looks, moved_at, still

    @torch.no_grad()
    def bodies(self, labels: Int64[Tensor, "N"]) -> Bool[Tensor, "N"]:
        """Return the Gaussians that rest: those of body 0, and of bodies that do as a whole."""
        rests = labels == 0
        for body in labels[~rests].unique():
            mine, errors = labels == body, torch.zeros(2, dtype=torch.float64, device=labels.device)
            for look in self.looks:
                moved = self.moved_at(look.view.time)
                errors += self._errors(look, moved, _partly(moved, self.still, mine)).sum((0, 1))
            if errors[1] <= AS_WELL * errors[0]:
                rests = rests | mine
        return rests

    @torch.no_grad()
    def single(self, rests: Bool[Tensor, "N"], reach: Float[Tensor, "N"]) -> Bool[Tensor, "N"]:
        """Return the Gaussians that rest: those given, and others that do by themselves.

        Each is judged by the pixels that it contributes to, moving or at rest; what no camera sees moves on.

        Args:
            rests: Those that rest already.
            reach: How far each was found to move, of the scene's extent.
        """
        for near, far in pairwise(BANDS):
            unsure = ~rests & (reach >= near) & (reach < far)
            errors = torch.zeros(len(rests), 2, dtype=torch.float64, device=rests.device)
            for look in self.looks:
                moved = _partly(self.moved_at(look.view.time), self.still, rests)
                resting = _partly(moved, self.still, unsure)
                gaps = self._errors(look, moved, resting)
                for gaussians in (moved, resting):
                    errors += self._contributions(gaussians, look.view, gaps)
            rests = rests | (unsure & (errors[:, 1] < AS_WELL * errors[:, 0]))
        return rests

    def _errors(self, look: Look, moved: Gaussians, resting: Gaussians) -> Float64[Tensor, "H W 2"]:
        """Return the square error of each pixel with all that moves, and with some of it at rest; 0 where
        that is the same to see."""
        pictures = [self._picture(gaussians, look.view) for gaussians in (moved, resting)]
        differs = (pictures[0] - pictures[1]).abs().amax(-1) > VISIBLE
        errors = [(picture - look.image).square().sum(-1) * differs for picture in pictures]
        return torch.stack(errors, dim=-1).double()

    def _picture(self, gaussians: Gaussians, view: TrainingView) -> Float[Tensor, "H W 3"]:
        degree = math.isqrt(gaussians.colors.shape[1]) - 1
        render, alpha, _ = self.draw(gaussians, view, gaussians.colors, sh_degree=degree)
        return render[0] + (1 - alpha[0]) * self.background

    def _contributions(
        self, gaussians: Gaussians, view: TrainingView, values: Float64[Tensor, "H W C"]
    ) -> Float64[Tensor, "N C"]:
        """Sum values of pixels up by what each Gaussian contributes to these: the gradient by a channel that
        is drawn with them."""
        with torch.enable_grad():
            channels = gaussians.means.new_zeros(len(gaussians.means), values.shape[-1]).requires_grad_()
            drawn = self.draw(gaussians, view, channels)[0][0]
            return torch.autograd.grad((drawn * values.to(drawn)).sum(), channels)[0].double()


def _partly(first: Gaussians, second: Gaussians, chosen: Bool[Tensor, "N"]) -> Gaussians:
    """Return the first Gaussians, the chosen ones where and as the second lie."""
    return replace(
        first,
        means=torch.where(chosen[:, None], second.means, first.means),
        quats=torch.where(chosen[:, None], second.quats, first.quats),
        colors=torch.where(chosen[:, None, None], second.colors, first.colors),
    )
