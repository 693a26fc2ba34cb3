"""Where the grid of a recording lies, and the rays of its cameras."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

from dyn3d_ns.fields.voxel_grid import Shape, index_of, places_in_cube, points_of
from dyn3d_ns.geometry.cameras import from_pixels, project, to_camera, to_world
from dyn3d_ns.geometry.harmonics import harmonic_basis
from dyn3d_ns.geometry.ndc import GridSpace, disparity_of, is_forward_facing, mean_viewmat
from dyn3d_ns.models.stream.views import Rig
from dyn3d_ns.rendering.voxels import Rays

SpaceKind = Literal["auto", "ndc", "box"]
_SEEN_BY = 2
"""Views that must see a place for it to be part of the grid."""
_SAMPLES = 48
"""Places along an axis at which it is asked what the cameras see."""


def space_of(
    camera_to_worlds: Float[Tensor, "C 3 4"],
    rig: Rig,
    box: Float[Tensor, "2 3"],
    depths: tuple[float, float] | None,
    kind: SpaceKind,
) -> GridSpace:
    """Return the space of a recording.

    Args:
        camera_to_worlds: Poses of the training cameras.
        rig: The same cameras.
        box: Box of the scene in the world.
        depths: Least and largest depth that the cameras see; None if that is not known.
        kind: ``auto`` takes NDC where all cameras look about the same way.
    """
    if kind == "box" or (kind == "auto" and not is_forward_facing(camera_to_worlds)):
        eye = torch.eye(4, device=box.device)
        return GridSpace(eye, box[0].clone(), box[1].clone())
    viewmat = mean_viewmat(camera_to_worlds)
    corners = torch.cartesian_prod(*box.T)
    if depths is None:
        ahead = to_camera(corners, viewmat)[:, 2].max()
        depths = float(0.15 * ahead), float(ahead)
    behind = -to_camera(camera_to_worlds[:, :, 3], viewmat)[:, 2].min()
    near, far = max(0.75 * (depths[0] - float(behind)), 0.3 * depths[0]), depths[1] * 1.05
    # What at least two cameras see, by a coarse grid around all that the outermost ones do.
    reach = torch.stack([_far_corners(rig, i, far) for i in range(len(rig.viewmats))]).view(-1, 3)
    ends = disparity_of(to_camera(reach, viewmat).clamp_min(1e-3), near)[:, :2].abs().amax(0)
    depth_end = 1 - 2 * near / far
    low = torch.cat([-ends, ends.new_tensor([-1.0])])
    wide = GridSpace(viewmat, low, torch.cat([ends, ends.new_tensor([depth_end])]), near)
    shape = (_SAMPLES, _SAMPLES, _SAMPLES)
    every = points_of(torch.arange(_SAMPLES**3, device=box.device), shape)
    places = places_in_cube(every, shape)
    seen = places[seen_by(wide, rig, places) >= _SEEN_BY]
    half = (wide.high - wide.low) / 2
    middle = (wide.high + wide.low) / 2
    step = half / _SAMPLES
    low, high = seen.amin(0) * half + middle - step, seen.amax(0) * half + middle + step
    low[2], high[2] = wide.low[2], wide.high[2]
    return GridSpace(viewmat, low, high, near)


def _far_corners(rig: Rig, camera: int, depth: float) -> Float[Tensor, "4 3"]:
    pixels = torch.tensor([[0, 0], [rig.width, 0], [0, rig.height], [rig.width, rig.height]])
    K = rig.Ks[camera]
    seen = from_pixels(
        pixels.to(K), K.new_full((4,), depth), K[(0, 1), (0, 1)].expand(4, 2), K[:2, 2].expand(4, 2)
    )
    return to_world(seen, torch.linalg.inv(rig.viewmats[camera]))


def seen_by(space: GridSpace, rig: Rig, places: Float[Tensor, "P 3"]) -> Int64[Tensor, "P"]:
    """Return how many cameras see places of the cube."""
    count = torch.zeros(len(places), dtype=torch.long, device=places.device)
    for inside, _ in _pictures(space, rig, places):
        count += inside
    return count


def change_shares(
    space: GridSpace, rig: Rig, places: Float[Tensor, "P 3"], changed: Bool[Tensor, "V H W"]
) -> Float[Tensor, "P"]:
    """Return the part of the views that have a place of the cube in their picture in which it has changed."""
    total, found = places.new_full((len(places),), 1e-6), places.new_zeros(len(places))
    for (inside, at), mask in zip(_pictures(space, rig, places), changed, strict=True):
        x, y = at.unbind(1)
        total += inside
        found += inside & mask[y, x]
    return found / total


def _pictures(
    space: GridSpace, rig: Rig, places: Float[Tensor, "P 3"]
) -> Iterator[tuple[Bool[Tensor, "P"], Int64[Tensor, "P 2"]]]:
    """Yield for each camera which places of the cube are in its picture, and the nearest pixels of all."""
    world, size = space.to_world(places), places.new_tensor([rig.width, rig.height])
    for viewmat, K in zip(rig.viewmats, rig.Ks, strict=True):
        points = to_camera(world, viewmat)
        pixels = project(points, K, rig.near)
        inside = (points[:, 2] > rig.near) & ((pixels > 0) & (pixels < size)).all(1)
        yield inside, torch.minimum(pixels.clamp_min(0), size - 1).long()


def seen_points(space: GridSpace, rig: Rig, shape: Shape) -> Int64[Tensor, "M"]:
    """Return the grid points that at least two cameras see."""
    every = torch.arange(math.prod(shape), device=rig.Ks.device)
    parts = [
        seen_by(space, rig, places_in_cube(points_of(chunk, shape), shape)) >= _SEEN_BY
        for chunk in every.split(1 << 20)
    ]
    return index_of(torch.cat(parts).view(shape))


class Shot(NamedTuple):
    """Rays of pixels, in the grid's cube and in the world."""

    rays: Rays
    origins: Float[Tensor, "R 3"]
    directions: Float[Tensor, "R 3"]
    """Of length 1 along the camera's axis."""


def shoot(
    space: GridSpace,
    viewmats: Float[Tensor, "R 4 4"],
    Ks: Float[Tensor, "R 3 3"],
    pixels: Float[Tensor, "R 2"],
    offsets: Float[Tensor, "R"],
) -> Shot:
    """Return the rays through pixels (first centre at 0.5) of a camera each."""
    ones = torch.ones_like(pixels[:, 0])
    seen = from_pixels(pixels, ones, Ks[:, (0, 1), (0, 1)], Ks[:, :2, 2])
    rotations = viewmats[:, :3, :3]
    directions = (seen[:, None] @ rotations)[:, 0]
    origins = -(viewmats[:, None, :3, 3] @ rotations)[:, 0]
    inside, along = space.rays(origins, directions)
    return Shot(Rays(inside, along, basis_of(directions), offsets), origins, directions)


def basis_of(directions: Float[Tensor, "R 3"]) -> Float[Tensor, "R 9"]:
    """Return the harmonics up to degree 2 of directions of any length."""
    unit = torch.nn.functional.normalize(directions, dim=1)
    constant = torch.full_like(unit[:, :1], 0.5 / math.sqrt(math.pi))
    return torch.cat([constant, harmonic_basis(unit, 1), harmonic_basis(unit, 2)], 1)


class Pixels:
    """The training images of a frame, and pixels drawn from them."""

    def __init__(self, rig: Rig, space: GridSpace, images: UInt8[Tensor, "V H W 3"]) -> None:
        """Take images."""
        self.rig, self.space, self.images = rig, space, images
        self.changed: Int64[Tensor, "K"] | None = None

    def prefer(self, changed: Bool[Tensor, "V H W"]) -> None:
        """Draw from these pixels more often."""
        where = changed.flatten().nonzero()[:, 0]
        self.changed = where if len(where) else None

    def draw(
        self, count: int, generator: torch.Generator, share: float = 0.0
    ) -> tuple[Shot, Float[Tensor, "R 3"]]:
        """Return rays and their recorded colours; a share of them is drawn from the pixels preferred."""
        _, height, width, _ = self.images.shape
        device = self.images.device
        chosen = 0 if self.changed is None else round(share * count)
        drawn = torch.rand(count, generator=generator, dtype=torch.float64).to(device)
        pixels = (drawn * self.images[..., 0].numel()).long()
        if self.changed is not None:
            pixels[:chosen] = self.changed[(drawn[:chosen] * len(self.changed)).long()]
        offsets = torch.rand(count, generator=generator).to(device)
        view = pixels // (height * width)
        at = torch.stack([pixels % width, pixels // width % height], 1) + 0.5
        shot = shoot(self.space, self.rig.viewmats[view], self.rig.Ks[view], at, offsets)
        return shot, self.images.view(-1, 3)[pixels].float() / 255.0
