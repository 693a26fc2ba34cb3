"""Points on the surfaces that images show."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from dyn3d_ns.gaussians.seeds.points import SeedPoints, ViewSet, hull_points
from dyn3d_ns.gaussians.seeds.stereo import stereo_points


def surface_points(
    views: ViewSet, box: Float[Tensor, "2 3"], count: int, generator: torch.Generator, one_time: bool
) -> SeedPoints | None:
    """Find points on a scene's surfaces: of the visual hull where images have alpha, else by plane sweep.

    Args:
        views: Images and their cameras.
        box: Where the scene lies, world units.
        count: Most points.
        generator: Draws the candidates of the hull.
        one_time: Whether all views are of one time; else the hull forgives a few that see through.

    Returns:
        The points, or None where the images show too little.
    """
    if views.images.shape[-1] == 4:
        return hull_points(views, box, count, generator, tolerance=0.0 if one_time else 0.1)
    # The cameras of a room leave its extent uncertain; a wider box costs only candidates.
    wider = box.mean(0) + 1.3 * (box - box.mean(0))
    return stereo_points(views, wider, count)
