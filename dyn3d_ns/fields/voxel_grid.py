"""Sparse voxels as they are trained and rendered: values, links to them, and refinement."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor, nn

from dyn3d_ns.fields.voxel_masks import dilate
from dyn3d_ns.rendering.voxels import COLORS, Voxels

Shape = tuple[int, int, int]
CUBE = 128
"""Cells along an axis of the occupancy."""


class VoxelGrid(nn.Module):
    """Voxels on some of the points of a grid; point i of n along an axis lies at (2 i + 1) / n - 1."""

    def __init__(self, shape: Shape, index: Int64[Tensor, "M"], density: float = 0.0) -> None:
        """Put voxels on grid points.

        Args:
            shape: Points along x, y and z.
            index: Numbers of the points, z fastest, rising.
            density: What all have at first; their colour is grey.
        """
        super().__init__()
        self.register_buffer("shape", torch.tensor(shape))
        self.register_buffer("index", index)
        self.density = nn.Parameter(torch.full((len(index),), density, device=index.device))
        self.colors = nn.Parameter(torch.zeros(len(index), COLORS, device=index.device))
        self.register_buffer("occupied", torch.full_like(index, density > 0, dtype=torch.bool))
        self._drawn: Voxels | None = None

    shape: Tensor
    index: Tensor
    occupied: Tensor
    """Which voxels had density when that was last looked at; rays pass by where none had."""

    @property
    def size(self) -> Shape:
        """Points along each axis."""
        x, y, z = self.shape.tolist()
        return x, y, z

    def __len__(self) -> int:
        return len(self.index)

    def mask(self) -> Bool[Tensor, "X Y Z"]:
        """Return where there are voxels."""
        return mask_of(self.index, self.size)

    def voxels(self, fresh: bool = False) -> Voxels:
        """Return the grid as it is rendered, all of its voxels trained; fresh: with a new occupancy."""
        if fresh:
            self.occupied = self.density.detach() > 0
        if fresh or self._drawn is None:
            slots = torch.arange(len(self), dtype=torch.int32, device=self.index.device)
            values = self.density.detach(), self.colors.detach()
            self._drawn = voxels_of(self.size, self.index, *values, slots, self.occupied)
        return self._drawn

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *args: object) -> None:
        # As many voxels as the checkpoint has; whoever holds the parameters keeps them.
        if f"{prefix}index" not in state_dict:  # Nerfstudio asks once more, with what is no model's
            return
        index = state_dict[f"{prefix}index"].to(self.index.device)
        self.index, self.occupied = torch.zeros_like(index), torch.zeros_like(index, dtype=torch.bool)
        self.density.data = self.density.data.new_zeros(len(index))
        self.colors.data = self.colors.data.new_zeros(len(index), COLORS)
        self._drawn = None
        super()._load_from_state_dict(state_dict, prefix, *args)  # pyright: ignore[reportArgumentType]


def points_of(index: Int64[Tensor, "M"], shape: Shape) -> Int64[Tensor, "M 3"]:
    """Return the whole coordinates of grid points by their numbers."""
    _, y, z = shape
    return torch.stack([index // (y * z), index // z % y, index % z], -1)


def numbers_of(points: Int64[Tensor, "M 3"], shape: Shape) -> Int64[Tensor, "M"]:
    """Return the numbers of grid points by their whole coordinates; the inverse of :func:`points_of`."""
    return (points[:, 0] * shape[1] + points[:, 1]) * shape[2] + points[:, 2]


def mask_of(index: Int64[Tensor, "M"], shape: Shape) -> Bool[Tensor, "X Y Z"]:
    """Return the mask of grid points."""
    mask = torch.zeros(shape, dtype=torch.bool, device=index.device)
    mask.view(-1)[index] = True
    return mask


def index_of(mask: Bool[Tensor, "X Y Z"]) -> Int64[Tensor, "M"]:
    """Return the numbers of a mask's grid points, rising."""
    return mask.view(-1).nonzero()[:, 0]


def places_in_cube(points: Int64[Tensor, "M 3"], shape: Shape) -> Float[Tensor, "M 3"]:
    """Return where grid points lie in [-1, 1]^3."""
    return (2 * points + 1) / torch.tensor(shape, device=points.device) - 1


def links_of(index: Int64[Tensor, "M"], shape: Shape) -> Tensor:
    """Return the row of each grid point, -1 where there is no voxel."""
    links = torch.full(shape, -1, dtype=torch.int32, device=index.device)
    links.view(-1)[index] = torch.arange(len(index), dtype=torch.int32, device=index.device)
    return links


def voxels_of(
    shape: Shape,
    index: Int64[Tensor, "M"],
    density: Float[Tensor, "M"],
    colors: Float[Tensor, "M 27"],
    slots: Tensor,
    occupied: Bool[Tensor, "M"] | None = None,
) -> Voxels:
    """Return voxels as they are rendered; occupied: which may have density, by default those that do."""
    points = points_of(index, shape)
    matter = points[density > 0 if occupied is None else occupied]
    return Voxels(
        links_of(index, shape), points.int(), occupancy_around(matter, shape), density, colors, slots
    )


def occupancy_around(points: Int64[Tensor, "K 3"], shape: Shape) -> UInt8[Tensor, "1 G G G"]:
    """Mark the cells in which interpolation meets one of the grid points, indexed ``[0, z, y, x]``."""
    cube = torch.zeros(CUBE, CUBE, CUBE, dtype=torch.uint8, device=points.device)
    sizes = torch.tensor(shape, device=points.device)
    # A point counts up to its neighbours, and beyond them outside the grid, where values stay as at its rim.
    first = ((2 * points - 1) * CUBE).div(2 * sizes, rounding_mode="floor").clamp(0, CUBE - 1)
    last = ((2 * points + 3) * CUBE).div(2 * sizes, rounding_mode="floor").clamp(0, CUBE - 1)
    if not len(points):
        return cube[None]
    spans = (last - first).amax(0).tolist()
    for i in range(spans[0] + 1):
        x = torch.minimum(first[:, 0] + i, last[:, 0])
        for j in range(spans[1] + 1):
            y = torch.minimum(first[:, 1] + j, last[:, 1])
            for k in range(spans[2] + 1):
                cube[torch.minimum(first[:, 2] + k, last[:, 2]), y, x] = 1
    return cube[None]


def refined(grid: VoxelGrid, shape: Shape, threshold: float, dilations: int) -> VoxelGrid:
    """Return a grid of another resolution, with voxels around those of at least a density only."""
    index = index_of(solid_around(grid, threshold, dilations))
    points = points_of(index, grid.size)
    old, new = (torch.tensor(s, device=index.device) for s in (grid.size, shape))
    mask = torch.zeros(shape, dtype=torch.bool, device=index.device)
    ratio = [-(-b // a) for a, b in zip(grid.size, shape, strict=True)]
    first = -(-points * new // old)
    last = -(-(points + 1) * new // old) - 1
    for i in range(ratio[0]):
        for j in range(ratio[1]):
            for k in range(ratio[2]):
                at = torch.minimum(first + torch.tensor([i, j, k], device=index.device), last)
                mask[tuple(at.T)] = True
    made = VoxelGrid(shape, index_of(mask))
    with torch.no_grad():
        places = places_in_cube(points_of(made.index, shape), shape)
        made.density[:], made.colors[:] = interpolated(grid, places)
        made.occupied = made.density > 0
    return made


def solid_around(grid: VoxelGrid, threshold: float, dilations: int) -> Bool[Tensor, "X Y Z"]:
    """Return where there are voxels at most so far from one of at least a density."""
    solid = mask_of(grid.index[grid.density.detach() >= threshold], grid.size)
    return dilate(solid, dilations) & grid.mask()


def interpolated(
    grid: VoxelGrid, places: Float[Tensor, "P 3"]
) -> tuple[Float[Tensor, "P"], Float[Tensor, "P 27"]]:
    """Return density and colours between voxels; what is not there counts as 0."""
    sizes = torch.tensor(grid.size, device=places.device)
    at = torch.minimum(((places + 1) / 2 * sizes - 0.5).clamp_min(0), sizes - 1.001)
    base = at.long()
    part = at - base
    links = grid.voxels().links
    density, colors = places.new_zeros(len(places)), places.new_zeros(len(places), COLORS)
    for c in range(8):
        bits = torch.tensor([c >> 2, c >> 1 & 1, c & 1], device=places.device)
        rows = links[tuple((base + bits).T)].long()
        share = torch.where(bits.bool(), part, 1 - part).prod(1) * (rows >= 0)
        rows = rows.clamp_min(0)
        density += share * grid.density.detach()[rows]
        colors += share[:, None] * grid.colors.detach()[rows]
    return density, colors
