"""Gradients of the projection, 16 Gaussians at a time; the forward is computed again, nothing of it is
stored. Gaussians that the blend has no gradient for, hidden behind others, are left out."""

import numpy as np

from dyn3d_ns.kernels.jit import inline, kernel
from dyn3d_ns.kernels.types import F32, F64, I32, Lanes, Mask
from dyn3d_ns.kernels.vector import LANES, first_lanes, lane_sum, select, splat, sqrt, vmax
from dyn3d_ns.kernels.vector_memory import gather_at, scatter_at
from dyn3d_ns.rendering.cameras import (
    image_point,
    image_point_grad,
    read_camera,
    rows_times_rotation,
    rows_times_rotation_transposed,
    to_camera,
)
from dyn3d_ns.rendering.covariance import axes_of, cross, rows_times_covars, spread_matrix

SPAN = 1024
"""Gaussians among which those with a gradient are listed at once."""


@inline
def _conic_to_covariance_grad(
    a: Lanes, b: Lanes, c: Lanes, va: Lanes, vb: Lanes, vc: Lanes,
) -> tuple[Lanes, ...]:  # fmt: skip
    """Return the gradient of the covariance (xx, xy once, yy) from that of its inverse (a, b, c)."""
    hb = 0.5 * vb
    t00, t01 = va * a + hb * b, va * b + hb * c
    t10, t11 = hb * a + vc * b, hb * b + vc * c
    return -(a * t00 + b * t10), -2.0 * (a * t01 + b * t11), -(b * t01 + c * t11)


@inline
def _quaternion_grad(unit: tuple[Lanes, ...], inverse: Lanes, g: tuple[Lanes, ...]) -> tuple[Lanes, ...]:
    """Return the gradient of the unnormalised quaternion from that of its rotation matrix."""
    w, x, y, z = unit
    vw = 2.0 * (x * (g[7] - g[5]) + y * (g[2] - g[6]) + z * (g[3] - g[1]))
    vx = 2.0 * (-2.0 * x * (g[4] + g[8]) + y * (g[1] + g[3]) + z * (g[2] + g[6]) + w * (g[7] - g[5]))
    vy = 2.0 * (x * (g[1] + g[3]) - 2.0 * y * (g[0] + g[8]) + z * (g[5] + g[7]) + w * (g[2] - g[6]))
    vz = 2.0 * (x * (g[2] + g[6]) + y * (g[5] + g[7]) - 2.0 * z * (g[0] + g[4]) + w * (g[3] - g[1]))
    dot = vw * w + vx * x + vy * y + vz * z
    return (
        (vw - dot * w) * inverse,
        (vx - dot * x) * inverse,
        (vy - dot * y) * inverse,
        (vz - dot * z) * inverse,
    )


@inline
def _add(
    array: F32, entry: int, stride: int, ids: I32, at: int, lanes: Mask, value: Lanes, first: bool,
) -> None:  # fmt: skip
    """Write one entry of 16 rows for the first camera, add it for the others."""
    if not first:
        value = value + gather_at(array, entry, ids, at, stride, lanes)
    scatter_at(array, entry, ids, at, stride, lanes, value)


@inline
def _read3(array: F32, start: int, ids: I32, at: int, lanes: Mask) -> tuple[Lanes, ...]:
    """Read 16 listed rows of three; `start` is where row 0 begins."""
    return (
        gather_at(array, start, ids, at, 3, lanes),
        gather_at(array, start + 1, ids, at, 3, lanes),
        gather_at(array, start + 2, ids, at, 3, lanes),
    )


@inline
def _read4(array: F32, ids: I32, at: int, lanes: Mask) -> tuple[Lanes, ...]:
    return (
        gather_at(array, 0, ids, at, 4, lanes),
        gather_at(array, 1, ids, at, 4, lanes),
        gather_at(array, 2, ids, at, 4, lanes),
        gather_at(array, 3, ids, at, 4, lanes),
    )


@inline
def _read6(array: F32, ids: I32, at: int, lanes: Mask) -> tuple[Lanes, ...]:
    return (
        gather_at(array, 0, ids, at, 6, lanes),
        gather_at(array, 1, ids, at, 6, lanes),
        gather_at(array, 2, ids, at, 6, lanes),
        gather_at(array, 3, ids, at, 6, lanes),
        gather_at(array, 4, ids, at, 6, lanes),
        gather_at(array, 5, ids, at, 6, lanes),
    )


@inline
def _clear(array: F32, start: int, stop: int, stride: int) -> None:
    if len(array) > 0:
        array[stride * start : stride * stop] = 0.0


@inline
def _list_seen(
    start: int, stop: int, c: int, n: int, radii: F32, v_means2d: F32, v_depths: F32, v_conics: F32,
    v_compensations: F32, ids: I32,
) -> int:  # fmt: skip
    """List the Gaussians that a camera sees and has a gradient for, not a number included; return how
    many."""
    count = 0
    for i in range(start, stop):
        o = c * n + i
        given = (v_means2d[2 * o] != 0.0) | (v_means2d[2 * o + 1] != 0.0)
        given |= (v_conics[3 * o] != 0.0) | (v_conics[3 * o + 1] != 0.0) | (v_conics[3 * o + 2] != 0.0)
        if len(v_depths) > 0:
            given |= v_depths[o] != 0.0
        if len(v_compensations) > 0:
            given |= v_compensations[o] != 0.0
        ids[count] = i
        count += np.int64(given & (radii[2 * c * n + i] > 0.0))
    return count


@inline
def _compensation_grad(vrho: Lanes, det0: Lanes, blur: Lanes, n: tuple[Lanes, ...]) -> tuple[Lanes, ...]:
    """Return the gradient of n (P's cross product) and of the trace of the covariance over eps2d.

    `blur` is what eps2d adds to the determinant: with it no difference of determinants is taken.
    """
    norm, det = sqrt(det0), det0 + blur
    inverse = select(norm > 0.0, 1.0 / norm, splat(0.0))
    rho = sqrt(vmax(det0 / det, 0.0))
    scale = vrho * (blur / det) * (inverse / sqrt(det))
    return scale * n[0], scale * n[1], scale * n[2], -0.5 * vrho * rho / det


@kernel
def project_backward(
    piece: int, pieces: int, n: int, cameras: int, model: int, width: float, height: float, eps2d: float,
    means: F32, quats: F32, scales: F32, covars: F32, viewmats: F32, Ks: F32, radii: F32, conics: F32,
    v_means2d: F32, v_depths: F32, v_conics: F32, v_compensations: F32, v_means: F32, v_quats: F32,
    v_scales: F32, v_covars: F32, v_viewmats: F64, ids: I32,
) -> None:  # fmt: skip
    """Write the gradients of one run of Gaussians, summed over the cameras.

    v_viewmats is [pieces, C, 12] in float64 (rotation by rows, translation), or empty if it is not wanted.
    `ids` is scratch of SPAN + 16 integers.
    """
    first, last = n * piece // pieces, n * (piece + 1) // pieces
    for start in range(first, last, SPAN):
        stop = min(start + SPAN, last)
        _clear(v_means, start, stop, 3)
        _clear(v_quats, start, stop, 4)
        _clear(v_scales, start, stop, 3)
        _clear(v_covars, start, stop, 6)
        for c in range(cameras):
            count = _list_seen(start, stop, c, n, radii, v_means2d, v_depths, v_conics, v_compensations, ids)
            _project_listed(
                count, c, n, cameras, model, width, height, eps2d, means, quats, scales, covars, viewmats, Ks,
                conics, v_means2d, v_depths, v_conics, v_compensations, v_means, v_quats, v_scales, v_covars,
                v_viewmats, 12 * (piece * cameras + c), ids,
            )  # fmt: skip


@inline
def _project_listed(
    count: int, c: int, n: int, cameras: int, model: int, width: float, height: float, eps2d: float,
    means: F32, quats: F32, scales: F32, covars: F32, viewmats: F32, Ks: F32, conics: F32, v_means2d: F32,
    v_depths: F32, v_conics: F32, v_compensations: F32, v_means: F32, v_quats: F32, v_scales: F32,
    v_covars: F32, v_viewmats: F64, view: int, ids: I32,
) -> None:  # fmt: skip
    """Add the gradients by one camera of the listed Gaussians, and to that of the camera at
    v_viewmats[view:]."""
    R, t, K = read_camera(viewmats, Ks, c)
    compensated, o = len(v_compensations) > 0, c * n
    for at in range(0, count, LANES):
        lanes = first_lanes(count - at)
        m = _read3(means, 0, ids, at, lanes)
        x, y, z = to_camera(R, t, m)
        _, _, j0, j1, j2, j3, j4, j5 = image_point(model, x, y, z, K, width, height)
        j = (j0, j1, j2, j3, j4, j5)
        A = rows_times_rotation(j, R)
        a, b = _read3(conics, 3 * o, ids, at, lanes), _read3(v_conics, 3 * o, ids, at, lanes)
        w = _conic_to_covariance_grad(a[0], a[1], a[2], b[0], b[1], b[2])
        vrho = gather_at(v_compensations, o, ids, at, 1, lanes) if compensated else splat(0.0)
        if len(covars) > 0:
            gA = _covars_grad(A, w, vrho, compensated, eps2d, covars, ids, at, lanes, c == 0, v_covars)
        else:
            gA = _shape_grad(
                A, w, vrho, compensated, eps2d, quats, scales, ids, at, lanes, c == 0, v_quats, v_scales
            )
        gJ = rows_times_rotation_transposed(gA, R)
        vu = gather_at(v_means2d, 2 * o, ids, at, 2, lanes)
        vv = gather_at(v_means2d, 2 * o + 1, ids, at, 2, lanes)
        vx, vy, vz = image_point_grad(model, x, y, z, K, width, height, vu, vv, gJ)
        if len(v_depths) > 0:
            vz = vz + gather_at(v_depths, o, ids, at, 1, lanes)
        _add(v_means, 0, 3, ids, at, lanes, R[0] * vx + R[3] * vy + R[6] * vz, c == 0)
        _add(v_means, 1, 3, ids, at, lanes, R[1] * vx + R[4] * vy + R[7] * vz, c == 0)
        _add(v_means, 2, 3, ids, at, lanes, R[2] * vx + R[5] * vy + R[8] * vz, c == 0)
        if len(v_viewmats) > 0:
            _camera_grad(v_viewmats, view, lanes, m, (vx, vy, vz), j, gA)


@inline
def _covars_grad(
    A: tuple[Lanes, ...], w: tuple[Lanes, ...], vrho: Lanes, compensated: bool, eps2d: float, covars: F32,
    ids: I32, at: int, lanes: Mask, first: bool, v_covars: F32,
) -> tuple[Lanes, ...]:  # fmt: skip
    """Write the gradients of given covariances; return that of A, from those of the 2-D covariance, w."""
    w00, w01, w11 = w
    C = _read6(covars, ids, at, lanes)
    B = rows_times_covars(A, C)
    if compensated:
        c00 = B[0] * A[0] + B[1] * A[1] + B[2] * A[2]
        c01 = B[0] * A[3] + B[1] * A[4] + B[2] * A[5]
        c11 = B[3] * A[3] + B[4] * A[4] + B[5] * A[5]
        det0 = c00 * c11 - c01 * c01
        blur = eps2d * (c00 + c11 + eps2d)
        det = det0 + blur
        rho = sqrt(vmax(det0 / det, 0.0))
        vdet = -0.5 * vrho * rho / det
        vdet0 = select(rho > 0.0, 0.5 * vrho * (blur / det) / (rho * det), splat(0.0))
        w00 = w00 + vdet0 * c11 + vdet * eps2d
        w01 = w01 - 2.0 * vdet0 * c01
        w11 = w11 + vdet0 * c00 + vdet * eps2d
    for row in range(3):
        for column in range(row, 3):
            value = _covar_entry(A, w00, w01, w11, row, column)
            entry = (0, 1, 2, 1, 3, 4, 2, 4, 5)[3 * row + column]
            _add(v_covars, entry, 6, ids, at, lanes, value, first)
    return (
        2.0 * w00 * B[0] + w01 * B[3],
        2.0 * w00 * B[1] + w01 * B[4],
        2.0 * w00 * B[2] + w01 * B[5],
        2.0 * w11 * B[3] + w01 * B[0],
        2.0 * w11 * B[4] + w01 * B[1],
        2.0 * w11 * B[5] + w01 * B[2],
    )


@inline
def _shape_grad(
    A: tuple[Lanes, ...], w: tuple[Lanes, ...], vrho: Lanes, compensated: bool, eps2d: float, quats: F32,
    scales: F32, ids: I32, at: int, lanes: Mask, first: bool, v_quats: F32, v_scales: F32,
) -> tuple[Lanes, ...]:  # fmt: skip
    """Write the gradients of quaternions and scales; return that of A, from those of the 2-D covariance,
    w."""
    w00, w01, w11 = w
    Q, unit, inverse = axes_of(_read4(quats, ids, at, lanes))
    s = _read3(scales, 0, ids, at, lanes)
    P = spread_matrix(A, Q, s)
    n0, n1, n2 = splat(0.0), splat(0.0), splat(0.0)
    if compensated:
        normal = cross(P)
        det0 = normal[0] * normal[0] + normal[1] * normal[1] + normal[2] * normal[2]
        total = P[0] * P[0] + P[1] * P[1] + P[2] * P[2] + P[3] * P[3] + P[4] * P[4] + P[5] * P[5]
        n0, n1, n2, trace = _compensation_grad(vrho, det0, eps2d * (total + eps2d), normal)
        w00, w11 = w00 + trace * eps2d, w11 + trace * eps2d
    gP = (
        2.0 * w00 * P[0] + w01 * P[3] + P[4] * n2 - P[5] * n1,
        2.0 * w00 * P[1] + w01 * P[4] + P[5] * n0 - P[3] * n2,
        2.0 * w00 * P[2] + w01 * P[5] + P[3] * n1 - P[4] * n0,
        2.0 * w11 * P[3] + w01 * P[0] + n1 * P[2] - n2 * P[1],
        2.0 * w11 * P[4] + w01 * P[1] + n2 * P[0] - n0 * P[2],
        2.0 * w11 * P[5] + w01 * P[2] + n0 * P[1] - n1 * P[0],
    )
    _axes_grad(A, gP, Q, s, unit, inverse, ids, at, lanes, first, v_quats, v_scales)
    return rows_times_rotation_transposed(
        (gP[0] * s[0], gP[1] * s[1], gP[2] * s[2], gP[3] * s[0], gP[4] * s[1], gP[5] * s[2]), Q
    )


@inline
def _covar_entry(A: tuple[Lanes, ...], w00: Lanes, w01: Lanes, w11: Lanes, row: int, column: int) -> Lanes:
    """Return the gradient of one entry of the packed symmetric covariance (off-diagonal ones count twice)."""
    p, q = _pick(A, row), _pick(A, column)
    r, s = _pick(A, row + 3), _pick(A, column + 3)
    value = w00 * p * q + 0.5 * w01 * (p * s + q * r) + w11 * r * s
    return value if row == column else value + value


@inline
def _pick(A: tuple[Lanes, ...], k: int) -> Lanes:
    """Return A[k] for an index known only when the loop runs."""
    if k == 0:
        return A[0]
    if k == 1:
        return A[1]
    if k == 2:
        return A[2]
    if k == 3:
        return A[3]
    if k == 4:
        return A[4]
    return A[5]


@inline
def _axes_grad(
    A: tuple[Lanes, ...], gP: tuple[Lanes, ...], Q: tuple[Lanes, ...], s: tuple[Lanes, ...],
    unit: tuple[Lanes, ...], inverse: Lanes, ids: I32, at: int, lanes: Mask, first: bool, v_quats: F32,
    v_scales: F32,
) -> None:  # fmt: skip
    """Write the gradients of quaternions and scales from that of P = A R(q) S."""
    # gradient of R(q) S, then of R(q) (times s) and of s (dot with R(q))
    m = (
        A[0] * gP[0] + A[3] * gP[3],
        A[0] * gP[1] + A[3] * gP[4],
        A[0] * gP[2] + A[3] * gP[5],
        A[1] * gP[0] + A[4] * gP[3],
        A[1] * gP[1] + A[4] * gP[4],
        A[1] * gP[2] + A[4] * gP[5],
        A[2] * gP[0] + A[5] * gP[3],
        A[2] * gP[1] + A[5] * gP[4],
        A[2] * gP[2] + A[5] * gP[5],
    )
    _add(v_scales, 0, 3, ids, at, lanes, m[0] * Q[0] + m[3] * Q[3] + m[6] * Q[6], first)
    _add(v_scales, 1, 3, ids, at, lanes, m[1] * Q[1] + m[4] * Q[4] + m[7] * Q[7], first)
    _add(v_scales, 2, 3, ids, at, lanes, m[2] * Q[2] + m[5] * Q[5] + m[8] * Q[8], first)
    g = (
        m[0] * s[0],
        m[1] * s[1],
        m[2] * s[2],
        m[3] * s[0],
        m[4] * s[1],
        m[5] * s[2],
        m[6] * s[0],
        m[7] * s[1],
        m[8] * s[2],
    )
    vw, vx, vy, vz = _quaternion_grad(unit, inverse, g)
    _add(v_quats, 0, 4, ids, at, lanes, vw, first)
    _add(v_quats, 1, 4, ids, at, lanes, vx, first)
    _add(v_quats, 2, 4, ids, at, lanes, vy, first)
    _add(v_quats, 3, 4, ids, at, lanes, vz, first)


@inline
def _camera_grad(
    v_viewmats: F64, o: int, keep: Mask, m: tuple[Lanes, ...], v: tuple[Lanes, ...], j: tuple[Lanes, ...],
    gA: tuple[Lanes, ...],
) -> None:  # fmt: skip
    """Add to the gradient of one camera: R acts on the mean (v mᵀ) and in A = J R (Jᵀ gA)."""
    zero = splat(0.0)
    v_viewmats[o + 0] += lane_sum(select(keep, v[0] * m[0] + j[0] * gA[0] + j[3] * gA[3], zero))
    v_viewmats[o + 1] += lane_sum(select(keep, v[0] * m[1] + j[0] * gA[1] + j[3] * gA[4], zero))
    v_viewmats[o + 2] += lane_sum(select(keep, v[0] * m[2] + j[0] * gA[2] + j[3] * gA[5], zero))
    v_viewmats[o + 3] += lane_sum(select(keep, v[1] * m[0] + j[1] * gA[0] + j[4] * gA[3], zero))
    v_viewmats[o + 4] += lane_sum(select(keep, v[1] * m[1] + j[1] * gA[1] + j[4] * gA[4], zero))
    v_viewmats[o + 5] += lane_sum(select(keep, v[1] * m[2] + j[1] * gA[2] + j[4] * gA[5], zero))
    v_viewmats[o + 6] += lane_sum(select(keep, v[2] * m[0] + j[2] * gA[0] + j[5] * gA[3], zero))
    v_viewmats[o + 7] += lane_sum(select(keep, v[2] * m[1] + j[2] * gA[1] + j[5] * gA[4], zero))
    v_viewmats[o + 8] += lane_sum(select(keep, v[2] * m[2] + j[2] * gA[2] + j[5] * gA[5], zero))
    v_viewmats[o + 9] += lane_sum(select(keep, v[0], zero))
    v_viewmats[o + 10] += lane_sum(select(keep, v[1], zero))
    v_viewmats[o + 11] += lane_sum(select(keep, v[2], zero))
