"""The scene at one time."""

from dataclasses import dataclass, fields

from jaxtyping import Bool, Float
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
    velocities: Float[Tensor, "N 3"]
    """World units per unit of normalised time."""
    dynamic: Bool[Tensor, "N"]
    """True where the Gaussian moves."""

    def __len__(self) -> int:
        return self.means.shape[0]

    def select(self, keep: Bool[Tensor, "N"]) -> "Gaussians":
        """Return the Gaussians for which ``keep`` is True."""
        return Gaussians(**{f.name: getattr(self, f.name)[keep] for f in fields(self)})
