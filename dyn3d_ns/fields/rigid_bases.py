"""The six rigid-motion bases that velocities are built from.

A twist ``(u, w)`` moves the point ``x`` with the velocity ``u + w × x``: three translations and three
rotations about the origin. With coefficients that do not depend on ``x`` such a field has an antisymmetric
gradient, so it is divergence-free exactly and not by a penalty (NVFi, eq. 6; FreeGave, eq. 4).
"""

import torch
from jaxtyping import Float
from torch import Tensor


def rigid_bases(x: Float[Tensor, "*B 3"]) -> Float[Tensor, "*B 6 3"]:
    """Evaluate the velocity of each unit twist at ``x``: the axes, then the axes crossed with ``x``."""
    axes = torch.eye(3, dtype=x.dtype, device=x.device).expand(*x.shape[:-1], 3, 3)
    return torch.cat([axes, torch.linalg.cross(axes, x.unsqueeze(-2).expand(axes.shape))], dim=-2)


def centripetal_bases(x: Float[Tensor, "*B 3"]) -> Float[Tensor, "*B 6 3"]:
    """Evaluate the acceleration bases of NVFi: the axes, then ``w × (w × x)`` for a unit turn about each
    axis."""
    axes = torch.eye(3, dtype=x.dtype, device=x.device).expand(*x.shape[:-1], 3, 3)
    turning = axes * (axes * x.unsqueeze(-2)).sum(-1, keepdim=True) - x.unsqueeze(-2)
    return torch.cat([axes, turning], dim=-2)
