"""Gaussians in the data's own world, in which they leave a training."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from scipy.spatial.transform import Rotation
from torch import Tensor

from dyn3d_ns.gaussians.gaussians import Gaussians
from dyn3d_ns.geometry.harmonics import rotate_harmonics
from dyn3d_ns.geometry.rotations import quat_multiply
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
    turn, mix = (matrix.to(moved.quats) for matrix in _products((w, x, y, z), count))
    colors = (moved.colors.flatten(1) @ mix).view_as(moved.colors)
    return replace(moved, quats=moved.quats @ turn, colors=colors)


@functools.lru_cache(maxsize=8)
def _products(
    turn: tuple[float, float, float, float], count: int
) -> tuple[Float[Tensor, "4 4"], Float[Tensor, "D D"]]:
    """Return what a turn (wxyz) makes of quaternions and of colours of so many coefficients, as matrices.

    Both are linear: the rows are what becomes of the unit ones. One product with them is several times as
    fast as one for every Gaussian.
    """
    quat = torch.tensor([turn], dtype=torch.float64)
    quats = quat_multiply(quat.expand(4, 4), torch.eye(4, dtype=torch.float64))
    rest = count - 1
    units = torch.eye(rest, dtype=torch.float64)[..., None].expand(rest, rest, 3)
    turned = rotate_harmonics(units, quat.expand(rest, 4))[..., 0] if rest else torch.zeros(0, 0)
    mix = torch.block_diag(torch.ones(1, 1, dtype=torch.float64), turned.double())
    return quats, torch.kron(mix, torch.eye(3, dtype=torch.float64))
