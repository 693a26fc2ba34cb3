"""A scene that rests, whose Gaussians each say how static they are (DAS3R, arXiv 2412.19584)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from dyn3d_ns.gaussians.gaussians import Gaussians
from dyn3d_ns.gaussians.scene import StaticScene, point_parameters
from dyn3d_ns.gaussians.seeds.points import SeedPoints

_SUREST = 0.99
"""Largest staticness, and largest motion, to start from, so that gradients remain."""


class StaticnessScene(StaticScene):
    """Gaussians with a staticness that multiplies their opacity: what belongs to a mover fades.

    ``params["static"]`` [N, 1] holds its logit; an unbounded factor, as in the paper, can grow without end.
    """

    @property
    def staticness(self) -> Float[Tensor, "N"]:
        """How static each Gaussian is, in 0..1."""
        return torch.sigmoid(self.params["static"]).squeeze(1)

    def at(self, t: float) -> Gaussians:
        """Return the static scene, the same at every time."""
        opacities = self.opacities * self.staticness
        return Gaussians(self.params["means"], self.params["quats"], self.scales, opacities, self.colors)


def staticness_scene(seeds: SeedPoints, sh_degree: int, opacity: float, max_scale: float) -> StaticnessScene:
    """Put round Gaussians on points; those of which nobody says whether they rest count as resting."""
    static = torch.ones(len(seeds.positions)) if seeds.static is None else seeds.static
    parameters = point_parameters(seeds, sh_degree, opacity, max_scale)
    parameters["static"] = torch.logit(static.clamp(1 - _SUREST, _SUREST))[:, None]
    return StaticnessScene(parameters)
