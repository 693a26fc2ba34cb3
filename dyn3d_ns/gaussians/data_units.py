"""Gaussians in the data's own world, in which they leave a training."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from dyn3d_ns.gaussians.gaussians import Gaussians
from dyn3d_ns.geometry.harmonics import turn_matrices
from dyn3d_ns.geometry.world import World


def to_data_units(gaussians: Gaussians, world: World) -> Gaussians:
    """Bring Gaussians of a training back to the data's world; centres are float64 where that is shifted.

    Args:
        gaussians: As the training has them.
        world: Of the training.
    """
    if world.same:
        return gaussians
    rotation, velocities = world.transform[:3, :3], gaussians.velocities
    back = torch.from_numpy(rotation / world.scale).to(gaussians.means)
    if world.transform[:3, 3].any():
        means = torch.from_numpy(world.points_back(gaussians.means.detach().cpu().numpy()))
        means = means.to(gaussians.means.device)
    else:
        means = gaussians.means @ back
    moved = replace(
        gaussians, means=means, scales=gaussians.scales / world.scale,
        velocities=None if velocities is None else velocities @ back,
    )  # fmt: skip
    if (rotation == np.eye(3)).all():
        return moved
    x, y, z, w = Rotation.from_matrix(rotation.T).as_quat().tolist()
    count = moved.colors.shape[1]
    turn, mix = (matrix.to(moved.quats) for matrix in turn_matrices((w, x, y, z), count))
    colors = (moved.colors.flatten(1) @ mix).view_as(moved.colors)
    return replace(moved, quats=moved.quats @ turn, colors=colors)
