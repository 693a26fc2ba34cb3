"""The elementwise product of six planes at points of a keyframe, in one pass over the points.

Three planes span two axes of space and are read bilinearly; three span an axis and the keyframes, of which
a point reads one row linearly. A kernel takes float32 on the CPU, with channels in multiples of 16; other
tensors take the same steps with torch's operators, on any device.
"""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from dyn3d_ns.kernels.jit import inline, kernel
from dyn3d_ns.kernels.once import once
from dyn3d_ns.kernels.pool import run
from dyn3d_ns.kernels.vector import LANES, fma, lane_sum, splat
from dyn3d_ns.kernels.vector_memory import load, store

SPACE_AXES = ((0, 1), (0, 2), (1, 2))
"""Axes of the three space planes: columns by the first, rows by the second."""


@inline
def _cell(coordinate, size):
    """Return the lower grid index and the fraction of a coordinate in [-1, 1], corners at the borders."""
    position = min(max((coordinate + np.float32(1)) * np.float32(0.5), np.float32(0)), np.float32(1))
    position *= np.float32(size - 1)
    low = min(int(position), max(size - 2, 0))
    return low, position - np.float32(low)


@inline
def _corners(table, base, right, up, fx, fy):
    """Read a bilinear sample; returns the value and its slopes along columns and rows."""
    v00, v10 = load(table, base), load(table, base + right)
    v01, v11 = load(table, base + up), load(table, base + up + right)
    low, high = fma(v10 - v00, splat(fx), v00), fma(v11 - v01, splat(fx), v01)
    slope_x = fma((v11 - v01) - (v10 - v00), splat(fy), v10 - v00)
    return fma(high - low, splat(fy), low), slope_x, high - low


@inline
def _ends(table, base, right, f):
    """Read a linear sample; returns the value and its slope."""
    v0, v1 = load(table, base), load(table, base + right)
    return fma(v1 - v0, splat(f), v0), v1 - v0


@inline
def _add(table, base, weight, value):
    store(table, base, fma(value, splat(weight), load(table, base)))


@kernel
def _forward(block, points, rows, sizes, xy, xz, yz, tx, ty, tz, out):
    channels, first = out.shape[1], block * 16
    nx, ny, nz = sizes[0], sizes[1], sizes[2]
    flat = out.reshape(-1)
    for n in range(points.shape[0]):
        ix, fx = _cell(points[n, 0], nx)
        iy, fy = _cell(points[n, 1], ny)
        iz, fz = _cell(points[n, 2], nz)
        right_x, right_y = (channels if nx > 1 else 0), (channels if ny > 1 else 0)
        right_z = channels if nz > 1 else 0
        k = rows[n]
        a, _, _ = _corners(xy, (iy * nx + ix) * channels + first, right_x, right_y * nx, fx, fy)
        b, _, _ = _corners(xz, (iz * nx + ix) * channels + first, right_x, right_z * nx, fx, fz)
        c, _, _ = _corners(yz, (iz * ny + iy) * channels + first, right_y, right_z * ny, fy, fz)
        d, _ = _ends(tx, (k * nx + ix) * channels + first, right_x, fx)
        e, _ = _ends(ty, (k * ny + iy) * channels + first, right_y, fy)
        f, _ = _ends(tz, (k * nz + iz) * channels + first, right_z, fz)
        store(flat, n * channels + first, (a * b) * (c * d) * (e * f))


@inline
def _spread_corners(table, base, right, up, fx, fy, value):
    gx, gy = np.float32(1) - fx, np.float32(1) - fy
    _add(table, base, gx * gy, value)
    _add(table, base + right, fx * gy, value)
    _add(table, base + up, gx * fy, value)
    _add(table, base + up + right, fx * fy, value)


@inline
def _spread_ends(table, base, right, f, value):
    _add(table, base, np.float32(1) - f, value)
    _add(table, base + right, f, value)


@kernel
def _backward(
    block,
    needed,
    points,
    rows,
    sizes,
    xy,
    xz,
    yz,
    tx,
    ty,
    tz,
    v_out,
    v_xy,
    v_xz,
    v_yz,
    v_tx,
    v_ty,
    v_tz,
    v_points,
):
    channels, first = v_out.shape[1], block * 16
    nx, ny, nz = sizes[0], sizes[1], sizes[2]
    flat = v_out.reshape(-1)
    half = np.float32(0.5)
    for n in range(points.shape[0]):
        ix, fx = _cell(points[n, 0], nx)
        iy, fy = _cell(points[n, 1], ny)
        iz, fz = _cell(points[n, 2], nz)
        right_x, right_y = (channels if nx > 1 else 0), (channels if ny > 1 else 0)
        right_z = channels if nz > 1 else 0
        k = rows[n]
        at_xy, at_xz = (iy * nx + ix) * channels + first, (iz * nx + ix) * channels + first
        at_yz, at_tx = (iz * ny + iy) * channels + first, (k * nx + ix) * channels + first
        at_ty, at_tz = (k * ny + iy) * channels + first, (k * nz + iz) * channels + first
        a, a_x, a_y = _corners(xy, at_xy, right_x, right_y * nx, fx, fy)
        b, b_x, b_z = _corners(xz, at_xz, right_x, right_z * nx, fx, fz)
        c, c_y, c_z = _corners(yz, at_yz, right_y, right_z * ny, fy, fz)
        d, d_x = _ends(tx, at_tx, right_x, fx)
        e, e_y = _ends(ty, at_ty, right_y, fy)
        f, f_z = _ends(tz, at_tz, right_z, fz)
        v = load(flat, n * channels + first)
        ab, cd, ef = a * b, c * d, e * f
        v_ab, v_cd, v_ef = v * cd * ef, v * ab * ef, v * ab * cd
        v_a, v_b, v_c, v_d, v_e, v_f = v_ab * b, v_ab * a, v_cd * d, v_cd * c, v_ef * f, v_ef * e
        if needed:
            _spread_corners(v_xy, at_xy, right_x, right_y * nx, fx, fy, v_a)
            _spread_corners(v_xz, at_xz, right_x, right_z * nx, fx, fz, v_b)
            _spread_corners(v_yz, at_yz, right_y, right_z * ny, fy, fz, v_c)
            _spread_ends(v_tx, at_tx, right_x, fx, v_d)
            _spread_ends(v_ty, at_ty, right_y, fy, v_e)
            _spread_ends(v_tz, at_tz, right_z, fz, v_f)
        slope_x = lane_sum(v_a * a_x + v_b * b_x + v_d * d_x)
        slope_y = lane_sum(v_a * a_y + v_c * c_y + v_e * e_y)
        slope_z = lane_sum(v_b * b_z + v_c * c_z + v_f * f_z)
        v_points[n, 0] = slope_x * np.float32(nx - 1) * half if abs(points[n, 0]) <= 1 else np.float32(0)
        v_points[n, 1] = slope_y * np.float32(ny - 1) * half if abs(points[n, 1]) <= 1 else np.float32(0)
        v_points[n, 2] = slope_z * np.float32(nz - 1) * half if abs(points[n, 2]) <= 1 else np.float32(0)


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, points: Tensor, rows: Tensor, *planes: Tensor) -> Tensor:
        channels = planes[0].shape[-1]
        ctx.save_for_backward(points, rows, *planes)
        ctx.sizes = np.array([planes[0].shape[1], planes[0].shape[0], planes[1].shape[0]])
        out = points.new_empty(len(points), channels)
        flat = [p.view(-1).numpy() for p in planes]
        arrays = (points.numpy(), rows.numpy(), ctx.sizes, *flat, out.numpy())
        run(lambda block: _forward(block, *arrays), channels // LANES, "planes")
        return out

    @staticmethod
    @once
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        points, rows, *planes = ctx.saved_tensors
        blocks = planes[0].shape[-1] // LANES
        needed = any(ctx.needs_input_grad[2:])
        v_planes = [torch.zeros_like(p) if needed else torch.empty(0) for p in planes]
        # A block of channels a thread: no two write to one place, and the sums keep their order.
        v_points = points.new_empty(blocks, *points.shape)
        flat = [p.view(-1).numpy() for p in planes]
        arrays = (points.numpy(), rows.numpy(), ctx.sizes, *flat, grads[0].contiguous().numpy())
        v_flat, v_points_array = [p.view(-1).numpy() for p in v_planes], v_points.numpy()
        run(lambda b: _backward(b, needed, *arrays, *v_flat, v_points_array[b]), blocks, "planes")
        return v_points.sum(0), None, *(v if needed else None for v in v_planes)


def _linear(position: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return lower index, upper index and fraction, as ``_cell`` does."""
    place = ((position + 1) * 0.5).clamp(0, 1) * (size - 1)
    low = place.detach().long().clamp(max=max(size - 2, 0))
    return low, (low + 1).clamp(max=size - 1), (place - low).unsqueeze(-1)


def _product_torch(points: Tensor, rows: Tensor, planes: tuple[Tensor, ...]) -> Tensor:
    sizes = (planes[0].shape[1], planes[0].shape[0], planes[1].shape[0])
    cells = [_linear(points[:, axis], size) for axis, size in enumerate(sizes)]
    rows = rows.long()
    product: Tensor | None = None
    for (a, b), plane in zip(SPACE_AXES, planes[:3], strict=True):
        (a0, a1, fa), (b0, b1, fb) = cells[a], cells[b]
        low, high = torch.lerp(plane[b0, a0], plane[b0, a1], fa), torch.lerp(plane[b1, a0], plane[b1, a1], fa)
        value = torch.lerp(low, high, fb)
        product = value if product is None else product * value
    assert product is not None
    for (low, high, f), plane in zip(cells, planes[3:], strict=True):
        product = product * torch.lerp(plane[rows, low], plane[rows, high], f)
    return product


def plane_product(
    points: Float[Tensor, "N 3"], rows: Int[Tensor, "N"], planes: tuple[Float[Tensor, "..."], ...]
) -> Float[Tensor, "N C"]:
    """Multiply the samples of six planes at each point.

    Args:
        points: Positions in [-1, 1]; the outermost grid points lie on the borders, and what lies outside
            reads the border.
        rows: Keyframe of each point.
        planes: ``xy [Y, X, C]``, ``xz [Z, X, C]``, ``yz [Z, Y, C]``, then a row a keyframe: ``[K, X, C]``,
            ``[K, Y, C]``, ``[K, Z, C]``.

    Returns:
        The product of the six samples, channel by channel.
    """
    fused = planes[0].shape[-1] % LANES == 0 and points.dtype == torch.float32 and not points.is_cuda
    if fused:
        return _Product.apply(points.contiguous(), rows.int().contiguous(), *planes)  # type: ignore[no-any-return]
    return _product_torch(points, rows, planes)
