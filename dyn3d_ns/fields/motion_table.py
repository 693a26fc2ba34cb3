"""The rigid motions of one time as a table, and how uneven their course is; each in one call.

Sixteen motions are a few hundred numbers: written with torch's operators, forward and backward are forty
calls that take longer than moving ten thousand Gaussians. CUDA tensors and other precisions keep the
operators.
"""

import math
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from dyn3d_ns.geometry.rotations import so3_exp_quat, unit_quat_to_matrix
from dyn3d_ns.kernels.jit import inline, kernel
from dyn3d_ns.kernels.once import once

ROW = 16
"""Numbers of a rigid motion: nine of the matrix, three of the translation, four of the quaternion (wxyz)."""


@inline
def _half_angle(x, y, z):
    """Return the cosine of a rotation's half angle, the factor that makes its vector a quaternion's imaginary
    part, and that factor's slope over the angle."""
    square = x * x + y * y + z * z
    if square < 1e-4:
        return 1 - square / 8, 0.5 - square / 48, -1 / 24 + square / 960
    angle = math.sqrt(square)
    cosine, factor = math.cos(0.5 * angle), math.sin(0.5 * angle) / angle
    return cosine, factor, (0.5 * cosine - factor) / square


@inline
def _component(weights, coefficients, k, c):
    """Return one of the six numbers of a motion; the first motion is rest."""
    value = 0.0
    if k > 0:
        for j in range(len(weights)):
            value += weights[j] * coefficients[j, k - 1, c]
    return value


@kernel
def _forward(weights, coefficients, pivots, table):
    for k in range(len(table)):
        rx, ry, rz = (
            _component(weights, coefficients, k, 3),
            _component(weights, coefficients, k, 4),
            _component(weights, coefficients, k, 5),
        )
        w, factor, _ = _half_angle(rx, ry, rz)
        x, y, z = factor * rx, factor * ry, factor * rz
        row, px, py, pz = table[k], pivots[k, 0], pivots[k, 1], pivots[k, 2]
        row[0], row[1], row[2] = w * w + x * x - y * y - z * z, 2 * (x * y - w * z), 2 * (x * z + w * y)
        row[3], row[4], row[5] = 2 * (x * y + w * z), w * w - x * x + y * y - z * z, 2 * (y * z - w * x)
        row[6], row[7], row[8] = 2 * (x * z - w * y), 2 * (y * z + w * x), w * w - x * x - y * y + z * z
        row[9] = _component(weights, coefficients, k, 0) + px - row[0] * px - row[1] * py - row[2] * pz
        row[10] = _component(weights, coefficients, k, 1) + py - row[3] * px - row[4] * py - row[5] * pz
        row[11] = _component(weights, coefficients, k, 2) + pz - row[6] * px - row[7] * py - row[8] * pz
        row[12], row[13], row[14], row[15] = w, x, y, z
        for c in range(6, coefficients.shape[2]):
            row[ROW + c - 6] = _component(weights, coefficients, k, c)


@kernel
def _backward(weights, coefficients, pivots, v_table, v_coefficients):
    for k in range(1, len(v_table)):
        rx, ry, rz = (
            _component(weights, coefficients, k, 3),
            _component(weights, coefficients, k, 4),
            _component(weights, coefficients, k, 5),
        )
        w, factor, slope = _half_angle(rx, ry, rz)
        x, y, z = factor * rx, factor * ry, factor * rz
        v, px, py, pz = v_table[k], pivots[k, 0], pivots[k, 1], pivots[k, 2]
        v00, v01, v02 = v[0] - v[9] * px, v[1] - v[9] * py, v[2] - v[9] * pz
        v10, v11, v12 = v[3] - v[10] * px, v[4] - v[10] * py, v[5] - v[10] * pz
        v20, v21, v22 = v[6] - v[11] * px, v[7] - v[11] * py, v[8] - v[11] * pz
        turn_x, turn_y, turn_z = v21 - v12, v02 - v20, v10 - v01
        xy, xz, yz = v01 + v10, v02 + v20, v12 + v21
        vw = v[12] + 2 * (w * (v00 + v11 + v22) + x * turn_x + y * turn_y + z * turn_z)
        vx = v[13] + 2 * (x * (v00 - v11 - v22) + w * turn_x + y * xy + z * xz)
        vy = v[14] + 2 * (y * (v11 - v00 - v22) + w * turn_y + x * xy + z * yz)
        vz = v[15] + 2 * (z * (v22 - v00 - v11) + w * turn_z + x * xz + y * yz)
        along = slope * (rx * vx + ry * vy + rz * vz) - 0.5 * factor * vw
        v_rx, v_ry, v_rz = factor * vx + along * rx, factor * vy + along * ry, factor * vz + along * rz
        for j in range(len(weights)):
            out = v_coefficients[j, k - 1]
            out[0], out[1], out[2] = weights[j] * v[9], weights[j] * v[10], weights[j] * v[11]
            out[3], out[4], out[5] = weights[j] * v_rx, weights[j] * v_ry, weights[j] * v_rz
            for c in range(6, len(out)):
                out[c] = weights[j] * v[ROW + c - 6]


class _Table(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weights: Tensor, coefficients: Tensor, pivots: Tensor) -> Tensor:
        ctx.arrays = weights.numpy(), coefficients.numpy(), pivots.numpy()
        table = np.empty((len(pivots), ROW + coefficients.shape[2] - 6), np.float32)
        _forward(*ctx.arrays, table)
        return torch.from_numpy(table)

    @staticmethod
    @once
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, Tensor, None]:
        v_coefficients = np.empty(ctx.arrays[1].shape, np.float32)
        _backward(*ctx.arrays, grads[0].contiguous().numpy(), v_coefficients)
        return None, torch.from_numpy(v_coefficients), None


@kernel
def _square(matrix, columns, slopes, row, weight):
    """Return weight times the sum of squares of the product, and its slopes by the columns."""
    total, wide, twice = 0.0, len(row), np.float32(2 * weight)
    slopes[:] = 0
    for i in range(len(matrix)):
        row[:] = 0
        for j in range(len(columns)):
            for c in range(wide):
                row[c] += matrix[i, j] * columns[j, c]
        for c in range(wide):
            total += row[c] * row[c]
        for j in range(len(columns)):
            for c in range(wide):
                slopes[j, c] += twice * matrix[i, j] * row[c]
    return weight * total


class _MeanSquare(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, matrix: Tensor, columns: Tensor, weight: float) -> Tensor:
        a, flat = matrix.numpy(), columns.numpy().reshape(columns.shape[0], -1)
        slopes, row = np.empty(flat.shape, np.float32), np.empty(flat.shape[1], np.float32)
        value = _square(a, flat, slopes, row, weight / (a.shape[0] * flat.shape[1]))
        ctx.slopes = slopes.reshape(columns.shape)
        return torch.scalar_tensor(value)

    @staticmethod
    @once
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, Tensor, None]:
        return None, torch.from_numpy(ctx.slopes * np.float32(grads[0].item())), None


def _ours(tensor: Tensor) -> bool:
    return tensor.is_cpu and tensor.dtype == torch.float32


def motion_table(
    weights: Float[Tensor, "J"], coefficients: Float[Tensor, "J M 6+L"], pivots: Float[Tensor, "1+M 3"]
) -> Float[Tensor, "1+M 16+L"]:
    """Put the motions of one time into a table: ``x -> R(r) (x - p) + p + d`` and what bends before that.

    Args:
        weights: Values of the functions of time.
        coefficients: What each function adds to the shift ``d`` (first three), the rotation vector ``r``
            (radians) and the L latent motions of each motion but the first, which is rest.
        pivots: The points ``p`` that the motions turn about.

    Returns:
        A motion a row: nine entries of the matrix (row by row), three of the translation, four of the
        quaternion (wxyz), and the latent motions. Gradients go to the coefficients alone.
    """
    if _ours(coefficients):
        return _Table.apply(weights, coefficients.contiguous(), pivots)  # type: ignore[no-any-return]
    moving = torch.tensordot(weights, coefficients, dims=1)
    values = torch.cat([moving.new_zeros(1, moving.shape[1]), moving])
    quats = so3_exp_quat(values[:, 3:6])
    turned = (unit_quat_to_matrix(quats) @ pivots.unsqueeze(-1)).squeeze(-1)
    return motion_rows(quats, pivots - turned + values[:, :3], values[:, 6:])


def motion_rows(
    quats: Float[Tensor, "K 4"], translations: Float[Tensor, "K 3"], latents: Float[Tensor, "K L"]
) -> Float[Tensor, "K 16+L"]:
    """Put rigid motions ``x -> R x + t`` (quaternions of length one) and latent motions into a table."""
    return torch.cat([unit_quat_to_matrix(quats).flatten(1), translations, quats, latents], dim=1)


def mean_square(
    matrix: Float[Tensor, "T J"], columns: Float[Tensor, "J *C"], weight: float = 1.0
) -> Float[Tensor, ""]:
    """Return the weighted mean square of ``matrix @ columns``; the matrix gets no gradient."""
    if _ours(columns):
        return _MeanSquare.apply(matrix, columns.contiguous(), weight)  # type: ignore[no-any-return]
    return weight * (matrix @ columns.flatten(1)).square().mean()
