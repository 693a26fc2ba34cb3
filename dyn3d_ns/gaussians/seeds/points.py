"""Where the Gaussians start: a point cloud, the visual hull of the masks at one time, or random points."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64, UInt8
from scipy.spatial import KDTree
from torch import Tensor

from dyn3d_ns.geometry.cameras import project, to_camera, viewmats_of

if TYPE_CHECKING:
    from nerfstudio.cameras.cameras import Cameras

SH_C0 = 0.28209479177387814
"""Value of the constant spherical harmonic; ``colour = 0.5 + SH_C0 * f_dc``."""

MIN_VIEWS = 3
"""Cameras that have to see a point before it can be told to lie on a surface."""
_UNSEEN = 9.0
"""Squared difference that stands for a camera that does not see a point; true ones are at most 1."""


@dataclass(frozen=True)
class ViewSet:
    """Calibrated images that were taken at one time."""

    viewmats: Float[Tensor, "C 4 4"]
    """World to camera, OpenCV axes."""
    Ks: Float[Tensor, "C 3 3"]
    """Intrinsics in pixels."""
    images: UInt8[Tensor, "C H W D"]
    """RGB, or RGBA with straight alpha."""


def views_of(cameras: Cameras, images: UInt8[Tensor, "C H W D"]) -> ViewSet:
    """Put Nerfstudio's cameras and their images together."""
    return ViewSet(
        viewmats_of(cameras.camera_to_worlds).cpu(), cameras.get_intrinsics_matrices().cpu(), images.cpu()
    )


def join_views(parts: list[ViewSet]) -> ViewSet:
    """Put views together, as of several times."""
    return ViewSet(
        torch.cat([v.viewmats for v in parts]),
        torch.cat([v.Ks for v in parts]),
        torch.cat([v.images for v in parts]),
    )


@dataclass(frozen=True)
class SeedPoints:
    """Coloured points for Gaussians to start from."""

    positions: Float[Tensor, "N 3"]
    colors: Float[Tensor, "N 3"]
    """RGB in 0..1."""
    static: Float[Tensor, "N"] | None = None
    """How likely each rests, in 0..1; None where nobody says."""


def random_points(box: Float[Tensor, "2 3"], count: int, generator: torch.Generator) -> SeedPoints:
    """Draw points uniformly in the box, with random colours."""
    unit = torch.rand(count, 3, generator=generator)
    return SeedPoints(box[0] + unit * (box[1] - box[0]), torch.rand(count, 3, generator=generator))


def pixels_of(
    points: Float[Tensor, "N 3"],
    viewmats: Float[Tensor, "*C 4 4"],
    Ks: Float[Tensor, "*C 3 3"],
    height: int,
    width: int,
) -> tuple[Int64[Tensor, "*C N"], Int64[Tensor, "*C N"], Bool[Tensor, "*C N"], Float[Tensor, "*C N"]]:
    """Return the pixels that points fall on in views.

    Returns:
        Row and column, kept within the picture; whether the point lies in front of the camera and within the
        picture; its planar depth.
    """
    local = to_camera(points, viewmats)
    column, row = torch.floor(project(local, Ks)).long().unbind(-1)
    inside = (local[..., 2] > 1e-3) & (column >= 0) & (column < width) & (row >= 0) & (row < height)
    return row.clamp(0, height - 1), column.clamp(0, width - 1), inside, local[..., 2]


def sample_views(
    points: Float[Tensor, "N 3"], views: ViewSet
) -> tuple[Float[Tensor, "C N D"], Float[Tensor, "C N"]]:
    """Look the points up in every image (nearest pixel).

    Returns:
        Pixel values in 0..1, and 1 where the point lies in front of the camera and within the picture.
    """
    height, width = views.images.shape[1:3]
    row, column, inside, _ = pixels_of(points, views.viewmats, views.Ks, height, width)
    index = torch.arange(len(views.images))[:, None]
    values = views.images[index, row, column]
    return values.float() / 255.0, inside.float()


def hull_points(
    views: ViewSet,
    box: Float[Tensor, "2 3"],
    count: int,
    generator: torch.Generator,
    tolerance: float = 0.0,
    candidates: int = 200_000,
    rounds: int = 40,
) -> SeedPoints | None:
    """Draw points near the surface of the visual hull of the images' alpha.

    Space is sampled over the box to find the hull's extent, then within that until there are enough points,
    or ``rounds`` times. A point is in the hull where at least three cameras see it and at most a fraction of
    ``tolerance`` of them see through it; above 0 that fits views of different times, where something has
    moved.

    Returns:
        The points with the mean colour of the pixels that they fall on, or None where there are fewer than
        three views, no alpha, or nothing in the hull.
    """
    if views.images.shape[-1] != 4 or len(views.images) < MIN_VIEWS:
        return None

    def carve(points: Tensor) -> tuple[Tensor, Tensor]:
        values, seen = sample_views(points, views)
        clear = (values[..., 3] < 0.5) & (seen > 0)
        views_of_it = seen.sum(0)
        keep = (clear.sum(0) <= tolerance * views_of_it) & (views_of_it >= MIN_VIEWS)
        weights = (seen * values[..., 3])[:, keep, None]
        return keep, (values[:, keep, :3] * weights).sum(0) / weights.sum(0).clamp_min(1e-6)

    coarse = random_points(box, candidates, generator).positions
    coarse = coarse[carve(coarse)[0]]
    if len(coarse) < 8:
        return None
    spacing = ((box[1] - box[0]).prod() / candidates) ** (1 / 3)
    tight = torch.stack([coarse.amin(0) - spacing, coarse.amax(0) + spacing])
    step = 1.5 * ((tight[1] - tight[0]).prod() / candidates) ** (1 / 3)
    shifts = step * torch.cat([torch.eye(3), -torch.eye(3)])
    positions, colors, found = [], [], 0
    for _ in range(rounds):
        fine = random_points(tight, candidates, generator).positions
        keep, color = carve(fine)
        fine = fine[keep]
        surface = torch.stack([~carve(fine + shift)[0] for shift in shifts]).any(0)
        positions.append(fine[surface])
        colors.append(color[surface])
        found += int(surface.sum())
        if found >= count:
            break
    if found == 0:
        return None
    return SeedPoints(torch.cat(positions)[:count], torch.cat(colors)[:count])


def neighbour_distance(points: Float[Tensor, "N 3"], neighbours: int = 3) -> Float[Tensor, "N"]:
    """Return the mean distance of each point to its nearest neighbours, world units."""
    positions = points.detach().cpu().numpy().astype(np.float64)
    wanted = min(neighbours, len(positions) - 1)
    if wanted < 1:
        return torch.ones(len(positions), dtype=points.dtype)
    distances = KDTree(positions).query(positions, k=wanted + 1)[0][:, 1:]
    return torch.from_numpy(distances.mean(axis=1)).to(points)


def farthest_points(points: Float[Tensor, "N 3"], count: int) -> Float[Tensor, "K 3"]:
    """Pick points that lie far apart, each the farthest from those before it; the first is nearest to the
    centre."""
    distance = torch.full((len(points),), float("inf"))
    index = int((points - points.mean(0)).square().sum(-1).argmin())
    picked = []
    for _ in range(count):
        picked.append(index)
        distance = torch.minimum(distance, (points - points[index]).square().sum(-1))
        index = int(distance.argmax())
    return points[picked]
