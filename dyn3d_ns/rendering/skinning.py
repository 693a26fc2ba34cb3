"""Moving Gaussians by mixed rigid motions: the last step of linear blend skinning, in one pass over the
Gaussians.

Written with torch's operators, its many small strided ones took longer than rasterising. CUDA tensors keep
them.
"""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from dyn3d_ns.geometry.rotations import quat_multiply
from dyn3d_ns.rendering.jit import kernel
from dyn3d_ns.rendering.pool import get_num_threads, run


@kernel
def _forward(start, stop, mixed, means, quats, moved, turned):
    for i in range(start, stop):
        m = mixed[i]
        x, y, z = means[i, 0], means[i, 1], means[i, 2]
        moved[i, 0] = m[0] * x + m[1] * y + m[2] * z + m[9]
        moved[i, 1] = m[3] * x + m[4] * y + m[5] * z + m[10]
        moved[i, 2] = m[6] * x + m[7] * y + m[8] * z + m[11]
        aw, ax, ay, az = m[12], m[13], m[14], m[15]
        bw, bx, by, bz = quats[i, 0], quats[i, 1], quats[i, 2], quats[i, 3]
        turned[i, 0] = aw * bw - ax * bx - ay * by - az * bz
        turned[i, 1] = aw * bx + ax * bw + ay * bz - az * by
        turned[i, 2] = aw * by - ax * bz + ay * bw + az * bx
        turned[i, 3] = aw * bz + ax * by - ay * bx + az * bw


@kernel
def _backward(start, stop, mixed, means, quats, v_moved, v_turned, v_mixed, v_means, v_quats):
    for i in range(start, stop):
        m, g = mixed[i], v_mixed[i]
        for j in range(3):
            v_means[i, j] = m[j] * v_moved[i, 0] + m[3 + j] * v_moved[i, 1] + m[6 + j] * v_moved[i, 2]
            g[9 + j] = v_moved[i, j]
            for k in range(3):
                g[3 * j + k] = v_moved[i, j] * means[i, k]
        aw, ax, ay, az = m[12], m[13], m[14], m[15]
        bw, bx, by, bz = quats[i, 0], quats[i, 1], quats[i, 2], quats[i, 3]
        vw, vx, vy, vz = v_turned[i, 0], v_turned[i, 1], v_turned[i, 2], v_turned[i, 3]
        g[12] = vw * bw + vx * bx + vy * by + vz * bz
        g[13] = -vw * bx + vx * bw - vy * bz + vz * by
        g[14] = -vw * by + vx * bz + vy * bw - vz * bx
        g[15] = -vw * bz - vx * by + vy * bx + vz * bw
        v_quats[i, 0] = vw * aw + vx * ax + vy * ay + vz * az
        v_quats[i, 1] = -vw * ax + vx * aw + vy * az - vz * ay
        v_quats[i, 2] = -vw * ay - vx * az + vy * aw + vz * ax
        v_quats[i, 3] = -vw * az + vx * ay - vy * ax + vz * aw


def _in_pieces(function: Any, rows: int, *arrays: np.ndarray) -> None:
    pieces = min(get_num_threads(), max(rows // 2048, 1))
    bounds = [rows * i // pieces for i in range(pieces + 1)]
    run(lambda piece: function(bounds[piece], bounds[piece + 1], *arrays), pieces)


class _Apply(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, mixed: Tensor, means: Tensor, quats: Tensor) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(mixed, means, quats)
        moved, turned = torch.empty_like(means), torch.empty_like(quats)
        _in_pieces(_forward, len(means), *(x.numpy() for x in (mixed, means, quats, moved, turned)))
        return moved, turned

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mixed, means, quats = ctx.saved_tensors
        out = [torch.empty_like(x) for x in (mixed, means, quats)]
        inputs = (mixed, means, quats, grads[0].contiguous(), grads[1].contiguous(), *out)
        _in_pieces(_backward, len(means), *(x.numpy() for x in inputs))
        return out[0], out[1], out[2]


def apply_motions(
    mixed: Float[Tensor, "N 16"], means: Float[Tensor, "N 3"], quats: Float[Tensor, "N 4"]
) -> tuple[Float[Tensor, "N 3"], Float[Tensor, "N 4"]]:
    """Move and turn Gaussians by affine motions.

    Args:
        mixed: A row each: nine entries of the matrix (row by row), three of the translation, four of the
        quaternion
            (wxyz) that turns the orientation.
        means: Centres.
        quats: Orientations, wxyz.

    Returns:
        The moved centres and the turned orientations.
    """
    if mixed.is_cuda or mixed.dtype != torch.float32:
        moved = (mixed[:, :9].view(-1, 3, 3) * means[:, None, :]).sum(-1) + mixed[:, 9:12]
        return moved, quat_multiply(mixed[:, 12:], quats)
    moved, turned = _Apply.apply(mixed.contiguous(), means.contiguous(), quats.contiguous())  # type: ignore[misc]
    return moved, turned
