"""Where along rays there is matter, as far as a training has seen, so that few samples suffice.

A grid of each scene keeps the density of what rests, one of each frame that of what moves, as samples of the
training found it; no network is asked. Samples of a ray are quantiles of what the grids let one see along it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

UNKNOWN = 256.0
"""Density of cells that no sample has met, so that rays of the training do look there."""
_KEPT = 0.7
"""What is left of a cell's density when a sample meets it."""
_PROBES = 48
"""Places along a ray at which the grids are read."""
DENSE = -_PROBES * math.log(1 - 0.05)
"""Density from which on there is matter: alpha between two of them is a twentieth."""
_ANYWHERE, _NEAR = 0.02, 0.5
"""Weight of any place, and of the neighbours of one, beside its own."""


class Seen(NamedTuple):
    """A grid that rays go through."""

    grid: Float[Tensor, "G Z Y X"]
    rows: Int64[Tensor, "R"]
    """First index of the grid for each ray."""
    starts: Float[Tensor, "R 3"]
    """Where rays enter its cube."""
    ways: Float[Tensor, "R 3"]
    """From there to where they leave it."""


class Placed(NamedTuple):
    """Samples of rays; 0 is the cube's entry, 1 its end."""

    at: Float[Tensor, "R S"]
    lengths: Float[Tensor, "R S"]
    """Part of the ray that each stands for."""
    surface: Float[Tensor, "R"]
    """Where the surface seems to be."""


class Proposals(nn.Module):
    """Grids of densities over the cubes of all scenes."""

    def __init__(self, scenes: int, frames: int, shape: tuple[int, int, int]) -> None:
        """Start with everything unknown; ``shape`` is cells along z, y, x."""
        super().__init__()
        self.shape = shape
        self.register_buffer("resting", torch.full((scenes, *shape), UNKNOWN))
        self.register_buffer("moving", torch.full((frames, *shape), UNKNOWN))

    resting: Tensor
    moving: Tensor

    def cells(self, places: Float[Tensor, "*P 3"]) -> Int64[Tensor, "*P"]:
        """Return the flat cell that each place of the cube lies in."""
        depth, height, width = self.shape
        size = places.new_tensor([width, height, depth])
        at = ((places + 1) / 2 * size).long().clamp_min(0).minimum(size.long() - 1)
        return at[..., 0] + width * (at[..., 1] + height * at[..., 2])

    def places_in(self, cells: Int64[Tensor, "C"]) -> Float[Tensor, "C 8 3"]:
        """Return places spread evenly in cells of :meth:`cells`, two along each axis."""
        depth, height, width = self.shape
        index = torch.stack([cells % width, cells // width % height, cells // (width * height)], dim=-1)
        quarters = torch.tensor([0.25, 0.75], device=cells.device)
        within = torch.cartesian_prod(quarters, quarters, quarters)
        return 2 * (index[:, None] + within) / within.new_tensor([width, height, depth]) - 1

    @torch.no_grad()
    def note(
        self,
        grid: Float[Tensor, "G Z Y X"],
        rows: Int64[Tensor, "R"],
        places: Float[Tensor, "R S 3"],
        densities: Float[Tensor, "R S"],
    ) -> None:
        """Take over the densities that samples found, given the grid (by its first index) of each ray."""
        cells = (self.cells(places) + rows[:, None] * grid[0].numel()).flatten()
        flat, found = grid.view(-1), densities.flatten().to(grid)
        before = flat[cells]
        flat[cells] = torch.where(before == UNKNOWN, found, torch.lerp(found, before, _KEPT))

    @torch.no_grad()
    def meets(self, seen: Seen) -> Bool[Tensor, "R"]:
        """Return which rays meet matter of a grid that samples of the training have met."""
        return is_dense(self._along(seen)).any(1)

    def _along(self, seen: Seen) -> Float[Tensor, "R N"]:
        """Return the densities of a grid at the probes of rays."""
        middles = (torch.arange(_PROBES, device=seen.starts.device) + 0.5) / _PROBES
        cells = self.cells(seen.starts[:, None] + seen.ways[:, None] * middles[:, None])
        return seen.grid.flatten(1)[seen.rows[:, None], cells]

    @torch.no_grad()
    def sample(self, seen: Sequence[Seen], count: int, jitter: bool) -> Placed:
        """Return where to sample rays, front to back.

        Args:
            seen: Grids that rays go through, what rests and what moves.
            count: Samples of a ray.
            jitter: Whether places are random within their parts of a ray, and cells that no sample has met
                are looked into: the training does so.
        """
        rays, device = len(seen[0].starts), seen[0].starts.device
        middles = (torch.arange(_PROBES, device=device) + 0.5) / _PROBES
        found = [self._along(one) for one in seen]
        density = torch.stack(found if jitter else [_known(one) for one in found]).sum(0)
        weights = seen_weights(density / _PROBES)
        surface = (weights * middles).sum(1) / weights.sum(1).clamp_min(1e-6)
        wide = nn.functional.max_pool1d(weights[:, None], 3, stride=1, padding=1)[:, 0]
        weights = weights + _NEAR * wide + _ANYWHERE
        sums = torch.cat([weights.new_zeros(rays, 1), weights.cumsum(1)], dim=1)
        sums = sums / sums[:, -1:]
        edges = torch.arange(1, count, device=device).expand(rays, count - 1) / count
        shifts = torch.rand(rays, count, device=device) if jitter else 0.5
        wanted = (torch.arange(count, device=device) + shifts) / count
        ends = _quantiles(sums, edges.contiguous())
        ends = torch.cat([ends.new_zeros(rays, 1), ends, ends.new_ones(rays, 1)], dim=1)
        at = _quantiles(sums, wanted.expand(rays, count).contiguous())
        return Placed(at, torch.diff(ends), surface)


def is_dense(density: Float[Tensor, "*N"]) -> Bool[Tensor, "*N"]:
    """Return in which cells samples of the training have met matter."""
    return (density > DENSE) & (density != UNKNOWN)


def _known(density: Float[Tensor, "R N"]) -> Float[Tensor, "R N"]:
    """Take cells that no sample has met as empty."""
    return torch.where(density == UNKNOWN, torch.zeros_like(density), density)


def _quantiles(sums: Float[Tensor, "R E"], wanted: Float[Tensor, "R Q"]) -> Float[Tensor, "R Q"]:
    """Return the places up to which a share of a piecewise constant weight lies."""
    parts = sums.shape[1] - 1
    part = (torch.searchsorted(sums, wanted, right=True) - 1).clamp(0, parts - 1)
    low, high = sums.gather(1, part), sums.gather(1, part + 1)
    return (part + (wanted - low) / (high - low).clamp_min(1e-9)) / parts


def seen_weights(optical: Float[Tensor, "R S"]) -> Float[Tensor, "R S"]:
    """Return each sample's share of its ray, ``T (1 - exp(-σδ))``, of densities times lengths."""
    return torch.exp(-(optical.cumsum(1) - optical)) * -torch.expm1(-optical)
