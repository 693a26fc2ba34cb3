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


def reprojection_by_frame(
    predicted: Float[Tensor, "S 2"],
    pixels: Float[Tensor, "S 2"],
    frames: Int[Tensor, "S"],
    count: int,
) -> Float[Tensor, ""]:
    """Return the mean distance in pixels within each frame, averaged over the frames that have samples."""
    miss = (predicted - pixels).square().sum(-1).add(1e-12).sqrt()
    total = miss.new_zeros(count).index_add(0, frames, miss)
    number = miss.new_zeros(count).index_add(0, frames, torch.ones_like(miss))
    seen = number > 0
    return (total[seen] / number[seen]).mean()


def depth_prior(depth: Float[Tensor, "S"], prior: Float[Tensor, "S"]) -> Float[Tensor, ""]:
    """Return the mean absolute difference of the logarithms of depth: it holds the scale."""
    return (depth.clamp_min(1e-4).log() - prior.clamp_min(1e-4).log()).abs().mean()


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


def motion_smoothness(points: Float[Tensor, "S 3"], pairs: Int[Tensor, "P 2"]) -> Float[Tensor, ""]:
    """Return the mean length of the step of a moving point between frames in a row."""
    if len(pairs) == 0:
        return points.new_zeros(())
    return step_lengths(points, pairs).mean()


def step_lengths(points: Float[Tensor, "S 3"], pairs: Int[Tensor, "P 2"]) -> Float[Tensor, "P"]:
    """Return the distance between the two samples of each pair."""
    return (points[pairs[:, 1]] - points[pairs[:, 0]]).square().sum(-1).add(1e-20).sqrt()


def rigidity(points: Float[Tensor, "S 3"], quads: Int[Tensor, "L 4"]) -> Float[Tensor, ""]:
    """Return the mean change of the distance between neighbours from one frame to the next.

    A row of `quads` holds the samples of point and neighbour in a frame, then in the next one.
    """
    if len(quads) == 0:
        return points.new_zeros(())
    return distance_changes(points, quads).mean()


def distance_changes(points: Float[Tensor, "S 3"], quads: Int[Tensor, "L 4"]) -> Float[Tensor, "L"]:
    """Return by how much the distance between two points changes from one frame to the next."""
    return (step_lengths(points, quads[:, 2:]) - step_lengths(points, quads[:, :2])).abs()
