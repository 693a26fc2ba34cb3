"""Twists of rigid motions.

A twist is a 6-vector (v, w): a point x of the body moves with velocity v + w x x.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def twist_velocity(twist: Float[Tensor, "*b 6"], points: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b 3"]:
    """Return the velocities v + w x x of points that move with twists."""
    w, points = torch.broadcast_tensors(twist[..., 3:], points)
    return twist[..., :3] + torch.linalg.cross(w, points)
