"""Gaussians in the data's own world, in which they leave a training."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from dyn3d_ns.gaussians.gaussians import Gaussians
from dyn3d_ns.geometry.harmonics import rotate_harmonics
from dyn3d_ns.geometry.rotations import quat_multiply
from dyn3d_ns.geometry.world import World


def to_data_units(gaussians: Gaussians, world: World) -> Gaussians:
    """Bring Gaussians of a training back to the data's world; centres are float64 where that is another.

    Args:
        gaussians: As the training has them.
        world: Of the training.
    """
    if world.same:
        return gaussians
    means = torch.from_numpy(world.points_back(gaussians.means.detach().cpu().numpy()))
    velocities = gaussians.velocities
    if velocities is not None:
        velocities = torch.from_numpy(world.vectors_back(velocities.detach().cpu().numpy())).to(velocities)
    moved = replace(
        gaussians, means=means.to(gaussians.means.device), scales=gaussians.scales / world.scale,
        velocities=velocities,
    )  # fmt: skip
    rotation = world.transform[:3, :3]
    if (rotation == np.eye(3)).all():
        return moved
    x, y, z, w = Rotation.from_matrix(rotation.T).as_quat()
    turn = torch.tensor([[w, x, y, z]]).to(moved.quats)
    colors = moved.colors
    if colors.shape[1] > 1:
        colors = torch.cat([colors[:, :1], rotate_harmonics(colors[:, 1:], turn)], dim=1)
    return replace(moved, quats=quat_multiply(turn.expand_as(moved.quats), moved.quats), colors=colors)
