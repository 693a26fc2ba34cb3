"""Velocity fields whose coefficients depend on time and on a motion code, never on the position.

``v(x, t | z) = sum_k z_k (u_k(t) + w_k(t) × x)``: for one code the field is one rigid twist, so its gradient
is antisymmetric and its divergence zero by construction (FreeGave, section 3.2).
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dyn3d_ns.fields.time_basis import TimeBasis
from dyn3d_ns.geometry.se3 import twist_velocity


class VelocityField(nn.Module):
    """A velocity field of K twists of time; what the twists are is up to :meth:`twists`."""

    def twists(self, t: float) -> Float[Tensor, "K 6"]:
        """Evaluate the twists ``(u, w)`` at the time ``t``, per unit of time."""
        raise NotImplementedError

    def coefficients(self, t: float, codes: Float[Tensor, "N K"]) -> Float[Tensor, "N 6"]:
        """Mix the twists with motion codes: the coefficients of the six rigid bases of every point."""
        return codes @ self.twists(t)

    def forward(self, x: Float[Tensor, "N 3"], t: float, codes: Float[Tensor, "N K"]) -> Float[Tensor, "N 3"]:
        """Evaluate the velocity at ``x``, in world units per unit of time."""
        return twist_velocity(self.coefficients(t, codes), x)


class BasisVelocityField(VelocityField):
    """Twists on a :class:`TimeBasis`: a polynomial at all times, and a spline that vanishes at the last
    observed one; and one frequency a motion, which :func:`fit_velocity` finds in what swings."""

    def __init__(self, basis: TimeBasis, num_motions: int) -> None:
        """Start at rest.

        Args:
            basis: Functions of time, not anchored; the splines have to vanish at ``basis.t_max``.
            num_motions: Number of twists; the first one is rest, and stays it.
        """
        super().__init__()
        self.basis = basis
        self.weights = nn.Parameter(torch.zeros(basis.size, num_motions - 1, 6))
        self.register_buffer("frequencies", torch.zeros(num_motions - 1))
        self.register_buffer("swings", torch.zeros(2, num_motions - 1, 6))
        self._cache: dict[float, Tensor] = {}

    frequencies: Tensor
    """Radians per unit of time."""
    swings: Tensor
    """Factors of the cosine and the sine."""

    def twists(self, t: float) -> Float[Tensor, "K 6"]:
        """Evaluate the twists at any time, before, within or after the observed part."""
        if t not in self._cache:
            if len(self._cache) > 4096:
                self._cache.clear()
            self._cache[t] = self.basis(t)[0]
        moving = torch.tensordot(self._cache[t].to(self.weights), self.weights, dims=1)
        phases = (t * self.frequencies)[:, None]
        moving = moving + torch.cos(phases) * self.swings[0] + torch.sin(phases) * self.swings[1]
        return torch.cat([moving.new_zeros(1, 6), moving])
