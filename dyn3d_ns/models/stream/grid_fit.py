"""A frame of voxels: pilot at half the resolution, full pass in a narrow band, and what is kept."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from dyn3d_ns.fields.voxel_grid import (
    Shape,
    index_of,
    links_of,
    mask_of,
    numbers_of,
    points_of,
    voxels_of,
)
from dyn3d_ns.fields.voxel_masks import dilate, doubled, narrow_band, opened
from dyn3d_ns.fields.voxel_stream import VoxelLattice, VoxelState
from dyn3d_ns.models.stream.changes import beyond_noise
from dyn3d_ns.models.stream.views import grown as widened
from dyn3d_ns.rendering.voxels import COLORS, TotalVariation, Voxels


@dataclass
class PassConfig:
    """Settings of one pass over a frame, named as in StreamRF's code."""

    n_iters: int = 500
    """Steps."""
    batch_size: int = 20_000
    """Rays of a step."""
    lambda_tv: float = 5e-4
    """Weight of the density's total variation."""
    lambda_tv_sh: float = 5e-3
    """Weight of the colours' total variation."""
    sh_keep_thres: float = 0.4
    """Least change of a voxel's harmonics (L1) that is kept, over the median L1 of all; all is kept at 0."""
    sh_prune_thres: float = 0.08
    """Harmonics (L1) below which a voxel that was added is dropped again, over that median."""
    dilate_rate_before: int = 2
    """Times the grid grows before the pass."""
    dilate_rate_after: int = 2
    """Voxels around a solid one that stay."""


@dataclass(frozen=True)
class Values:
    """Voxels as floats."""

    index: Int64[Tensor, "M"]
    density: Float[Tensor, "M"]
    colors: Float[Tensor, "M 27"]

    def rows(self, which: Tensor) -> Values:
        """Return some of them."""
        return Values(self.index[which], self.density[which], self.colors[which])


def values_of(state: VoxelState, lattice: VoxelLattice, device: torch.device) -> Values:
    """Return a decoded frame as floats, exactly."""
    density, colors = lattice.to_float(state.values)
    index = torch.from_numpy(state.index).to(device)
    return Values(index, torch.from_numpy(density).to(device), torch.from_numpy(colors).to(device))


def state_of(values: Values, lattice: VoxelLattice) -> VoxelState:
    """Round voxels to the lattice."""
    density, colors = (x.detach().cpu().numpy() for x in (values.density, values.colors))
    return VoxelState(values.index.cpu().numpy(), lattice.to_int(density, colors))


class VoxelFit:
    """Voxels of which some are trained: :attr:`density` and :attr:`colors` are theirs."""

    def __init__(self, shape: Shape, values: Values, trained: Bool[Tensor, "M"]) -> None:
        """Set up; the values are copied."""
        self.shape, self.trained = shape, trained
        self.values = Values(values.index, values.density.clone(), values.colors.clone())
        self.rows = trained.nonzero()[:, 0]
        self.density = nn.Parameter(self.values.density[self.rows])
        self.colors = nn.Parameter(self.values.colors[self.rows])
        slots = torch.full_like(values.index, -1, dtype=torch.int32)
        slots[self.rows] = torch.arange(len(self.rows), dtype=torch.int32, device=slots.device)
        occupied = trained | (values.density > 0)
        v = self.values
        self._voxels = voxels_of(shape, v.index, v.density, v.colors, slots, occupied)

    def voxels(self) -> Voxels:
        """Return the voxels with what the parameters are now."""
        self.values.density[self.rows] = self.density.detach()
        self.values.colors[self.rows] = self.colors.detach()
        return self._voxels

    def variation(
        self, config: PassConfig, share: float, generator: torch.Generator
    ) -> TotalVariation | None:
        """Return the total variation of some of what is trained, drawn anew."""
        if not len(self.rows) or not (config.lambda_tv or config.lambda_tv_sh):
            return None
        count = max(math.ceil(share * len(self.rows)), 1)
        picks = torch.randint(len(self.rows), (count,), generator=generator).to(self.rows.device)
        return TotalVariation(self.rows[picks], config.lambda_tv, config.lambda_tv_sh)

    def result(self) -> Values:
        """Return all voxels as they are now."""
        self.voxels()
        return self.values


@dataclass(frozen=True)
class Masks:
    """What a pass changes, at its resolution."""

    changed: Bool[Tensor, "X Y Z"]
    added: Bool[Tensor, "X Y Z"]
    removed: Bool[Tensor, "X Y Z"]


def halved(values: Values, shape: Shape) -> tuple[Values, Shape]:
    """Return voxels at half the resolution: the mean density of eight, and colours weighted by it."""
    small: Shape = (-(-shape[0] // 2), -(-shape[1] // 2), -(-shape[2] // 2))
    key = numbers_of(points_of(values.index, shape) // 2, small)
    index, of = torch.unique(key, return_inverse=True)
    density = values.density.clamp_min(0)
    weight = density + 1e-3
    total = torch.zeros(len(index), device=key.device).index_add_(0, of, weight)
    colors = torch.zeros(len(index), COLORS, device=key.device)
    colors.index_add_(0, of, values.colors * weight[:, None])
    mean = torch.zeros_like(total).index_add_(0, of, density) / 8
    return Values(index, mean, colors / total[:, None]), small


def grown(values: Values, more: Bool[Tensor, "X Y Z"]) -> Values:
    """Add voxels of 0 where there are none yet."""
    shape: Shape = (more.shape[0], more.shape[1], more.shape[2])
    index = index_of(more | mask_of(values.index, shape))
    at = torch.searchsorted(index, values.index)
    density = values.density.new_zeros(len(index))
    colors = values.colors.new_zeros(len(index), COLORS)
    density[at], colors[at] = values.density, values.colors
    return Values(index, density, colors)


def typical_sh(values: Values, sigma_thresh: float) -> float:
    """Return the median L1 of the harmonics of solid voxels, the unit of the thresholds."""
    solid = values.colors[values.density >= sigma_thresh].abs().sum(1)
    return float(solid.median()) if len(solid) else 1.0


def begin_pilot(values: Values, shape: Shape, config: PassConfig) -> tuple[Values, Shape]:
    """Return the voxels at half the resolution, with room to grow."""
    small, size = halved(values, shape)
    return grown(small, dilate(mask_of(small.index, size), config.dilate_rate_before)), size


def begin_full(
    values: Values,
    shape: Shape,
    pilot: Values,
    masks: Masks,
    may_change: Bool[Tensor, "x y z"],
    config: PassConfig,
    band: int | None,
) -> VoxelFit:
    """Return the fit of what the pilot has found to change, near surfaces.

    Args:
        values: The frame before.
        shape: Grid points.
        pilot: The pilot's voxels.
        masks: What it changed, at half the resolution.
        may_change: What it was free to change.
        config: Settings.
        band: How deep inside what is there voxels may change; None everywhere.
    """
    active = mask_of(values.index, shape)
    added, removed = doubled(masks.added, shape) & ~active, doubled(masks.removed, shape) & active
    free = opened(doubled(masks.changed | masks.added | masks.removed, shape))
    free &= doubled(may_change, shape)
    if band is not None:
        free &= narrow_band(active, config.dilate_rate_before, band)
    room = dilate(active, config.dilate_rate_before) | added
    values = grown(values, free & room)
    points = tuple(points_of(values.index, shape).T)
    new, gone = added[points], removed[points] & free[points]
    small: Shape = (masks.added.shape[0], masks.added.shape[1], masks.added.shape[2])
    rows = links_of(pilot.index, small)[tuple(p // 2 for p in points)].long()
    new &= rows >= 0
    density, colors = values.density.clone(), values.colors.clone()
    density[new], colors[new] = pilot.density[rows[new]], pilot.colors[rows[new]]
    density[gone], colors[gone] = 0.0, 0.0
    return VoxelFit(shape, Values(values.index, density, colors), free[points])


def end_pass(
    before: Values, fit: VoxelFit, config: PassConfig, sigma_thresh: float, density_keep: float
) -> Values:
    """Return what is left of a pass: without thin air, specks and small changes.

    Args:
        before: The voxels that the pass began with.
        fit: The pass.
        config: Its settings.
        sigma_thresh: Density from which on a voxel is solid.
        density_keep: Change of density that is kept as well, over ``sigma_thresh``; 0 as published.
    """
    after, unit = fit.result(), typical_sh(before, sigma_thresh)
    was = links_of(before.index, fit.shape).view(-1)[after.index].long()
    solid = mask_of(after.index[after.density >= sigma_thresh], fit.shape)
    near = dilate(solid, config.dilate_rate_after).view(-1)[after.index]
    faint = (was < 0) & (after.colors.abs().sum(1) < config.sh_prune_thres * unit)
    keep = (near & ~faint) | ~fit.trained
    density, colors = after.density.clone(), after.colors.clone()
    old = was.clamp_min(0)
    small = (colors - before.colors[old]).abs().sum(1) <= config.sh_keep_thres * unit
    if density_keep:
        small &= (
            density.clamp_min(0) - before.density[old].clamp_min(0)
        ).abs() <= density_keep * sigma_thresh
    revert = (was >= 0) & (small | ~fit.trained) & (config.sh_keep_thres > 0)
    density[revert], colors[revert] = before.density[old[revert]], before.colors[old[revert]]
    return Values(after.index, density, colors).rows(keep)


def masks_between(before: Values, after: Values, shape: Shape) -> Masks:
    """Return what differs between two sets of voxels."""
    was = links_of(before.index, shape).view(-1)[after.index].long()
    old = was.clamp_min(0)
    differs = (after.density != before.density[old]) | (after.colors != before.colors[old]).any(1)
    there, here = mask_of(before.index, shape), mask_of(after.index, shape)
    changed = mask_of(after.index[(was >= 0) & differs], shape)
    return Masks(changed, here & ~there, there & ~here)


def changed_pixels(
    now: Tensor, before: Tensor, floor: float = 6.0, noise: float = 3.0
) -> Bool[Tensor, "V H W"]:
    """Return where images differ by more than their noise, with the pixels around.

    Args:
        now: uint8 images [V, H, W, 3].
        before: Those of the frame before.
        floor: Least difference, levels of 255.
        noise: Times a view's median difference that is added.
    """
    difference = (now.int() - before.int()).abs().amax(-1).float()
    return widened(beyond_noise(difference, floor, noise), 3)
