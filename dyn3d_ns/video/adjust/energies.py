"""The terms of the energy: functions of tensors that give scalars.

Poses are camera-to-world: a rotation and a centre. Samples are (frame, point) pairs in flat lists, so that
long clips with short tracks cost what they hold.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

_TURN_FLOOR = 0.02
"""Rotations below this angle (radians) count as none: their direction is noise."""
_COS_LIMIT = 1e-4
NEAREST = 1e-4
"""Depth that points nearer to the camera, or behind it, are projected at."""


def translation_smoothness(centers: Float[Tensor, "F 3"]) -> Float[Tensor, ""]:
    """Return the mean change of the camera's step, relative to the length of the steps."""
    if len(centers) < 3:
        return centers.new_zeros(())
    steps = centers[1:] - centers[:-1]
    lengths = steps.square().sum(-1).add(1e-20).sqrt()
    change = (steps[1:] - steps[:-1]).square().sum(-1).add(1e-20).sqrt()
    return (change / (0.5 * (lengths[1:] + lengths[:-1]) + 1e-6)).mean()


def rotation_smoothness(rotations: Float[Tensor, "F 3 3"]) -> Float[Tensor, ""]:
    """Return the mean change of the camera's turn, relative to the turns; small turns count as none."""
    if len(rotations) < 3:
        return rotations.new_zeros(())
    turns = rotations[:-1].mT @ rotations[1:]
    angles = _angle(turns)
    change = _angle(turns[1:] @ turns[:-1].mT)
    return (change / (0.5 * (angles[1:] + angles[:-1]) + 1e-6).clamp_min(_TURN_FLOOR)).mean()


def _angle(rotations: Float[Tensor, "N 3 3"]) -> Float[Tensor, "N"]:
    """Return rotation angles in radians, 0 below the floor."""
    cosine = 0.5 * (rotations.diagonal(dim1=-2, dim2=-1).sum(-1) - 1.0)
    angle = torch.acos(cosine.clamp(-1.0 + _COS_LIMIT, 1.0 - _COS_LIMIT))
    return torch.where(angle < _TURN_FLOOR, torch.zeros_like(angle), angle)


def step_lengths(points: Float[Tensor, "S 3"], pairs: Int[Tensor, "P 2"]) -> Float[Tensor, "P"]:
    """Return the distance between the two samples of each pair."""
    return (points[pairs[:, 1]] - points[pairs[:, 0]]).square().sum(-1).add(1e-20).sqrt()


def distance_changes(points: Float[Tensor, "S 3"], quads: Int[Tensor, "L 4"]) -> Float[Tensor, "L"]:
    """Return by how much the distance between two points changes from one frame to the next."""
    return (step_lengths(points, quads[:, 2:]) - step_lengths(points, quads[:, :2])).abs()
