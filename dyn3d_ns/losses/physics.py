"""Physics of a velocity field, from its analytic derivatives (NVFi, section 3.3).

They take velocities and Jacobians, whatever field these come from: one with coefficients of place and time,
or the twists of motion codes, whose divergence is zero by construction.
"""

from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor

STILL = 1e-4
"""Mean square below which spin and jerk, in half-widths and units of normalised time, count as none."""


class Motion(Protocol):
    """How matter moves at points, and the derivatives of that by x, y, z and t."""

    @property
    def velocity(self) -> Float[Tensor, "N 3"]: ...
    @property
    def jacobian(self) -> Float[Tensor, "N 3 4"]: ...
    @property
    def acceleration_jacobian(self) -> Float[Tensor, "N 3 4"]: ...
    @property
    def spin(self) -> Float[Tensor, "N 3"]: ...
    @property
    def spin_gradient(self) -> Float[Tensor, "N 3 4"]: ...


def divergence(jacobian: Float[Tensor, "*B 3 D"]) -> Float[Tensor, "*B"]:
    """Return ``∇·v``, the trace of the spatial part of the velocity's Jacobian."""
    return jacobian[..., 0, 0] + jacobian[..., 1, 1] + jacobian[..., 2, 2]


def material_rate(velocity: Float[Tensor, "N 3"], gradient: Float[Tensor, "N O 4"]) -> Float[Tensor, "N O"]:
    """Return the rate that matter feels, ``∂q/∂t + (v·∇) q``, of a quantity with the given gradient."""
    return gradient[..., 3] + (gradient[..., :3] @ velocity[..., None])[..., 0]


def divergence_loss(jacobian: Float[Tensor, "N 3 4"]) -> Float[Tensor, ""]:
    """Return the mean square of the divergence."""
    return divergence(jacobian).square().mean()


def transport_loss(rate: Float[Tensor, "N 3"], acceleration: Float[Tensor, "N 3"]) -> Float[Tensor, ""]:
    """Return the mean square, over components too, of ``∂v/∂t + (v·∇) v - a``, the first two by
    :func:`material_rate`."""
    return (rate - acceleration).square().mean()


def steady_motion_loss(motion: Motion) -> Float[Tensor, ""]:
    """Return how far matter is from going on as a free body does, relative to how it moves.

    NVFi leaves the acceleration field free, so beyond the observed time only the networks' smoothness decides
    how motion goes on. A free body keeps its angular velocity ``ω``, about whatever axis and centre it turns,
    and what its acceleration has beside the turning, ``a - ω × v``: zero where it turns about a point at
    rest, gravity where it falls. Neither holds for the coefficients of the six centripetal bases, which stay
    the same only for turns about the box's own axes. The mean squares of both rates are divided by those of
    ``ω`` and of the rates' parts, so that slowing down gains nothing.
    """
    spin_rate = material_rate(motion.velocity, motion.spin_gradient)
    jerk = material_rate(motion.velocity, motion.acceleration_jacobian)
    turned = torch.linalg.cross(motion.spin, material_rate(motion.velocity, motion.jacobian))
    rest_rate = jerk - turned - torch.linalg.cross(spin_rate, motion.velocity)
    turn = spin_rate.square().mean() / (motion.spin.square().mean() + STILL)
    return turn + rest_rate.square().mean() / (jerk.square().mean() + turned.square().mean() + STILL)
