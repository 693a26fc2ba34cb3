"""The scene at one time."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor


@dataclass(frozen=True)
class Gaussians:
    """Gaussians as the rasteriser takes them, at one time."""

    means: Float[Tensor, "N 3"]
    """Centres, world units."""
    quats: Float[Tensor, "N 4"]
    """Orientations, wxyz, of any length."""
    scales: Float[Tensor, "N 3"]
    """Standard deviations along the axes, world units."""
    opacities: Float[Tensor, "N"]
    """In 0..1."""
    colors: Float[Tensor, "N K 3"]
    """Spherical-harmonics coefficients."""
    velocities: Float[Tensor, "N 3"] | None = None
    """World units per unit of normalised time; None where nothing moves."""
    dynamic: Bool[Tensor, "N"] | None = None
    """True where the Gaussian moves; None where nothing does."""

    def __len__(self) -> int:
        return self.means.shape[0]

    @property
    def motion(self) -> Float[Tensor, "N 3"]:
        """Velocities, zero where nothing moves."""
        return torch.zeros_like(self.means) if self.velocities is None else self.velocities

    @property
    def moving(self) -> Bool[Tensor, "N"]:
        """Whether each Gaussian moves."""
        if self.dynamic is None:
            return torch.zeros(len(self), dtype=torch.bool, device=self.means.device)
        return self.dynamic

    def select(self, keep: Bool[Tensor, "N"] | Int64[Tensor, "M"]) -> Gaussians:
        """Return the Gaussians for which ``keep`` is True, or those of the given numbers."""
        return Gaussians(
            self.means[keep],
            self.quats[keep],
            self.scales[keep],
            self.opacities[keep],
            self.colors[keep],
            None if self.velocities is None else self.velocities[keep],
            None if self.dynamic is None else self.dynamic[keep],
        )
