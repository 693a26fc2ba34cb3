"""Where there is matter at which time, in cubes of cells around the normalised scene.

Densities are kept at the keyframes. The cube of any other time is found by carrying the occupied cells there
along the velocity field, and reading the keyframe's cube back from each candidate cell.
"""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Float16, UInt8
from torch import Tensor, nn

from dyn3d_ns.rendering.ray_march import encode_density

Carry = Callable[[Float[Tensor, "N 3"], float, float], Float[Tensor, "N 3"]]
"""Moves points from one time to another."""
Density = Callable[[Float[Tensor, "N 3"], int], Float[Tensor, "N"]]
"""Density per unit of normalised length at points of a keyframe."""

CHUNK = 65536


def dilate(cells: Bool[Tensor, "*T G G G"]) -> Bool[Tensor, "*T G G G"]:
    """Add the 26 neighbours of every cell."""
    return _pool(cells.float(), 3) > 0


def _pool(values: Float[Tensor, "*T G G G"], size: int) -> Float[Tensor, "*T G G G"]:
    flat = values.reshape(-1, 1, *values.shape[-3:])
    for axis in range(3):  # one axis at a time: the same maximum from a third of the comparisons
        window, padding = [1, 1, 1], [0, 0, 0]
        window[axis], padding[axis] = size, size // 2
        flat = nn.functional.max_pool3d(flat, window, stride=1, padding=padding)
    return flat.reshape(values.shape)


class KeyframeOccupancy(nn.Module):
    """Occupancy of K keyframes, in cubes of ``cells`` a side."""

    def __init__(self, keyframes: int, cells: int, threshold: float = 1e-2, decay: float = 0.9) -> None:
        """Start full.

        Args:
            keyframes: Number of keyframes.
            cells: Cells along an axis.
            threshold: Alpha across a cell from which on it is occupied.
            decay: What is left of a cell's density at its next update, if it has not been found again.
        """
        super().__init__()
        self.cells, self.threshold, self.decay = cells, threshold, decay
        shape = (keyframes, cells, cells, cells)
        self.register_buffer("density", torch.full(shape, float("inf"), dtype=torch.float16))
        self.register_buffer("codes", torch.ones(shape, dtype=torch.uint8))

    density: Tensor
    codes: Tensor

    @property
    def size(self) -> float:
        """Length of a cell's side in normalised units."""
        return 2.0 / self.cells

    def centers(self, index: Float[Tensor, "N 3"]) -> Float[Tensor, "N 3"]:
        """Return the centres of cells given as (z, y, x) indices."""
        return (index.flip(-1).float() + 0.5) * self.size - 1

    def index_of(self, points: Float[Tensor, "N 3"]) -> tuple[Tensor, Tensor, Tensor]:
        """Return the (z, y, x) indices of the cells that points lie in."""
        index = ((points + 1) / self.size).long().clamp(0, self.cells - 1)
        return index[:, 2], index[:, 1], index[:, 0]

    def restrict(self, keyframe: int, allowed: Bool[Tensor, "G G G"]) -> None:
        """Empty the cells of a keyframe that are not allowed, for good."""
        self.density[keyframe][~allowed] = 0
        self.codes[keyframe][~allowed] = 0

    @torch.no_grad()
    def update(self, keyframe: int, density: Density, allowed: Bool[Tensor, "G G G"] | None) -> None:
        """Sample the density once in each allowed cell of a keyframe and decide anew what is occupied."""
        shape = self.codes.shape[1:]
        cells = torch.ones(shape, dtype=torch.bool, device=self.codes.device) if allowed is None else allowed
        index = cells.nonzero()
        points = self.centers(index) + self.size * (torch.rand(len(index), 3, device=index.device) - 0.5)
        found = (
            torch.cat([density(p, keyframe) for p in points.split(CHUNK)]) if len(points) else points.sum(-1)
        )
        old = self.density[keyframe].float()
        old = torch.where(torch.isinf(old), torch.zeros_like(old), old * self.decay)
        new = old.clone()
        new[cells] = torch.maximum(old[cells], found)
        self.density[keyframe] = new.clamp(max=60000).half()
        occupied = dilate(1 - torch.exp(-new * self.size) > self.threshold) & cells
        # What a ray loses in a cell at the least: the smallest density of it and its neighbours.
        least = -_pool(-new, 3)
        codes = torch.where(
            least * self.size > 0.05, encode_density(0.5 * least), torch.ones_like(self.codes[0])
        )
        self.codes[keyframe] = torch.where(occupied, codes, torch.zeros_like(codes))

    @torch.no_grad()
    def at(
        self,
        keyframe: int,
        key_time: float,
        time: float,
        carry: Carry,
        allowed: Bool[Tensor, "G G G"] | None = None,
    ) -> tuple[UInt8[Tensor, "G G G"], Float16[Tensor, "G G G 3"]]:
        """Return the cube of a time that is reached from a keyframe, and the way back from each of its cells.

        Args:
            keyframe: The nearest keyframe.
            key_time: Its time.
            time: The time wanted.
            carry: Moves points along the velocity field, in either direction of time.
            allowed: Cells that may hold matter then, if that is known.
        """
        codes = self.codes[keyframe]
        shifts = torch.zeros(*codes.shape, 3, dtype=torch.float16, device=codes.device)
        if time == key_time:
            return codes if allowed is None else torch.where(allowed, codes, torch.zeros_like(codes)), shifts
        if allowed is None:
            start = self.centers((codes > 0).nonzero())
            moved = torch.cat([carry(p, key_time, time) for p in start.split(CHUNK)]) if len(start) else start
            inside = moved.abs().amax(-1) < 1
            allowed = torch.zeros_like(codes, dtype=torch.bool)
            allowed[self.index_of(moved[inside])] = True
            allowed = dilate(allowed)
        centers = self.centers(allowed.nonzero())
        back = (
            torch.cat([carry(p, time, key_time) for p in centers.split(CHUNK)]) if len(centers) else centers
        )
        cube = torch.zeros_like(codes)
        cube[allowed] = codes[self.index_of(back)]
        shifts[allowed] = (back - centers).half()
        return cube, shifts
