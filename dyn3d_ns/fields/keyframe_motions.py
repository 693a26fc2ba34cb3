"""The keyframe network: K rigid motions of time, shared by everything in the scene.

Each motion turns about a pivot and shifts, ``x(t) = R(r(t)) (x - p) + p + d(t)``, where the rotation vector
``r`` and the shift ``d`` are combinations of a :class:`TimeBasis`. Points mix the motions with soft weights,
as in skinning. This costs one [N, K] × [K, 16] product at each time, where a deformation network costs an MLP
over every point.
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from dyn3d_ns.fields.motion_table import mean_square, motion_table
from dyn3d_ns.fields.time_basis import TimeBasis
from dyn3d_ns.geometry.rotations import sine_defect_sq, skew, versine_sq


class RigidPoses(NamedTuple):
    """Rigid motions at one time: ``x(t) = rotations @ x + translations``."""

    quats: Float[Tensor, "K 4"]
    """Rotations as quaternions in wxyz order, continuous in time from the identity."""
    rotations: Float[Tensor, "K 3 3"]
    translations: Float[Tensor, "K 3"]


def left_jacobian(r: Float[Tensor, "*B 3"]) -> Float[Tensor, "*B 3 3"]:
    """Return the matrix that turns the rate of a rotation vector into the angular velocity, ``w = J(r)
    dr/dt``."""
    angle_sq = r.square().sum(-1)[..., None, None]
    k = skew(r)
    return (
        torch.eye(3, dtype=r.dtype, device=r.device)
        + versine_sq(angle_sq) * k
        + sine_defect_sq(angle_sq) * (k @ k)
    )


class KeyframeMotions(nn.Module):
    """K rigid motions over the observed time; the first one is rest, and stays it."""

    def __init__(self, basis: TimeBasis, pivots: Float[Tensor, "K 3"]) -> None:
        """Start every motion at rest.

        Args:
            basis: Functions of time that vanish at the canonical time ``basis.t_ref``.
            pivots: Points that the motions turn about, world units; the first belongs to the motion that is
            rest.
        """
        super().__init__()
        self.basis = basis
        self.register_buffer("pivots", pivots.clone())
        self.coefficients = nn.Parameter(torch.zeros(basis.size, pivots.shape[0] - 1, 6))
        grid = np.linspace(basis.t_min, basis.t_max, 4 * max(basis.keyframes, 2) + 1)[:-1] + 1e-6
        self.register_buffer("jerk_basis", basis(grid, derivative=3) * basis.scale**3, persistent=False)
        self._cache: dict[tuple[float, int], Tensor] = {}

    pivots: Tensor
    jerk_basis: Tensor

    @property
    def num_motions(self) -> int:
        """Count the motions, rest included."""
        return self.pivots.shape[0]

    def _weights(self, t: float, derivative: int) -> Float[Tensor, "J"]:
        key = (t, derivative)
        kept = self._cache.get(key)
        if kept is None or kept.device != self.pivots.device or kept.dtype != self.pivots.dtype:
            if len(self._cache) > 4096:
                self._cache.clear()
            kept = self._cache[key] = self.basis(t, derivative)[0].to(self.pivots)
        return kept

    def values(self, t: float, derivative: int) -> Float[Tensor, "K 6"]:
        """Evaluate the shift and the rotation vector of every motion at an observed time, or a derivative."""
        moving = torch.tensordot(self._weights(t, derivative), self.coefficients, dims=1)
        return torch.cat([moving.new_zeros(1, 6), moving])

    def table(self, t: float) -> Float[Tensor, "K 16"]:
        """Evaluate every motion at the time ``t``: the rows of :func:`~dyn3d_ns.fields.motion_table`.

        Beyond the observed time the motions are held as they last were.
        """
        weights = self._weights(min(max(t, self.basis.t_min), self.basis.t_max), 0)
        return motion_table(weights, self.coefficients, self.pivots)

    def forward(self, t: float) -> RigidPoses:
        """Evaluate every motion at the time ``t``, held at the last observed time beyond it."""
        table = self.table(t)
        return RigidPoses(table[:, 12:], table[:, :9].unflatten(1, (3, 3)), table[:, 9:12])

    def twists(self, t: float) -> Float[Tensor, "K 6"]:
        """Differentiate the motions: the twist ``(u, w)`` of each about the world's origin, per unit of
        time."""
        t = min(max(t, self.basis.t_min), self.basis.t_max)
        values, rates = self.values(t, 0), self.values(t, 1)
        w = (left_jacobian(values[:, 3:]) @ rates[:, 3:].unsqueeze(-1)).squeeze(-1)
        return torch.cat([rates[:, :3] - torch.linalg.cross(w, self.pivots + values[:, :3]), w], dim=-1)

    def jerk(self, weight: float = 1.0) -> Float[Tensor, ""]:
        """Return the weighted mean square of the motions' third derivative, half of the observed time the
        unit."""
        return mean_square(self.jerk_basis, self.coefficients, weight)
