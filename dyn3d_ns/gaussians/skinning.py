"""Moving Gaussians by the motions that they follow, in one pass over the Gaussians.

What bends is shifted and turned in the canonical frame first, by latent motions of time that a body shares
and coefficients of each Gaussian (DynMF, ParticleGS); then it is carried by mixed rigid motions (linear blend
skinning). What follows the first motion alone rests, and costs nothing. Written with torch's operators, the
many small strided ones took longer than rasterising. CUDA tensors keep them.
"""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from dyn3d_ns.fields.motion_table import ROW
from dyn3d_ns.geometry.rotations import quat_multiply
from dyn3d_ns.kernels.jit import inline, kernel
from dyn3d_ns.kernels.once import once
from dyn3d_ns.kernels.pool import pieces_of, run
from dyn3d_ns.kernels.vector import LANES, fma, splat
from dyn3d_ns.kernels.vector_memory import load, store

BEND = 8
"""Numbers by which a Gaussian follows a latent motion: three of the place, four of the quaternion (wxyz), and
one that is not used, so that two latent motions fill a vector."""


@inline
def _mix(i, codes, table, stride, m):
    """Mix the rows of a table with a Gaussian's code; most weights are zero where bodies are told apart."""
    zero = splat(np.float32(0))
    for block in range(0, stride, LANES):
        store(m, block, zero)
    for k in range(codes.shape[1]):
        share = codes[i, k]
        if share != 0:
            for block in range(0, stride, LANES):
                store(m, block, fma(load(table, stride * k + block), splat(share), load(m, block)))


@inline
def _bend(i, means, quats, bends, stride, m, bent):
    """Shift and turn a Gaussian in the canonical frame: place and quaternion."""
    total, row = splat(np.float32(0)), i * (stride - ROW)
    for block in range(ROW, stride, LANES):
        total = fma(load(bends, row + block - ROW), load(m, block), total)
    store(bent, 0, total)
    for c in range(3):
        bent[c] += bent[BEND + c] + means[i, c]
    for c in range(4):
        bent[3 + c] += bent[BEND + 3 + c] + quats[i, c]


@kernel
def _forward(start, stop, codes, table, stride, bends, means, quats, moved, turned, scratch):
    m, bent = scratch[:stride], scratch[stride:]
    for i in range(start, stop):
        if codes[i, 0] == 1:
            for c in range(3):
                moved[i, c] = means[i, c]
            for c in range(4):
                turned[i, c] = quats[i, c]
            continue
        _mix(i, codes, table, stride, m)
        _bend(i, means, quats, bends, stride, m, bent)
        x, y, z = bent[0], bent[1], bent[2]
        moved[i, 0] = m[0] * x + m[1] * y + m[2] * z + m[9]
        moved[i, 1] = m[3] * x + m[4] * y + m[5] * z + m[10]
        moved[i, 2] = m[6] * x + m[7] * y + m[8] * z + m[11]
        aw, ax, ay, az = m[12], m[13], m[14], m[15]
        bw, bx, by, bz = bent[3], bent[4], bent[5], bent[6]
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
    stride,
    columns,
    bends,
    means,
    quats,
    v_moved,
    v_turned,
    v_codes,
    v_bends,
    v_means,
    v_quats,
    v_table,
    scratch,
):
    lanes, zero = len(columns) // stride, splat(np.float32(0))
    m, g = scratch[:stride], scratch[stride : 2 * stride]
    bent, pulled = scratch[2 * stride : 2 * stride + LANES], scratch[2 * stride + LANES : 2 * stride + 32]
    slopes = scratch[2 * stride + 32 :]
    pulled[BEND - 1] = pulled[2 * BEND - 1] = 0
    for i in range(start, stop):
        row = i * (stride - ROW)
        if len(v_codes) == 0 and codes[i, 0] == 1:
            for c in range(3):
                v_means[i, c] = v_moved[i, c]
            for c in range(4):
                v_quats[i, c] = v_turned[i, c]
            for block in range(0, stride - ROW, LANES):
                store(v_bends, row + block, zero)
            continue
        _mix(i, codes, table, stride, m)
        _bend(i, means, quats, bends, stride, m, bent)
        for j in range(3):
            pulled[j] = m[j] * v_moved[i, 0] + m[3 + j] * v_moved[i, 1] + m[6 + j] * v_moved[i, 2]
            g[9 + j] = v_moved[i, j]
            for k in range(3):
                g[3 * j + k] = v_moved[i, j] * bent[k]
        aw, ax, ay, az = m[12], m[13], m[14], m[15]
        bw, bx, by, bz = bent[3], bent[4], bent[5], bent[6]
        vw, vx, vy, vz = v_turned[i, 0], v_turned[i, 1], v_turned[i, 2], v_turned[i, 3]
        g[12] = vw * bw + vx * bx + vy * by + vz * bz
        g[13] = -vw * bx + vx * bw - vy * bz + vz * by
        g[14] = -vw * by + vx * bz + vy * bw - vz * bx
        g[15] = -vw * bz - vx * by + vy * bx + vz * bw
        pulled[3] = vw * aw + vx * ax + vy * ay + vz * az
        pulled[4] = -vw * ax + vx * aw + vy * az - vz * ay
        pulled[5] = -vw * ay - vx * az + vy * aw + vz * ax
        pulled[6] = -vw * az + vx * ay - vy * ax + vz * aw
        for c in range(3):
            v_means[i, c] = pulled[c]
        for c in range(4):
            v_quats[i, c] = pulled[3 + c]
        for c in range(BEND - 1):
            pulled[BEND + c] = pulled[c]
        pull = load(pulled, 0)
        for block in range(ROW, stride, LANES):
            store(v_bends, row + block - ROW, pull * load(m, block))
            store(g, block, pull * load(bends, row + block - ROW))
        for k in range(codes.shape[1]):
            share = codes[i, k]
            if share != 0:
                for block in range(0, stride, LANES):
                    at = stride * k + block
                    store(v_table, at, fma(load(g, block), splat(share), load(v_table, at)))
        if len(v_codes):
            for block in range(0, lanes, LANES):
                slope = splat(np.float32(0))
                for j in range(stride):
                    slope = fma(load(columns, j * lanes + block), splat(g[j]), slope)
                store(slopes, block, slope)
            for k in range(codes.shape[1]):
                v_codes[i, k] = slopes[k]


def _spread(table: Tensor) -> np.ndarray:
    """Return the table with each latent motion repeated for every number that follows it."""
    rows = table.numpy()
    return np.concatenate([rows[:, :ROW], np.repeat(rows[:, ROW:], BEND, axis=1)], axis=1)


class _Apply(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, codes: Tensor, table: Tensor, bends: Tensor, means: Tensor, quats: Tensor
    ) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(codes, bends, means, quats)
        ctx.spread = spread = _spread(table)
        moved, turned = torch.empty_like(means), torch.empty_like(quats)
        stride = spread.shape[1]
        arrays = [codes.numpy(), spread.ravel(), stride, bends.numpy().ravel()]
        arrays += [x.numpy() for x in (means, quats, moved, turned)]
        bounds = pieces_of(means.shape[0])

        def work(piece: int) -> None:
            _forward(bounds[piece], bounds[piece + 1], *arrays, np.empty(stride + LANES, np.float32))

        run(work, len(bounds) - 1)
        return moved, turned

    @staticmethod
    @once
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor, Tensor, Tensor, Tensor]:
        codes, bends, means, quats = ctx.saved_tensors
        spread, coded = ctx.spread, ctx.needs_input_grad[0]
        bounds, (motions, stride) = pieces_of(means.shape[0]), spread.shape
        v_codes = torch.empty_like(codes) if coded else codes.new_empty(0, motions)
        v_bends, v_means, v_quats = (torch.empty_like(x) for x in (bends, means, quats))
        # Every piece has its own sum, added in order: the result does not depend on who was first.
        v_table = np.zeros((len(bounds) - 1, spread.size), np.float32)
        columns = np.zeros((stride, -(-motions // LANES) * LANES), np.float32)
        columns[:, :motions] = spread.T
        inputs = [codes.numpy(), spread.ravel(), stride, columns.ravel(), bends.numpy().ravel()]
        inputs += [x.contiguous().numpy() for x in (means, quats, *grads)]
        outputs = [v_codes.numpy(), v_bends.numpy().ravel(), v_means.numpy(), v_quats.numpy()]

        def work(piece: int) -> None:
            scratch = np.empty(2 * stride + 2 * LANES + columns.shape[1], np.float32)
            _backward(bounds[piece], bounds[piece + 1], *inputs, *outputs, v_table[piece], scratch)

        run(work, len(bounds) - 1)
        total = (v_table.sum(axis=0) if len(v_table) > 1 else v_table[0]).reshape(motions, stride)
        latents = total[:, ROW:].reshape(motions, -1, BEND).sum(axis=2)
        slopes = torch.from_numpy(np.concatenate([total[:, :ROW], latents], axis=1))
        return v_codes if coded else None, slopes, v_bends, v_means, v_quats


def apply_motions(
    codes: Float[Tensor, "N K"],
    table: Float[Tensor, "K 16+L"],
    bends: Float[Tensor, "N L 8"],
    means: Float[Tensor, "N 3"],
    quats: Float[Tensor, "N 4"],
) -> tuple[Float[Tensor, "N 3"], Float[Tensor, "N 4"]]:
    """Bend Gaussians, then move and turn them by mixtures of K motions.

    Args:
        codes: Weights of the motions; a Gaussian whose first is exactly 1 rests.
        table: A motion a row: nine entries of the matrix (row by row), three of the translation, four of the
            quaternion (wxyz) that turns the orientation, and the values of L latent motions.
        bends: What each latent motion adds to a Gaussian's canonical place (first three) and quaternion
            (wxyz); the last of each eight is not used, and L is even.
        means: Centres.
        quats: Orientations, wxyz.

    Returns:
        The moved centres and the turned orientations.
    """
    if means.is_cuda or means.dtype != torch.float32:
        mixed = codes @ table
        bent = torch.einsum("nl,nlc->nc", mixed[:, ROW:], bends)
        means, quats = means + bent[:, :3], quats + bent[:, 3:7]
        moved = (mixed[:, :9].view(-1, 3, 3) * means[:, None, :]).sum(-1) + mixed[:, 9:12]
        return moved, quat_multiply(mixed[:, 12:16], quats)
    arguments = (codes, table, bends, means, quats)
    moved, turned = _Apply.apply(*(x.contiguous() for x in arguments))  # type: ignore[misc]
    return moved, turned


def velocities(
    codes: Float[Tensor, "N K"],
    table: Float[Tensor, "K 16+L"],
    rates: Float[Tensor, "K 16+L"],
    bends: Float[Tensor, "N L 8"],
    means: Float[Tensor, "N 3"],
) -> Float[Tensor, "N 3"]:
    """Return how fast :func:`apply_motions` moves the centres, given the table's rate of change."""
    mixed, rate = codes @ table, codes @ rates
    bent = means + torch.einsum("nl,nlc->nc", mixed[:, ROW:], bends[..., :3])
    bending = torch.einsum("nl,nlc->nc", rate[:, ROW:], bends[..., :3])
    turning = (rate[:, :9].view(-1, 3, 3) * bent[:, None, :]).sum(-1) + rate[:, 9:12]
    return turning + (mixed[:, :9].view(-1, 3, 3) * bending[:, None, :]).sum(-1)
