"""The losses of MonoNeRF (its section on optimisation; DynamicNeRF's where it takes them over).

The released code computes some of them from the wrong rays; here the mask of each ray decides. Where it
compares normalised depths with relative disparities, ours have depths in the scene's units, so that the
place along the ray is compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dyn3d_ns.models.mononerf.scene import Layers, MovingSamples, expected


@dataclass
class MonoNerfLosses:
    """Weights of the losses; 0 leaves one out. Places along a ray run from 0 to 1."""

    behind: float = 0.1
    """Share of what rests in front of what moves, or at it, where its depth is given."""
    full_color: float = 3.0
    """Squared error of both fields together."""
    dynamic_color: float = 1.0
    """Squared error of the dynamic field alone."""
    warped_color: float = 1.0
    """Squared error of the dynamic field a frame later or earlier, along rays that moved there."""
    flow: float = 0.02
    """Distance in pixels of the flow that the velocity makes, where the given flow is valid."""
    slow: float = 0.01
    """Size of the displacement."""
    steady: float = 0.1
    """Change of the displacement from one frame to the next."""
    smooth: float = 0.1
    """Change of the displacement from one sample of a ray to the next."""
    cycle: float = 1.0
    """Distance from where a place comes back to, a frame there and back."""
    mask: float = 0.1
    """Blending of rays at rest, and difference of a ray's blending from the mask."""
    sparse: float = 0.001
    """Entropy of the shares of samples and of the blending."""
    depth: float = 1.0
    """Distance along the ray of the dynamic field's surface from the given depth."""
    order: float = 0.1
    """Squared distance of the dynamic field's surface from the static one, of rays at rest."""
    depth_blending: float = 1.0
    """Squared error of the blending of what moves, which is to lie at the given depth only."""
    thickness: float = 0.03
    """What counts as at that depth, of a ray's length."""
    static_flow: float = 0.5
    """Squared displacement of rays at rest."""
    warped_mask: float = 0.1
    """Blending a frame later or earlier of rays at rest."""
    hidden_color: float = 2.0
    """Squared error of the dynamic field alone along rays followed to where their frame is hidden."""
    hidden_blending: float = 0.1
    """What its blending lacks of 1 there."""
    warp_period: int = 2
    """Steps between two at which a frame later and earlier are looked at, in turn, and of frames that hide
    what moves one a time."""
    warp_share: float = 0.5
    """Part of the rays that are then followed."""


class Truth(NamedTuple):
    """What is known of rays."""

    color: Float[Tensor, "R 3"]
    moves: Bool[Tensor, "R"]
    depth: Float[Tensor, "R"]
    """Place along the ray of the given depth; below 0 where none is known."""
    pixel: Float[Tensor, "R 2"]
    """Place in the picture, pixels."""
    size: Float[Tensor, "R 2"]
    """Width and height of the picture, pixels."""


class Rendered(NamedTuple):
    """Both fields along training rays."""

    at: Float[Tensor, "R S"]
    lengths: Float[Tensor, "R S"]
    places: Float[Tensor, "R S 3"]
    moving: MovingSamples
    moving_weights: Float[Tensor, "R S"]
    """Of the dynamic field alone."""
    resting_weights: Float[Tensor, "R S"]
    """Of the static field alone."""
    layers: Layers
    color: Float[Tensor, "R 3"]
    moving_color: Float[Tensor, "R 3"]


class Flow(NamedTuple):
    """Flow that the velocity makes, to a frame, and the given one."""

    made: Float[Tensor, "R 2"]
    given: Float[Tensor, "R 2"]
    valid: Bool[Tensor, "R"]


class Warped(NamedTuple):
    """Rays followed to another frame."""

    color: Float[Tensor, "W 3"]
    truth: Float[Tensor, "W 3"]
    back: Float[Tensor, "W S 3"]
    """Where places come back to."""
    start: Float[Tensor, "W S 3"]
    velocity_change: Float[Tensor, "W S 3"]
    blend: Float[Tensor, "W S"]
    moves: Bool[Tensor, "W"]


class Elsewhere(NamedTuple):
    """Rays of what moves, followed to frames that hide it."""

    color: Float[Tensor, "H 3"]
    truth: Float[Tensor, "H 3"]
    blend: Float[Tensor, "H"]
    part: float
    """How many of all rays they are."""


def static_losses(
    color: Float[Tensor, "R 3"],
    weights: Float[Tensor, "R S"],
    at: Float[Tensor, "R S"],
    truth: Truth,
    c: MonoNerfLosses,
) -> dict[str, Tensor]:
    """Return the losses of what rests: its colour outside of what moves, and that it lies behind that."""
    errors = (color - truth.color).square().mean(1)
    before = (weights * (at < truth.depth[:, None] + c.thickness)).sum(1)
    return {
        "static_color": masked_mean(errors, ~truth.moves),
        "behind": c.behind * masked_mean(before, truth.moves & (truth.depth >= 0)),
    }


def dynamic_losses(
    out: Rendered,
    truth: Truth,
    flows: list[Flow],
    warped: Warped | None,
    elsewhere: Elsewhere | None,
    c: MonoNerfLosses,
) -> dict[str, Tensor]:
    """Return all losses of the dynamic phase, times their weights."""
    m, rest = out.moving, ~truth.moves
    losses = {
        "full_color": c.full_color * (out.color - truth.color).square().mean(),
        "dynamic_color": c.dynamic_color * (out.moving_color - truth.color).square().mean(),
        "slow": 2 * c.slow * m.velocity.abs().mean(),
        "smooth": c.smooth * torch.diff(m.velocity, dim=1).abs().mean(),
        "static_flow": 2 * c.static_flow * masked_mean(m.velocity.square().mean((1, 2)), rest),
        "mask": c.mask * _mask_loss(out, truth),
        "sparse": c.sparse * (entropy(out.moving_weights).sum(1).mean() + entropy(m.blend).mean()),
        **_depth_losses(out, truth, c),
    }
    for flow in flows:
        errors = (flow.made - flow.given).abs().sum(1)
        losses["flow"] = losses.get("flow", 0.0) + c.flow * masked_mean(errors, flow.valid)
    if warped is not None:
        losses |= _warped_losses(warped, c)
    if elsewhere is not None:
        # One frame at every so many steps: as if it was looked at each time.
        times, error = c.warp_period * elsewhere.part, (elsewhere.color - elsewhere.truth).square().mean()
        losses["hidden_color"] = times * c.hidden_color * error
        losses["hidden_blending"] = times * c.hidden_blending * (1 - elsewhere.blend).mean()
    return losses


def _mask_loss(out: Rendered, truth: Truth) -> Tensor:
    dynamicness = ((out.layers.moving + out.layers.resting) * out.moving.blend).sum(1)
    error = (dynamicness - truth.moves.float()).abs().mean()
    return masked_mean(out.moving.blend.mean(1), ~truth.moves) + error


def _depth_losses(out: Rendered, truth: Truth, c: MonoNerfLosses) -> dict[str, Tensor]:
    known, moves = truth.depth >= 0, truth.moves
    surface = expected(out.moving_weights, out.at[..., None])[:, 0]
    behind = expected(out.resting_weights, out.at[..., None])[:, 0]
    there = (out.at - truth.depth[:, None]).abs() <= c.thickness
    blending = (out.at * (there.float() - out.moving.blend)).square().mean(1)
    return {
        "depth": c.depth * masked_mean((surface - truth.depth).abs(), known),
        "order": c.order * masked_mean((surface - behind).square(), ~moves),
        "depth_blending": c.depth_blending * masked_mean(blending, moves & known),
    }


def _warped_losses(w: Warped, c: MonoNerfLosses) -> dict[str, Tensor]:
    # One direction of two at every so many steps: as if both were looked at each time.
    times = 2.0 * c.warp_period
    return {
        "warped_color": times * c.warped_color * (w.color - w.truth).square().mean(),
        "cycle": c.cycle * times * (w.back - w.start).abs().mean(),
        "steady": c.steady * times * w.velocity_change.abs().mean(),
        "warped_mask": c.warped_mask * times * masked_mean(w.blend.mean(1), ~w.moves),
    }


def entropy(p: Float[Tensor, "*B"]) -> Float[Tensor, "*B"]:
    """Return ``-p log p``."""
    return -p * torch.log(p + 1e-6)


def masked_mean(values: Float[Tensor, "R"], mask: Bool[Tensor, "R"]) -> Float[Tensor, ""]:
    """Return the mean of the values that a mask takes, 0 if it takes none."""
    chosen = mask.to(values)
    return (torch.where(mask, values, torch.zeros_like(values))).sum() / chosen.sum().clamp_min(1)
