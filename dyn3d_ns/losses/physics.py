"""Physics of a velocity field, from its analytic derivatives (NVFi, section 3.3).

They take velocities and Jacobians, whatever field these come from: one with coefficients of place and time,
or the twists of motion codes, whose divergence is zero by construction.
"""

from jaxtyping import Float
from torch import Tensor


def divergence(jacobian: Float[Tensor, "*B 3 D"]) -> Float[Tensor, "*B"]:
    """Return ``∇·v``, the trace of the spatial part of the velocity's Jacobian."""
    return jacobian[..., 0, 0] + jacobian[..., 1, 1] + jacobian[..., 2, 2]


def material_rate(velocity: Float[Tensor, "N 3"], gradient: Float[Tensor, "N O 4"]) -> Float[Tensor, "N O"]:
    """Return the rate that matter feels, ``∂q/∂t + (v·∇) q``, of a quantity with the given gradient."""
    return gradient[..., 3] + (gradient[..., :3] @ velocity[..., None])[..., 0]


def divergence_loss(jacobian: Float[Tensor, "N 3 4"]) -> Float[Tensor, ""]:
    """Return the mean square of the divergence."""
    return divergence(jacobian).square().mean()


def transport_loss(
    velocity: Float[Tensor, "N 3"],
    jacobian: Float[Tensor, "N 3 4"],
    acceleration: Float[Tensor, "N 3"],
) -> Float[Tensor, ""]:
    """Return the mean square, over components too, of ``∂v/∂t + (v·∇) v - a``."""
    return (material_rate(velocity, jacobian) - acceleration).square().mean()


def steady_drive_loss(
    velocity: Float[Tensor, "N 3"], drive_gradient: Float[Tensor, "N O 4"]
) -> Float[Tensor, ""]:
    """Return the mean square rate at which the acceleration's coefficients change along with the matter.

    NVFi leaves the acceleration field free, so beyond the observed time only the networks' smoothness decides
    how motion goes on. A body that falls, or turns steadily, keeps its coefficients; this asks for that.
    """
    return material_rate(velocity, drive_gradient).square().mean()
