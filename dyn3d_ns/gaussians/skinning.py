"""Moving Gaussians by mixed rigid motions (linear blend skinning), in one pass over the Gaussians.

Written with torch's operators, its many small strided ones took longer than rasterising. CUDA tensors keep
them.
"""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from dyn3d_ns.fields.motion_table import ROW
from dyn3d_ns.geometry.rotations import quat_multiply
from dyn3d_ns.kernels.jit import kernel
from dyn3d_ns.kernels.once import once
from dyn3d_ns.kernels.pool import pieces_of, run
from dyn3d_ns.kernels.vector import LANES, fma, splat
from dyn3d_ns.kernels.vector_memory import load, store


@kernel
def _forward(start, stop, codes, table, means, quats, moved, turned, scratch):
    m, motions = scratch[:ROW], codes.shape[1]
    for i in range(start, stop):
        mixed = splat(np.float32(0))
        for k in range(motions):
            mixed = fma(load(table, ROW * k), splat(codes[i, k]), mixed)
        store(m, 0, mixed)
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
def _backward(
    start,
    stop,
    codes,
    table,
    columns,
    means,
    quats,
    v_moved,
    v_turned,
    v_codes,
    v_means,
    v_quats,
    v_table,
    scratch,
):
    m, g, slopes = scratch[:ROW], scratch[ROW : 2 * ROW], scratch[2 * ROW :]
    stride, motions = columns.shape[0] // ROW, codes.shape[1]
    for i in range(start, stop):
        mixed = splat(np.float32(0))
        for k in range(motions):
            mixed = fma(load(table, ROW * k), splat(codes[i, k]), mixed)
        store(m, 0, mixed)
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
        v_mixed = load(g, 0)
        for k in range(motions):
            store(v_table, ROW * k, fma(v_mixed, splat(codes[i, k]), load(v_table, ROW * k)))
        for block in range(0, stride, LANES):
            slope = splat(np.float32(0))
            for j in range(ROW):
                slope = fma(load(columns, j * stride + block), splat(g[j]), slope)
            store(slopes, block, slope)
        for k in range(motions):
            v_codes[i, k] = slopes[k]


class _Apply(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, codes: Tensor, table: Tensor, means: Tensor, quats: Tensor
    ) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(codes, table, means, quats)
        moved, turned = torch.empty_like(means), torch.empty_like(quats)
        arrays = [x.numpy() for x in (codes, table, means, quats, moved, turned)]
        arrays[1] = arrays[1].ravel()
        bounds = pieces_of(means.shape[0])

        def work(piece: int) -> None:
            _forward(bounds[piece], bounds[piece + 1], *arrays, np.empty(ROW, np.float32))

        run(work, len(bounds) - 1)
        return moved, turned

    @staticmethod
    @once
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        codes, table, means, quats = ctx.saved_tensors
        bounds = pieces_of(means.shape[0])
        v_codes, v_means, v_quats = (torch.empty_like(x) for x in (codes, means, quats))
        # Every piece has its own sum, added in order: the result does not depend on who was first.
        v_table = np.zeros((len(bounds) - 1, table.numel()), np.float32)
        columns = np.zeros((ROW, -(-len(table) // LANES) * LANES), np.float32)
        columns[:, : len(table)] = table.numpy().T
        inputs = [codes.numpy(), table.numpy().ravel(), columns.ravel(), means.numpy(), quats.numpy()]
        inputs += [x.contiguous().numpy() for x in grads]
        outputs = [x.numpy() for x in (v_codes, v_means, v_quats)]

        def work(piece: int) -> None:
            scratch = np.empty(2 * ROW + columns.shape[1], np.float32)
            _backward(bounds[piece], bounds[piece + 1], *inputs, *outputs, v_table[piece], scratch)

        run(work, len(bounds) - 1)
        total = v_table.sum(axis=0) if len(v_table) > 1 else v_table[0]
        return v_codes, torch.from_numpy(total).view_as(table), v_means, v_quats


def apply_motions(
    codes: Float[Tensor, "N K"],
    table: Float[Tensor, "K 16"],
    means: Float[Tensor, "N 3"],
    quats: Float[Tensor, "N 4"],
) -> tuple[Float[Tensor, "N 3"], Float[Tensor, "N 4"]]:
    """Move and turn Gaussians by mixtures of K motions.

    Args:
        codes: Weights of the motions.
        table: A motion a row: nine entries of the matrix (row by row), three of the translation, four of the
            quaternion (wxyz) that turns the orientation.
        means: Centres.
        quats: Orientations, wxyz.

    Returns:
        The moved centres and the turned orientations.
    """
    if means.is_cuda or means.dtype != torch.float32:
        mixed = codes @ table
        moved = (mixed[:, :9].view(-1, 3, 3) * means[:, None, :]).sum(-1) + mixed[:, 9:12]
        return moved, quat_multiply(mixed[:, 12:], quats)
    moved, turned = _Apply.apply(*(x.contiguous() for x in (codes, table, means, quats)))  # type: ignore[misc]
    return moved, turned
