"""Scenes of Gaussians: parameters of their own, and the scene at any time."""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dyn3d_ns.gaussians.gaussians import Gaussians
from dyn3d_ns.gaussians.seeds.points import SH_C0, SeedPoints, neighbour_distance


def point_parameters(
    seeds: SeedPoints, sh_degree: int, opacity: float, max_scale: float
) -> dict[str, Tensor]:
    """Make round Gaussians of points, each as large as its distance from its neighbours.

    Args:
        seeds: Positions and colours.
        sh_degree: Degree of the view-dependent colour.
        opacity: Starting opacity, in 0..1.
        max_scale: Largest starting standard deviation, world units.
    """
    n = len(seeds.positions)
    scales = neighbour_distance(seeds.positions).clamp(1e-5, max_scale)
    quats = torch.zeros(n, 4)
    quats[:, 0] = 1.0
    return {
        "means": seeds.positions.clone(),
        "scales": scales.log()[:, None].repeat(1, 3),
        "quats": quats,
        "opacities": torch.full((n, 1), math.log(opacity / (1 - opacity))),
        "features_dc": (seeds.colors - 0.5) / SH_C0,
        "features_rest": torch.zeros(n, (sh_degree + 1) ** 2 - 1, 3),
    }


class GaussianScene(nn.Module):
    """Gaussians that can be asked for as they are :meth:`at` any time.

    ``params`` holds the per-Gaussian tensors under the names of 3DGS (``means``, ``scales`` as logarithms,
    ``quats``, ``opacities`` as logits, ``features_dc``, ``features_rest``) and whatever else a scene keeps
    for each. All have N rows; densification and the loading of a checkpoint resize them together.
    """

    def __init__(self, params: dict[str, Float[Tensor, "N *D"]]) -> None:
        """Take the per-Gaussian tensors."""
        super().__init__()
        self.params = nn.ParameterDict({name: nn.Parameter(value) for name, value in params.items()})

    def __len__(self) -> int:
        return self.params["means"].shape[0]

    @property
    def scales(self) -> Float[Tensor, "N 3"]:
        """Standard deviations, world units."""
        return self.params["scales"].exp()

    @property
    def opacities(self) -> Float[Tensor, "N"]:
        """Opacities in 0..1."""
        return torch.sigmoid(self.params["opacities"]).squeeze(1)

    @property
    def colors(self) -> Float[Tensor, "N K 3"]:
        """Spherical-harmonics coefficients that do not follow time."""
        return torch.cat([self.params["features_dc"][:, None], self.params["features_rest"]], dim=1)

    def at(self, t: float) -> Gaussians:
        """Return the scene at a normalised time, which may lie beyond the recording."""
        raise NotImplementedError

    def training_at(self, t: float) -> Gaussians:
        """Return the scene at a recorded time with gradients, and without what only evaluation asks for."""
        return self.at(t)

    def forget(self) -> None:
        """Drop what is kept between calls, as after a change of the parameters."""

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Resize every per-Gaussian tensor to the number of Gaussians that comes."""
        self.forget()
        for name, parameter in list(self.params.items()):
            rows = state_dict.get(f"{prefix}params.{name}")
            # What else differs, such as the degree of the colours, is an error.
            if rows is not None and rows.shape[1:] == parameter.shape[1:] and len(rows) != len(parameter):
                self.params[name] = nn.Parameter(torch.zeros_like(rows, device=parameter.device))
        super()._load_from_state_dict(state_dict, prefix, *args)


class StaticScene(GaussianScene):
    """Gaussians that stay as they are."""

    def at(self, t: float) -> Gaussians:
        """Return the scene, the same at every time."""
        return Gaussians(self.params["means"], self.params["quats"], self.scales, self.opacities, self.colors)
