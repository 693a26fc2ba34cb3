"""Rigid transforms and their twists.

A twist is a 6-vector (v, w): a point x of the body moves with velocity v + w x x.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from dyn3d_ns.geometry.rotations import sinc_sq, sine_defect_sq, skew, so3_exp, so3_log, versine_sq


def se3_matrix(
    rotation: Float[Tensor, "*b 3 3"], translation: Float[Tensor, "*b 3"]
) -> Float[Tensor, "*b 4 4"]:
    """Assemble 4x4 rigid transforms."""
    top = torch.cat((rotation, translation[..., None]), dim=-1)
    bottom = top.new_tensor([0.0, 0.0, 0.0, 1.0]).expand(*top.shape[:-2], 1, 4)
    return torch.cat((top, bottom), dim=-2)


def se3_exp(twist: Float[Tensor, "*b 6"]) -> Float[Tensor, "*b 4 4"]:
    """Return the transforms reached by following constant twists (v, w) for one unit of time.

    Differentiable at zero rotation.
    """
    v, w = twist[..., :3], twist[..., 3:]
    x = w.square().sum(-1)[..., None, None]
    k = skew(w)
    eye = torch.eye(3, dtype=twist.dtype, device=twist.device)
    left = eye + versine_sq(x) * k + sine_defect_sq(x) * (k @ k)
    return se3_matrix(so3_exp(w), (left @ v[..., None]).squeeze(-1))


def se3_log(transform: Float[Tensor, "*b 4 4"]) -> Float[Tensor, "*b 6"]:
    """Return the twists (v, w) with rotation angle in [0, pi] whose exponentials are the transforms."""
    w = so3_log(transform[..., :3, :3])
    x = w.square().sum(-1)[..., None, None]
    k = skew(w)
    eye = torch.eye(3, dtype=transform.dtype, device=transform.device)
    inverse_left = eye - 0.5 * k + _inverse_left_coefficient(x) * (k @ k)
    v = (inverse_left @ transform[..., :3, 3:]).squeeze(-1)
    return torch.cat((v, w), dim=-1)


def se3_inverse(transform: Float[Tensor, "*b 4 4"]) -> Float[Tensor, "*b 4 4"]:
    """Invert rigid transforms."""
    rotation = transform[..., :3, :3].mT
    return se3_matrix(rotation, -(rotation @ transform[..., :3, 3:]).squeeze(-1))


def transform_points(
    transform: Float[Tensor, "*b 4 4"], points: Float[Tensor, "*b 3"]
) -> Float[Tensor, "*b 3"]:
    """Apply rigid (or affine) transforms to points."""
    return (transform[..., :3, :3] @ points[..., None]).squeeze(-1) + transform[..., :3, 3]


def twist_velocity(twist: Float[Tensor, "*b 6"], points: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b 3"]:
    """Return the velocities v + w x x of points that move with twists."""
    w, points = torch.broadcast_tensors(twist[..., 3:], points)
    return twist[..., :3] + torch.linalg.cross(w, points)


def _inverse_left_coefficient(x: Tensor) -> Tensor:
    """Return (1 - (a / 2) cot(a / 2)) / a^2 for a squared angle x = a^2."""
    small = x < 1e-2
    safe = torch.where(small, torch.ones_like(x), x)
    exact = (1 - sinc_sq(safe) / (2 * versine_sq(safe))) / safe
    series = 1 / 12 + x * (1 / 720 + x * (1 / 30240 + x * (1 / 1209600 + x / 47900160)))
    return torch.where(small, series, exact)
