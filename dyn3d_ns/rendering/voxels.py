"""Render rays through sparse voxels, with gradients: kernels on the CPU, torch's operators on CUDA."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int32, Int64, UInt8
from torch import Tensor

from dyn3d_ns.kernels.pool import pieces_of, run
from dyn3d_ns.rendering.ray_march import march, packed_weights
from dyn3d_ns.rendering.voxel_kernels import greatest, scatter, shade, total_variation, unshade

COLORS = 27
"""Numbers of a voxel's colour: nine harmonics (degree 2) of red, then of green, then of blue."""
_NO_PLACE = -2


@dataclass(frozen=True)
class Voxels:
    """Sparse voxels as they are rendered."""

    links: Int32[Tensor, "X Y Z"]
    """Row of each grid point; -1 where there is no voxel."""
    places: Int32[Tensor, "M 3"]
    """Grid point of each row."""
    occupancy: UInt8[Tensor, "1 G G G"]
    """Cube of cells, indexed ``[0, z, y, x]``: 0 where nothing is."""
    density: Float[Tensor, "M"]
    """Density per unit of length; the longest axis of the grid has length 2."""
    colors: Float[Tensor, "M 27"]
    """Harmonics; a colour is 0.5 at 0."""
    slots: Int32[Tensor, "M"]
    """Place of each row among those that are trained; -1 where it is none of them."""
    buffers: dict[str, np.ndarray] = field(default_factory=dict)
    """Gradients' memory, kept from step to step: fresh pages cost more than the work done on them."""


class Rays(NamedTuple):
    """Rays in the grid's cube [-1, 1]^3."""

    origins: Float[Tensor, "R 3"]
    directions: Float[Tensor, "R 3"]
    """Of any length."""
    basis: Float[Tensor, "R 9"]
    """Harmonics of the directions of view."""
    offsets: Float[Tensor, "R"]
    """Shift of each ray's samples, steps."""


class Steps(NamedTuple):
    """How finely rays are followed."""

    size: float = 0.5
    """Voxels between two samples."""
    least_light: float = 1e-2
    """Part of the light left at which a ray ends."""
    least_weight: float = 1e-3
    """Part in its ray from which on a sample's colour is looked at."""


class TotalVariation(NamedTuple):
    """Which voxels are compared with their neighbours in a step."""

    rows: Int64[Tensor, "K"]
    density_weight: float
    color_weight: float


class Rendered(NamedTuple):
    """What rays show."""

    colors: Float[Tensor, "R 3"]
    """Without a background."""
    accumulation: Float[Tensor, "R"]
    along: Float[Tensor, "R"]
    """Mean place of what is seen, in lengths of the directions, times accumulation; without gradient."""
    variation: Float[Tensor, ""]
    """Total variation of density and colours times their weights; 0 where none was asked for."""


def render_rays(
    voxels: Voxels,
    rays: Rays,
    steps: Steps,
    density: Float[Tensor, "T"],
    colors: Float[Tensor, "T 27"],
    variation: TotalVariation | None = None,
) -> Rendered:
    """Render rays.

    Args:
        voxels: The grid; rows that are trained hold the values below already.
        rays: In the grid's cube.
        steps: How finely.
        density: Densities of the rows that are trained, which gradients go to.
        colors: Their colours.
        variation: Total variation to add.
    """
    scene, per_voxel = _scene_of(voxels, rays, steps)
    if scene.directions.is_cuda:
        out, varied = _render_torch(scene, density, colors, variation)
    else:
        out, varied = _Render.apply(density, colors, scene, variation)  # pyright: ignore[reportGeneralTypeIssues]
    return Rendered(out[:, :3], out[:, 3], out[:, 4].detach() / per_voxel, varied)


@torch.no_grad()
def greatest_weights(voxels: Voxels, rays: Rays, steps: Steps) -> Float[Tensor, "M"]:
    """Return the greatest part that each voxel has in what one of the rays shows, 0 to 1."""
    scene, _ = _scene_of(voxels, rays, steps)
    if not scene.directions.is_cuda:
        _, _, kept = _shaded(scene)
        found = np.zeros(len(voxels.density), np.float32)
        greatest(kept["corners"], kept["fractions"], kept["weights"], found)
        return torch.from_numpy(found)
    rows, shares, value = _gathered(scene, voxels.density)
    weights = packed_weights(value * scene.length, scene.which, len(scene.origins))
    found = torch.zeros_like(voxels.density)
    every = (shares * weights[:, None]).flatten()
    return found.scatter_reduce_(0, rows.flatten(), every, "amax")


class _Scene(NamedTuple):
    voxels: Voxels
    which: Int64[Tensor, "S"]
    places: Float[Tensor, "S"]
    origins: Float[Tensor, "R 3"]
    directions: Float[Tensor, "R 3"]
    basis: Float[Tensor, "R 9"]
    steps: Steps
    length: float


def _scene_of(voxels: Voxels, rays: Rays, steps: Steps) -> tuple[_Scene, Float[Tensor, "R"]]:
    """Return the samples of rays, and the length that the rays' directions are shortened by."""
    shape = torch.tensor(voxels.links.shape, device=rays.origins.device, dtype=torch.float32)
    longest = float(shape.max())
    # Directions of the same length in voxels: a step is the same number of voxels along each ray.
    per_voxel = (rays.directions * shape).norm(dim=1) / longest
    directions = rays.directions / per_voxel[:, None]
    step = steps.size * 2 / longest
    cubes = torch.zeros(len(directions), dtype=torch.int32, device=directions.device)
    which, places = march(rays.origins, directions, rays.offsets, cubes, voxels.occupancy, step)
    scene = _Scene(
        voxels,
        which,
        places,
        (rays.origins + 1) / 2 * shape - 0.5,
        directions / 2 * shape,
        rays.basis,
        steps,
        step,
    )
    return scene, per_voxel


class _Render(torch.autograd.Function):
    """Rays by kernels; the gradients are summed in an order that does not depend on the number of threads."""

    @staticmethod
    def forward(
        ctx: Any, density: Tensor, colors: Tensor, scene: _Scene, variation: TotalVariation | None
    ) -> tuple[Tensor, Tensor]:
        """Render, and keep what the way back needs."""
        voxels = scene.voxels
        firsts, out, kept = _shaded(scene)
        ctx.scene, ctx.firsts, ctx.kept, ctx.out = scene, firsts, kept, out
        ctx.sizes = density.shape, colors.shape
        varied = 0.0
        ctx.variation = None
        if variation is not None:
            ctx.variation = _cleared(voxels, density.shape, colors.shape)
            varied = _variation(voxels, variation, *ctx.variation)
        return torch.from_numpy(out), torch.tensor(varied, dtype=torch.float32)

    @staticmethod
    def backward(ctx: Any, grad_out: Tensor, grad_varied: Tensor) -> tuple[Tensor, Tensor, None, None]:  # type: ignore[override]
        """Lead gradients back to the rows that are trained."""
        scene, firsts, kept, out = ctx.scene, ctx.firsts, ctx.kept, ctx.out
        gradient, length = _flat(grad_out), np.float32(scene.length)
        to_density, to_color = np.zeros(len(kept["weights"]), np.float32), np.empty_like(kept["seen"])
        bounds = pieces_of(len(out), smallest=256)
        names = ("corners", "weights", "alphas", "seen")

        def back(piece: int) -> None:
            start, stop = bounds[piece], bounds[piece + 1]
            given = [kept[name] for name in names]
            unshade(start, stop, firsts, *given, out, gradient, length, to_density, to_color)

        run(back, len(bounds) - 1, "unshade")
        if ctx.variation is None:
            density, colors = _cleared(scene.voxels, *ctx.sizes)
        else:
            density, colors = ctx.variation
            if grad_varied != 1:
                density *= np.float32(grad_varied)
                colors *= np.float32(grad_varied)
        slots = pieces_of(len(density), smallest=256)

        def add(piece: int) -> None:
            scratch, ends = np.empty(COLORS, np.float32), (slots[piece], slots[piece + 1])
            given = [kept["corners"], kept["fractions"], _flat(scene.basis), _flat(scene.voxels.slots)]
            scatter(*ends, firsts, *given, to_density, to_color, scratch, density, colors)

        run(add, len(slots) - 1, "scatter")
        return torch.from_numpy(density), torch.from_numpy(colors), None, None


def _shaded(scene: _Scene) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Return the first sample of each ray, what rays show [R, 5], and what the way back needs."""
    voxels, count, samples = scene.voxels, len(scene.origins), len(scene.places)
    firsts = np.searchsorted(scene.which.numpy(), np.arange(count + 1))
    given = [firsts, *(_flat(x) for x in scene[2:6])]
    values = [_flat(voxels.links), _flat(voxels.density.detach()), _flat(voxels.colors.detach())]
    kept = {
        "corners": np.empty((samples, 8), np.int32),
        "fractions": np.empty((samples, 3), np.float32),
        "weights": np.empty(samples, np.float32),
        "alphas": np.empty(samples, np.float32),
        "seen": np.empty((samples, 3), np.float32),
    }
    out = np.empty((count, 5), np.float32)
    limits = [np.float32(x) for x in (scene.length, scene.steps.least_light, scene.steps.least_weight)]
    bounds = pieces_of(count, smallest=256)

    def work(piece: int) -> None:
        scratch = np.empty(COLORS, np.float32)
        shade(bounds[piece], bounds[piece + 1], *given, *values, *limits, scratch, *kept.values(), out)

    run(work, len(bounds) - 1, "shade")
    return firsts, out, kept


def _flat(values: Tensor) -> np.ndarray:
    return values.contiguous().numpy()


def _cleared(voxels: Voxels, *shapes: tuple[int, ...]) -> list[np.ndarray]:
    """Return zeros in the buffers of a grid, whose gradients of the step before are used no more."""
    for name, shape in zip(("density", "colors"), shapes, strict=True):
        found = voxels.buffers.get(name)
        if found is None or found.shape != shape:
            voxels.buffers[name] = np.zeros(shape, np.float32)
        else:
            found.fill(0)
    return [voxels.buffers["density"], voxels.buffers["colors"]]


def _variation(
    voxels: Voxels, variation: TotalVariation, to_density: np.ndarray, to_colors: np.ndarray
) -> float:
    """Return the total variation times its weights, and leave its gradients, which must be 0 before."""
    shape = torch.tensor(voxels.links.shape, dtype=torch.float32)
    given = [_flat(x) for x in (variation.rows, voxels.places, voxels.links, voxels.slots)]
    scale, total = (shape / 256).numpy(), 0.0
    pairs = (
        (voxels.density[:, None], to_density[:, None], variation.density_weight),
        (voxels.colors, to_colors, variation.color_weight),
    )
    for values, gradient, weight in pairs:
        if weight:
            total += weight * total_variation(*given, _flat(values.detach()), gradient, scale)
            np.multiply(gradient, np.float32(weight), out=gradient)
    return total


def _render_torch(
    scene: _Scene, density: Tensor, colors: Tensor, variation: TotalVariation | None
) -> tuple[Tensor, Tensor]:
    """Do what the kernels do with torch's operators."""
    voxels, which, count = scene.voxels, scene.which, len(scene.origins)
    trained = (voxels.slots >= 0).nonzero()[:, 0]
    order = voxels.slots[trained].long()
    all_density = voxels.density.detach().index_copy(0, trained, density[order])
    all_colors = voxels.colors.detach().index_copy(0, trained, colors[order])
    rows, shares, value = _gathered(scene, all_density)
    depth = value * scene.length
    weights = packed_weights(depth, which, count)
    light = weights.detach() / (-torch.expm1(-depth.detach())).clamp_min(1e-12)
    weights = torch.where(
        (light >= scene.steps.least_light) & (depth > 0), weights, torch.zeros_like(weights)
    )
    keep = (weights >= scene.steps.least_weight).nonzero()[:, 0]
    harmonics = (shares[keep, :, None] * all_colors[rows[keep]]).sum(1).view(-1, 3, 9)
    seen = 0.5 + (harmonics * scene.basis[which[keep], None]).sum(-1)
    out = scene.origins.new_zeros(count, 5)
    shown = torch.cat([weights[:, None], (weights * scene.places)[:, None]], 1)
    out = out.index_add(0, which, torch.nn.functional.pad(shown, (3, 0)))
    tinted = torch.nn.functional.pad(weights[keep, None] * seen.clamp_min(0), (0, 2))
    out = out.index_add(0, which[keep], tinted)
    varied = out.new_zeros(())
    if variation is not None:
        varied = _variation_torch(voxels, variation, all_density, all_colors)
    return out, varied


def _gathered(scene: _Scene, density: Float[Tensor, "M"]) -> tuple[Tensor, Tensor, Tensor]:
    """Return the rows [S, 8] around samples, the share of each, and the density there."""
    which, links = scene.which, scene.voxels.links
    shape = torch.tensor(links.shape, device=which.device)
    points = scene.origins[which] + scene.places[:, None] * scene.directions[which]
    points = torch.minimum(points.clamp_min(0), shape - 1.001)
    base = points.long()
    fractions = points - base
    bits = torch.tensor([[c >> 2, c >> 1 & 1, c & 1] for c in range(8)], device=which.device)
    x, y, z = (base[:, None] + bits).unbind(-1)
    rows = links[x, y, z].long()
    shares = torch.where(bits.bool(), fractions[:, None], 1 - fractions[:, None]).prod(-1) * (rows >= 0)
    rows = rows.clamp_min(0)
    value = (shares * density[rows]).sum(1)
    return rows, shares, torch.where(value > 1e-8, value, torch.zeros_like(value))


def _variation_torch(
    voxels: Voxels, variation: TotalVariation, density: Tensor, colors: Tensor
) -> Float[Tensor, ""]:
    shape, places = voxels.links.shape, voxels.places[variation.rows].long()
    total = density.new_zeros(())
    pairs = ((density[:, None], variation.density_weight), (colors, variation.color_weight))
    for values, weight in pairs:
        squares = 1e-9
        for axis in range(3):
            step = torch.zeros(3, dtype=torch.long, device=places.device)
            step[axis] = 1
            there = places + step
            inside = there[:, axis] < shape[axis]
            there[:, axis].clamp_(max=shape[axis] - 1)
            rows = torch.where(inside, voxels.links[tuple(there.T)].long(), -1)
            difference = values[rows.clamp_min(0)] - values[variation.rows]
            squares = squares + ((shape[axis] / 256) * difference * (rows >= 0)[:, None]).square()
        total = total + weight * torch.as_tensor(squares).sqrt().sum() / max(len(places), 1)
    return total
