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
    from dyn3d_ns.geometry.harmonics import turn_matrices

    x, y, z, w = turn.as_quat().tolist()
    by, mix = (matrix.numpy() for matrix in turn_matrices((w, x, y, z), table.sh.shape[1]))
    sh = table.sh.reshape(len(table.sh), -1).astype(np.float64) @ mix
    return table.quats.astype(np.float64) @ by, sh.reshape(table.sh.shape)
