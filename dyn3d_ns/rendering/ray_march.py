"""Sample points along rays where an occupancy grid has matter, so that empty space costs nothing.

The grid is a cube of bytes around [-1, 1] in normalised coordinates, one cube a moment of time: 0 is empty,
1 occupied with unknown density, and a larger value says how much light a unit of length takes away at least.
A ray ends where what it has passed lets nothing through any more.
"""

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from dyn3d_ns.kernels.jit import kernel
from dyn3d_ns.kernels.pool import pieces_of, run
from dyn3d_ns.kernels.types import F32, I32, I64, U8

CODES_PER_OCTAVE = 8.0
"""Resolution of the stored density: this many codes a factor of two, code 2 being one per unit of length."""
OPAQUE = 7.0
"""Optical depth at which a ray ends (a thousandth of the light is left)."""


def encode_density(density: Float[Tensor, "*B"]) -> UInt8[Tensor, "*B"]:
    """Return the byte of an occupied cell for a density per unit of normalised length, rounded down."""
    code = torch.floor(2 + CODES_PER_OCTAVE * torch.log2(density.clamp_min(1e-6)))
    return code.clamp(1, 255).to(torch.uint8)


def decode_density(codes: UInt8[Tensor, "*B"]) -> Float[Tensor, "*B"]:
    """Return the density per unit of length that a byte stands for; 0 for empty and unknown."""
    value = torch.exp2((codes.float() - 2) / CODES_PER_OCTAVE)
    return torch.where(codes > 1, value, torch.zeros_like(value))


TABLE = decode_density(torch.arange(256, dtype=torch.uint8)).numpy()


@kernel
def _march(
    start: int, stop: int, origins: F32, directions: F32, offsets: F32, cubes: I32, grids: U8, table: F32,
    step: float, limit: float, most: int, rays: I64, places: F32,
) -> int:  # fmt: skip
    size = grids.shape[1]
    count = 0
    half = np.float32(0.5 * size)
    for r in range(start, stop):
        ox, oy, oz = origins[r, 0], origins[r, 1], origins[r, 2]
        dx, dy, dz = directions[r, 0], directions[r, 1], directions[r, 2]
        near, far = np.float32(0), np.float32(1e9)
        for axis in range(3):
            o, d = origins[r, axis], directions[r, axis]
            if abs(d) < 1e-9:
                if abs(o) > 1:
                    far = np.float32(-1)
                continue
            a, b = (np.float32(-1) - o) / d, (np.float32(1) - o) / d
            near, far = max(near, min(a, b)), min(far, max(a, b))
        cube, passed, taken = cubes[r], np.float32(0), 0
        i = int(np.ceil(near / step - offsets[r]))
        while taken < most:
            t = (i + offsets[r]) * step
            if t >= far:
                break
            px, py, pz = (ox + t * dx + 1) * half, (oy + t * dy + 1) * half, (oz + t * dz + 1) * half
            cx, cy = min(max(int(px), 0), size - 1), min(max(int(py), 0), size - 1)
            cz = min(max(int(pz), 0), size - 1)
            code = grids[cube, cz, cy, cx]
            if code == 0:
                # Go on to the first sample beyond this empty cell.
                ahead = np.float32(1e9)
                if dx > 1e-9:
                    ahead = min(ahead, (cx + 1 - px) / (dx * half))
                elif dx < -1e-9:
                    ahead = min(ahead, (cx - px) / (dx * half))
                if dy > 1e-9:
                    ahead = min(ahead, (cy + 1 - py) / (dy * half))
                elif dy < -1e-9:
                    ahead = min(ahead, (cy - py) / (dy * half))
                if dz > 1e-9:
                    ahead = min(ahead, (cz + 1 - pz) / (dz * half))
                elif dz < -1e-9:
                    ahead = min(ahead, (cz - pz) / (dz * half))
                i += max(int(np.ceil(ahead / step)), 1)
                continue
            rays[count], places[count] = r, t
            count += 1
            taken += 1
            passed += table[code] * step
            if passed > limit:
                break
            i += 1
    return count


def _march_torch(
    origins: Float[Tensor, "R 3"], directions: Float[Tensor, "R 3"], offsets: Float[Tensor, "R"],
    cubes: Int[Tensor, "R"], grids: UInt8[Tensor, "T G G G"], step: float, limit: float, most: int,
) -> tuple[Int[Tensor, "S"], Float[Tensor, "S"]]:  # fmt: skip
    """Do what the kernel does with torch's operators, on every sample of every ray."""
    size = grids.shape[1]
    safe = torch.where(directions.abs() < 1e-9, torch.full_like(directions, 1e-9), directions)
    a, b = (-1 - origins) / safe, (1 - origins) / safe
    near = torch.minimum(a, b).amax(-1).clamp_min(0)
    far = torch.maximum(a, b).amin(-1)
    first = torch.ceil(near / step - offsets)
    number = int(2 * 3**0.5 / step) + 2
    index = first[:, None] + torch.arange(number, device=origins.device)
    t = (index + offsets[:, None]) * step
    points = origins[:, None] + t[..., None] * directions[:, None]
    cells = ((points + 1) * (0.5 * size)).long().clamp(0, size - 1)
    codes = grids[cubes[:, None].long(), cells[..., 2], cells[..., 1], cells[..., 0]]
    codes = torch.where(t < far[:, None], codes, torch.zeros_like(codes))
    depth = decode_density(codes) * step
    before = depth.cumsum(1) - depth
    taken = (codes > 0).cumsum(1)
    keep = (codes > 0) & (before <= limit) & (taken <= most)
    return keep.nonzero()[:, 0], t[keep]


def march(
    origins: Float[Tensor, "R 3"],
    directions: Float[Tensor, "R 3"],
    offsets: Float[Tensor, "R"],
    cubes: Int[Tensor, "R"],
    grids: UInt8[Tensor, "T G G G"],
    step: float,
    most: int = 1024,
    limit: float = OPAQUE,
) -> tuple[Int[Tensor, "S"], Float[Tensor, "S"]]:
    """Return the samples of every ray that lie in occupied cells, ray by ray and front to back.

    Args:
        origins: Ray origins in normalised coordinates.
        directions: Unit directions.
        offsets: Shift of each ray's samples, in steps; random in training.
        cubes: Moment of each ray, an index into the grids.
        grids: Occupancy, indexed ``[moment, z, y, x]``.
        step: Distance of the samples, normalised.
        most: Most samples of a ray.
        limit: Optical depth at which a ray ends.

    Returns:
        The ray of each sample and its distance from the origin.
    """
    if origins.is_cuda:
        return _march_torch(origins, directions, offsets, cubes, grids, step, limit, most)
    bounds = pieces_of(len(origins), smallest=512)
    inputs = [x.detach().float().contiguous().numpy() for x in (origins, directions, offsets)]
    inputs += [cubes.int().contiguous().numpy(), grids.numpy(), TABLE]
    per_ray = min(most, int(2 * 3**0.5 / step) + 2)
    found: list[tuple[np.ndarray, np.ndarray]] = [(np.empty(0), np.empty(0))] * (len(bounds) - 1)

    def work(piece: int) -> None:
        start, stop = bounds[piece], bounds[piece + 1]
        rays, places = (np.empty((stop - start) * per_ray, kind) for kind in (np.int64, np.float32))
        count = _march(start, stop, *inputs, np.float32(step), np.float32(limit), most, rays, places)
        found[piece] = rays[:count].copy(), places[:count].copy()

    run(work, len(found), "march")
    rays, places = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return torch.from_numpy(rays), torch.from_numpy(places)


def packed_weights(
    optical_depths: Float[Tensor, "S"], rays: Int[Tensor, "S"], num_rays: int
) -> Float[Tensor, "S"]:
    """Return each sample's share of its ray's colour, ``T (1 - exp(-σδ))``, for samples packed ray by ray.

    Args:
        optical_depths: Density times length of each sample.
        rays: Ray of each sample, ascending.
        num_rays: Number of rays.
    """
    if len(rays) == 0:
        return optical_depths
    # Double precision: the sums run over all rays of the batch.
    passed = optical_depths.double().cumsum(0)
    before = passed - optical_depths
    first = torch.searchsorted(rays, torch.arange(num_rays, device=rays.device)).clamp(max=len(rays) - 1)
    through = torch.exp(-(before - before[first][rays])).to(optical_depths.dtype)
    return through * -torch.expm1(-optical_depths)
