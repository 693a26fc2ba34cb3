"""Gaussians under a transform of the scene graph that they hang in."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Float64
from scipy.spatial.transform import Rotation

from dyn3d_ns.io.errors import DamagedFileError
from dyn3d_ns.io.splat_files.table import Table

_TOLERANCE = 1e-3


def placed(table: Table, world: Float64[np.ndarray, "4 4"], where: str) -> Table:
    """Return Gaussians turned, scaled and shifted, their view-dependent colours turned as well.

    Args:
        table: In their own axes.
        world: Their axes to those of the file; acts on columns.
        where: Name of what hangs there, for the message.

    Raises:
        DamagedFileError: it stretches, shears or mirrors, which Gaussians with their colours cannot follow.
    """
    if (world == np.eye(4)).all():
        return table
    linear = world[:3, :3]
    scale = float(np.cbrt(abs(np.linalg.det(linear)))) if np.isfinite(world).all() else 0.0
    if not scale or np.abs(linear.T @ linear / scale**2 - np.eye(3)).max() > _TOLERANCE:
        raise DamagedFileError(
            f"{where} is stretched or sheared by its transform; apply the transform to the Gaussians first"
        )
    if np.linalg.det(linear) < 0:
        raise DamagedFileError(f"{where} is mirrored by its transform; apply it to the Gaussians first")
    turn = Rotation.from_matrix(linear / scale)
    if turn.magnitude() < 1e-7:
        quats, sh = table.quats, table.sh
    else:
        quats, sh = _turned(table, turn)
    # Not rounded to float32: a scene graph may lead far away.
    means = table.means.astype(np.float64) @ linear.T + world[:3, 3]
    return replace(table, means=means, quats=quats, scales=table.scales * scale, sh=sh)


def _turned(table: Table, turn: Rotation) -> tuple[np.ndarray, np.ndarray]:
    import torch

    from dyn3d_ns.geometry.harmonics import rotate_harmonics
    from dyn3d_ns.geometry.rotations import quat_multiply

    x, y, z, w = turn.as_quat()
    by = torch.tensor([[w, x, y, z]], dtype=torch.float64)
    quats = quat_multiply(by, torch.from_numpy(table.quats.astype(np.float64))).numpy()
    sh = table.sh
    if sh.shape[1] > 1:
        # Linear in the coefficients: one rotation for all, so that it is made once.
        count = len(sh)
        flat = torch.from_numpy(sh[:, 1:].astype(np.float64)).permute(1, 0, 2).reshape(1, sh.shape[1] - 1, -1)
        rest = rotate_harmonics(flat, by).reshape(-1, count, 3).permute(1, 0, 2)
        sh = np.concatenate([sh[:, :1], rest.numpy()], axis=1)
    return quats, sh
