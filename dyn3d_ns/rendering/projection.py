"""Gaussians to the image plane: forward and backward of the EWA projection, 16 Gaussians at a time.

The 2-D covariance is built as P Pᵀ with P = J R_cam R(q) S, never through the 3-D covariance, so that thin
Gaussians keep their digits and the determinant is a sum of squares. The backward recomputes the forward.
Conventions, clamps and culling are those of gsplat's fully_fused_projection.
"""

import math

from dyn3d_ns.rendering.jit import inline, kernel
from dyn3d_ns.rendering.vector import (
    LANES,
    ceil,
    first_lanes,
    fma,
    lane_sum,
    select,
    splat,
    sqrt,
    vabs,
    vmax,
    vmin,
)
from dyn3d_ns.rendering.vector_memory import gather, scatter

PINHOLE, ORTHO, FISHEYE = 0, 1, 2
SQUARE_RADIUS, TIGHT_RADIUS = 0, 1
# Half the extent of the tight rule (gsplat 1.5): 3.33 sigma or where opacity falls below 1/255.
TIGHT_EXTENT = 3.33
_FISHEYE_EPS = 1e-7

# arctan(t) / t as a polynomial of t*t on [0, 1], relative error 2e-9.
_ATAN = (
    1.0,
    -0.33333283662,
    0.19998265803,
    -0.14261935651,
    0.10942042619,
    -0.08377344906,
    0.05755256116,
    -0.03080501594,
    0.01072715409,
    -0.00175397424,
)


@inline
def _atan2(y, x):
    """Arctangent of y / x for y >= 0."""
    size = vabs(x)
    t = vmin(y, size) / vmax(y, size)
    square = t * t
    value = splat(_ATAN[9])
    for k in range(8, -1, -1):
        value = fma(value, square, _ATAN[k])
    value = value * t
    value = select(y > size, math.pi / 2 - value, value)
    return select(x < 0.0, math.pi - value, value)


@inline
def _rotation(w, x, y, z):
    """Rotation matrix of unit quaternions, row by row."""
    return (
        1.0 - 2.0 * (y * y + z * z),
        2.0 * (x * y - w * z),
        2.0 * (x * z + w * y),
        2.0 * (x * y + w * z),
        1.0 - 2.0 * (x * x + z * z),
        2.0 * (y * z - w * x),
        2.0 * (x * z - w * y),
        2.0 * (y * z + w * x),
        1.0 - 2.0 * (x * x + y * y),
    )


@inline
def _image_point(model, x, y, z, K, width, height):
    """Return the image point (u, v) and its derivative J (2 x 3, row by row) by the camera point."""
    fx, fy, cx, cy = K
    zero = splat(0.0)
    if model == ORTHO:
        return fx * x + cx, fy * y + cy, splat(fx), zero, zero, zero, splat(fy), zero
    if model == FISHEYE:
        r = sqrt(x * x + y * y) + _FISHEYE_EPS
        k = _atan2(r, z + _FISHEYE_EPS) / r
        x2, y2, xy = x * x + _FISHEYE_EPS, y * y, x * y
        s = x2 + y2
        q = 1.0 / (s + z * z)
        a, b = z * q / s, _atan2(r, z) / (r * s)
        return (
            fx * x * k + cx,
            fy * y * k + cy,
            fx * (x2 * a + y2 * b),
            fx * xy * (a - b),
            -fx * x * q,
            fy * xy * (a - b),
            fy * (y2 * a + x2 * b),
            -fy * y * q,
        )
    inverse = 1.0 / z
    rx, ry = x * inverse, y * inverse
    tx = vmin(vmax(rx, -(cx / fx + 0.15 * width / fx)), (width - cx) / fx + 0.15 * width / fx)
    ty = vmin(vmax(ry, -(cy / fy + 0.15 * height / fy)), (height - cy) / fy + 0.15 * height / fy)
    fxz, fyz = fx * inverse, fy * inverse
    return fx * rx + cx, fy * ry + cy, fxz, zero, -fxz * tx, zero, fyz, -fyz * ty


@inline
def _image_point_grad(model, x, y, z, K, width, height, vu, vv, g):
    """Return the gradient of the camera point, from those of (u, v) and of J."""
    fx, fy, cx, cy = K
    g00, g01, g02, g10, g11, g12 = g
    if model == ORTHO:
        return fx * vu, fy * vv, splat(0.0)
    if model == FISHEYE:
        r = sqrt(x * x + y * y) + _FISHEYE_EPS
        theta1, theta2 = _atan2(r, z + _FISHEYE_EPS), _atan2(r, z)
        x2, y2, xy = x * x + _FISHEYE_EPS, y * y, x * y
        s = x2 + y2
        q = 1.0 / (s + z * z)
        a, b = z * q / s, theta2 / (r * s)
        va = fx * x2 * g00 + fx * xy * g01 + fy * xy * g10 + fy * y2 * g11
        vb = fx * y2 * g00 - fx * xy * g01 - fy * xy * g10 + fy * x2 * g11
        vq = -fx * x * g02 - fy * y * g12
        cross = (a - b) * (fx * g01 + fy * g10)
        hyp = 1.0 / (r * r + z * z)
        # d/dx and d/dy of a, b, q share a factor x or y
        radial = -2.0 * (z * q * (q * s + 1.0) / (s * s)) * va - 2.0 * q * q * vq
        radial = radial + ((z * hyp - theta2 / r) / (r * r * s) - 2.0 * theta2 / (r * s * s)) * vb
        hyp1 = 1.0 / (r * r + (z + _FISHEYE_EPS) * (z + _FISHEYE_EPS))
        vk = fx * x * vu + fy * y * vv
        radial = radial + ((z + _FISHEYE_EPS) * hyp1 - theta1 / r) / (r * r) * vk
        vx = 2.0 * x * (fx * a * g00 + fy * b * g11) + y * cross - fx * q * g02 + x * radial
        vy = 2.0 * y * (fx * b * g00 + fy * a * g11) + x * cross - fy * q * g12 + y * radial
        vz = (q - 2.0 * z * z * q * q) / s * va - hyp / s * vb - 2.0 * z * q * q * vq - hyp1 * vk
        return vx + fx * theta1 / r * vu, vy + fy * theta1 / r * vv, vz
    inverse = 1.0 / z
    rx, ry = x * inverse, y * inverse
    tx = vmin(vmax(rx, -(cx / fx + 0.15 * width / fx)), (width - cx) / fx + 0.15 * width / fx)
    ty = vmin(vmax(ry, -(cy / fy + 0.15 * height / fy)), (height - cy) / fy + 0.15 * height / fy)
    fxz, fyz = fx * inverse, fy * inverse
    vz = fxz * tx * g02 + fyz * ty * g12 - fxz * g00 - fyz * g11
    free_x = select((tx >= rx) & (tx <= rx), -fxz * g02, splat(0.0))
    free_y = select((ty >= ry) & (ty <= ry), -fyz * g12, splat(0.0))
    vz = (vz - free_x * rx - free_y * ry) * inverse - fxz * rx * vu - fyz * ry * vv
    return fxz * vu + free_x * inverse, fyz * vv + free_y * inverse, vz


@inline
def _camera(viewmats, Ks, c):
    """Read one camera: rotation, translation, (fx, fy, cx, cy)."""
    v, k = 16 * c, 9 * c
    R = (
        viewmats[v],
        viewmats[v + 1],
        viewmats[v + 2],
        viewmats[v + 4],
        viewmats[v + 5],
        viewmats[v + 6],
        viewmats[v + 8],
        viewmats[v + 9],
        viewmats[v + 10],
    )
    return R, (viewmats[v + 3], viewmats[v + 7], viewmats[v + 11]), (Ks[k], Ks[k + 4], Ks[k + 2], Ks[k + 5])


@inline
def _rows_times_rotation(j, R):
    """Return the 2 x 3 product J R."""
    return (
        j[0] * R[0] + j[1] * R[3] + j[2] * R[6],
        j[0] * R[1] + j[1] * R[4] + j[2] * R[7],
        j[0] * R[2] + j[1] * R[5] + j[2] * R[8],
        j[3] * R[0] + j[4] * R[3] + j[5] * R[6],
        j[3] * R[1] + j[4] * R[4] + j[5] * R[7],
        j[3] * R[2] + j[4] * R[5] + j[5] * R[8],
    )


@inline
def _axes(quats, scales, i, lanes):
    """Return R(q) (9 vectors), the scales, the unit quaternion and 1 / |q|."""
    w, x = gather(quats, 4 * i, 4, lanes), gather(quats, 4 * i + 1, 4, lanes)
    y, z = gather(quats, 4 * i + 2, 4, lanes), gather(quats, 4 * i + 3, 4, lanes)
    inverse = 1.0 / sqrt(vmax(w * w + x * x + y * y + z * z, 1e-30))
    unit = (w * inverse, x * inverse, y * inverse, z * inverse)
    s = (
        gather(scales, 3 * i, 3, lanes),
        gather(scales, 3 * i + 1, 3, lanes),
        gather(scales, 3 * i + 2, 3, lanes),
    )
    return _rotation(unit[0], unit[1], unit[2], unit[3]), s, unit, inverse


@inline
def _spread_matrix(A, Q, s):
    """Return P = A R(q) S (2 x 3), whose square P Pᵀ is the 2-D covariance."""
    return (
        (A[0] * Q[0] + A[1] * Q[3] + A[2] * Q[6]) * s[0],
        (A[0] * Q[1] + A[1] * Q[4] + A[2] * Q[7]) * s[1],
        (A[0] * Q[2] + A[1] * Q[5] + A[2] * Q[8]) * s[2],
        (A[3] * Q[0] + A[4] * Q[3] + A[5] * Q[6]) * s[0],
        (A[3] * Q[1] + A[4] * Q[4] + A[5] * Q[7]) * s[1],
        (A[3] * Q[2] + A[4] * Q[5] + A[5] * Q[8]) * s[2],
    )


@inline
def _cross(P):
    """Return the cross product of the two rows of P; its square is det(P Pᵀ)."""
    return P[1] * P[5] - P[2] * P[4], P[2] * P[3] - P[0] * P[5], P[0] * P[4] - P[1] * P[3]


@inline
def _read_covars(covars, i, lanes):
    return (
        gather(covars, 6 * i, 6, lanes),
        gather(covars, 6 * i + 1, 6, lanes),
        gather(covars, 6 * i + 2, 6, lanes),
        gather(covars, 6 * i + 3, 6, lanes),
        gather(covars, 6 * i + 4, 6, lanes),
        gather(covars, 6 * i + 5, 6, lanes),
    )


@inline
def _rows_times_covars(A, C):
    """Return the 2 x 3 product of A and the symmetric matrices C (xx, xy, xz, yy, yz, zz)."""
    return (
        A[0] * C[0] + A[1] * C[1] + A[2] * C[2],
        A[0] * C[1] + A[1] * C[3] + A[2] * C[4],
        A[0] * C[2] + A[1] * C[4] + A[2] * C[5],
        A[3] * C[0] + A[4] * C[1] + A[5] * C[2],
        A[3] * C[1] + A[4] * C[3] + A[5] * C[4],
        A[3] * C[2] + A[4] * C[4] + A[5] * C[5],
    )


@inline
def _covariance(A, quats, scales, covars, i, lanes):
    """Return the 2-D covariance (xx, xy, yy) and its determinant."""
    if len(covars) > 0:
        B = _rows_times_covars(A, _read_covars(covars, i, lanes))
        c00 = B[0] * A[0] + B[1] * A[1] + B[2] * A[2]
        c01 = B[0] * A[3] + B[1] * A[4] + B[2] * A[5]
        c11 = B[3] * A[3] + B[4] * A[4] + B[5] * A[5]
        return c00, c01, c11, c00 * c11 - c01 * c01
    Q, s, _, _ = _axes(quats, scales, i, lanes)
    P = _spread_matrix(A, Q, s)
    n = _cross(P)
    c00 = P[0] * P[0] + P[1] * P[1] + P[2] * P[2]
    c01 = P[0] * P[3] + P[1] * P[4] + P[2] * P[5]
    c11 = P[3] * P[3] + P[4] * P[4] + P[5] * P[5]
    return c00, c01, c11, n[0] * n[0] + n[1] * n[1] + n[2] * n[2]


@inline
def _to_camera(R, t, means, i, lanes):
    mx, my, mz = (
        gather(means, 3 * i, 3, lanes),
        gather(means, 3 * i + 1, 3, lanes),
        gather(means, 3 * i + 2, 3, lanes),
    )
    x = R[0] * mx + R[1] * my + R[2] * mz + t[0]
    y = R[3] * mx + R[4] * my + R[5] * mz + t[1]
    z = R[6] * mx + R[7] * my + R[8] * mz + t[2]
    return (mx, my, mz), x, y, z


@kernel
def project_forward(
    piece, pieces, n, cameras, model, rule, width, height, near, far, radius_clip, eps2d,
    means, quats, scales, covars, extents, viewmats, Ks,
    means2d, depths, conics, radii, compensations,
):  # fmt: skip
    """Project all Gaussians by all cameras; radii is [C, 2, N] (x, y), 0 where culled.

    `extents` holds half the size in sigmas of the tight rule, per camera and Gaussian, when the compensation
    is not part of the opacity (see `tight_extents`); it is read for the tight rule only.
    """
    blocks = (n + LANES - 1) // LANES
    for c in range(cameras):
        R, t, K = _camera(viewmats, Ks, c)
        for block in range(blocks * piece // pieces, blocks * (piece + 1) // pieces):
            i = block * LANES
            o = c * n + i
            lanes = first_lanes(n - i)
            _, x, y, z = _to_camera(R, t, means, i, lanes)
            u, v, j0, j1, j2, j3, j4, j5 = _image_point(model, x, y, z, K, width, height)
            A = _rows_times_rotation((j0, j1, j2, j3, j4, j5), R)
            c00, c01, c11, det0 = _covariance(A, quats, scales, covars, i, lanes)
            half = 0.5 * (c00 - c11)
            det = det0 + eps2d * (c00 + c11) + eps2d * eps2d
            b00, b11 = c00 + eps2d, c11 + eps2d
            largest = 0.5 * (b00 + b11) + sqrt(vmax(0.01, half * half + c01 * c01))
            compensation = sqrt(vmax(det0 / det, 0.0))
            if rule == TIGHT_RADIUS:
                extent = gather(extents, i, 1, lanes)  # 2 ln(255 opacity)
                if len(compensations) > 0:
                    # the compensation belongs to the opacity: ln is 2 ln(comp) = ln(det0 / det)
                    extent = extent + 2.0 * _log(compensation)
                visible = extent >= 0.0
                extent = vmin(TIGHT_EXTENT, sqrt(vmax(extent, 0.0)))
                limit = extent * sqrt(largest)
                rx = ceil(vmin(extent * sqrt(b00), limit))
                ry = ceil(vmin(extent * sqrt(b11), limit))
                keep = visible & ((rx > radius_clip) | (ry > radius_clip))
            else:
                rx = ceil(3.0 * sqrt(largest))
                ry = rx
                keep = rx > radius_clip
            keep = keep & lanes & (z >= near) & (z <= far) & (det > 0.0) & (b00 > 0.0)
            keep = keep & (u + rx > 0.0) & (u - rx < width) & (v + ry > 0.0) & (v - ry < height)
            zero = splat(0.0)
            scatter(means2d, 2 * o, 2, lanes, select(keep, u, zero))
            scatter(means2d, 2 * o + 1, 2, lanes, select(keep, v, zero))
            scatter(depths, o, 1, lanes, select(keep, z, zero))
            scatter(conics, 3 * o, 3, lanes, select(keep, b11 / det, zero))
            scatter(conics, 3 * o + 1, 3, lanes, select(keep, -c01 / det, zero))
            scatter(conics, 3 * o + 2, 3, lanes, select(keep, b00 / det, zero))
            scatter(radii, 2 * c * n + i, 1, lanes, select(keep, rx, zero))
            scatter(radii, (2 * c + 1) * n + i, 1, lanes, select(keep, ry, zero))
            if len(compensations) > 0:
                scatter(compensations, o, 1, lanes, select(keep, compensation, zero))


@inline
def _log(x):
    """Natural logarithm by Newton's iteration on exp; good to 1e-6 for 1e-12 < x <= 1."""
    # log(x) = 2 * atanh((x - 1) / (x + 1)), repeated square roots bring x near 1
    root = sqrt(sqrt(sqrt(sqrt(vmax(x, 1e-12)))))
    w = (root - 1.0) / (root + 1.0)
    w2 = w * w
    series = fma(w2, fma(w2, fma(w2, fma(w2, 1.0 / 9.0, 1.0 / 7.0), 1.0 / 5.0), 1.0 / 3.0), 1.0)
    return 32.0 * w * series


@inline
def _conic_to_covariance_grad(a, b, c, va, vb, vc):
    """Return the gradient of the covariance (xx, xy once, yy) from that of its inverse (a, b, c)."""
    hb = 0.5 * vb
    t00, t01 = va * a + hb * b, va * b + hb * c
    t10, t11 = hb * a + vc * b, hb * b + vc * c
    return -(a * t00 + b * t10), -2.0 * (a * t01 + b * t11), -(b * t01 + c * t11)


@inline
def _quaternion_grad(unit, inverse, g):
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
def _add(array, index, stride, lanes, keep, value, first):
    """Write the kept lanes (zero elsewhere) for the first camera, add them for the others."""
    value = select(keep, value, splat(0.0))
    if not first:
        value = value + gather(array, index, stride, lanes)
    scatter(array, index, stride, lanes, value)


@inline
def _compensation_grad(vrho, det0, det, n):
    """Return the gradient of n (P's cross product) and of the trace of the covariance over eps2d."""
    norm = sqrt(det0)
    inverse = select(norm > 0.0, 1.0 / norm, splat(0.0))
    rho = sqrt(vmax(det0 / det, 0.0))
    scale = vrho * (inverse / sqrt(det) - rho / det)
    return scale * n[0], scale * n[1], scale * n[2], -0.5 * vrho * rho / det


@kernel
def project_backward(
    piece, pieces, n, cameras, model, width, height, eps2d,
    means, quats, scales, covars, viewmats, Ks, radii, conics,
    v_means2d, v_depths, v_conics, v_compensations,
    v_means, v_quats, v_scales, v_covars, v_viewmats,
):  # fmt: skip
    """Write the gradients of one run of Gaussians, summed over the cameras.

    v_viewmats is [pieces, C, 12] in float64 (rotation by rows, translation), or empty if it is not wanted.
    """
    blocks = (n + LANES - 1) // LANES
    zero = splat(0.0)
    for c in range(cameras):
        R, t, K = _camera(viewmats, Ks, c)
        for block in range(blocks * piece // pieces, blocks * (piece + 1) // pieces):
            i = block * LANES
            o = c * n + i
            lanes = first_lanes(n - i)
            keep = gather(radii, 2 * c * n + i, 1, lanes) > 0.0
            m, x, y, z = _to_camera(R, t, means, i, lanes)
            _, _, j0, j1, j2, j3, j4, j5 = _image_point(model, x, y, z, K, width, height)
            j = (j0, j1, j2, j3, j4, j5)
            A = _rows_times_rotation(j, R)
            w00, w01, w11 = _conic_to_covariance_grad(
                gather(conics, 3 * o, 3, lanes),
                gather(conics, 3 * o + 1, 3, lanes),
                gather(conics, 3 * o + 2, 3, lanes),
                gather(v_conics, 3 * o, 3, lanes),
                gather(v_conics, 3 * o + 1, 3, lanes),
                gather(v_conics, 3 * o + 2, 3, lanes),
            )
            if len(covars) > 0:
                C = _read_covars(covars, i, lanes)
                B = _rows_times_covars(A, C)
                if len(v_compensations) > 0:
                    c00, c01, c11, det0 = _covariance(A, quats, scales, covars, i, lanes)
                    det = det0 + eps2d * (c00 + c11) + eps2d * eps2d
                    rho = sqrt(vmax(det0 / det, 0.0))
                    vrho = gather(v_compensations, o, 1, lanes)
                    vdet = -0.5 * vrho * rho / det
                    vdet0 = vdet + select(rho > 0.0, 0.5 * vrho / (rho * det), zero)
                    w00 = w00 + vdet0 * c11 + vdet * eps2d
                    w01 = w01 - 2.0 * vdet0 * c01
                    w11 = w11 + vdet0 * c00 + vdet * eps2d
                gA = (
                    2.0 * w00 * B[0] + w01 * B[3],
                    2.0 * w00 * B[1] + w01 * B[4],
                    2.0 * w00 * B[2] + w01 * B[5],
                    2.0 * w11 * B[3] + w01 * B[0],
                    2.0 * w11 * B[4] + w01 * B[1],
                    2.0 * w11 * B[5] + w01 * B[2],
                )
                for row in range(3):
                    for column in range(row, 3):
                        value = _covar_entry(A, w00, w01, w11, row, column)
                        entry = (0, 1, 2, 1, 3, 4, 2, 4, 5)[3 * row + column]
                        _add(v_covars, 6 * i + entry, 6, lanes, keep, value, c == 0)
            else:
                Q, s, unit, inverse = _axes(quats, scales, i, lanes)
                P = _spread_matrix(A, Q, s)
                n0, n1, n2, trace = zero, zero, zero, zero
                if len(v_compensations) > 0:
                    cross = _cross(P)
                    det0 = cross[0] * cross[0] + cross[1] * cross[1] + cross[2] * cross[2]
                    total = P[0] * P[0] + P[1] * P[1] + P[2] * P[2] + P[3] * P[3] + P[4] * P[4] + P[5] * P[5]
                    det = det0 + eps2d * total + eps2d * eps2d
                    vrho = gather(v_compensations, o, 1, lanes)
                    n0, n1, n2, trace = _compensation_grad(vrho, det0, det, cross)
                    w00, w11 = w00 + trace * eps2d, w11 + trace * eps2d
                gP = (
                    2.0 * w00 * P[0] + w01 * P[3] + P[4] * n2 - P[5] * n1,
                    2.0 * w00 * P[1] + w01 * P[4] + P[5] * n0 - P[3] * n2,
                    2.0 * w00 * P[2] + w01 * P[5] + P[3] * n1 - P[4] * n0,
                    2.0 * w11 * P[3] + w01 * P[0] + n1 * P[2] - n2 * P[1],
                    2.0 * w11 * P[4] + w01 * P[1] + n2 * P[0] - n0 * P[2],
                    2.0 * w11 * P[5] + w01 * P[2] + n0 * P[1] - n1 * P[0],
                )
                gA = _rows_times_rotation_transposed(
                    (gP[0] * s[0], gP[1] * s[1], gP[2] * s[2], gP[3] * s[0], gP[4] * s[1], gP[5] * s[2]), Q
                )
                _axes_grad(A, gP, Q, s, unit, inverse, i, lanes, keep, c == 0, v_quats, v_scales)
            gJ = _rows_times_rotation_transposed(gA, R)
            vu, vv = gather(v_means2d, 2 * o, 2, lanes), gather(v_means2d, 2 * o + 1, 2, lanes)
            vx, vy, vz = _image_point_grad(model, x, y, z, K, width, height, vu, vv, gJ)
            vz = vz + gather(v_depths, o, 1, lanes)
            _add(v_means, 3 * i, 3, lanes, keep, R[0] * vx + R[3] * vy + R[6] * vz, c == 0)
            _add(v_means, 3 * i + 1, 3, lanes, keep, R[1] * vx + R[4] * vy + R[7] * vz, c == 0)
            _add(v_means, 3 * i + 2, 3, lanes, keep, R[2] * vx + R[5] * vy + R[8] * vz, c == 0)
            if len(v_viewmats) > 0:
                _camera_grad(v_viewmats, 12 * (piece * cameras + c), keep, m, (vx, vy, vz), j, gA)


@inline
def _covar_entry(A, w00, w01, w11, row, column):
    """Return the gradient of one entry of the packed symmetric covariance (off-diagonal ones count twice)."""
    p, q = _pick(A, row), _pick(A, column)
    r, s = _pick(A, row + 3), _pick(A, column + 3)
    value = w00 * p * q + 0.5 * w01 * (p * s + q * r) + w11 * r * s
    return value if row == column else value + value


@inline
def _pick(A, k):
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
def _rows_times_rotation_transposed(g, R):
    """Return the 2 x 3 product G Rᵀ."""
    return (
        g[0] * R[0] + g[1] * R[1] + g[2] * R[2],
        g[0] * R[3] + g[1] * R[4] + g[2] * R[5],
        g[0] * R[6] + g[1] * R[7] + g[2] * R[8],
        g[3] * R[0] + g[4] * R[1] + g[5] * R[2],
        g[3] * R[3] + g[4] * R[4] + g[5] * R[5],
        g[3] * R[6] + g[4] * R[7] + g[5] * R[8],
    )


@inline
def _axes_grad(A, gP, Q, s, unit, inverse, i, lanes, keep, first, v_quats, v_scales):
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
    _add(v_scales, 3 * i, 3, lanes, keep, m[0] * Q[0] + m[3] * Q[3] + m[6] * Q[6], first)
    _add(v_scales, 3 * i + 1, 3, lanes, keep, m[1] * Q[1] + m[4] * Q[4] + m[7] * Q[7], first)
    _add(v_scales, 3 * i + 2, 3, lanes, keep, m[2] * Q[2] + m[5] * Q[5] + m[8] * Q[8], first)
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
    _add(v_quats, 4 * i, 4, lanes, keep, vw, first)
    _add(v_quats, 4 * i + 1, 4, lanes, keep, vx, first)
    _add(v_quats, 4 * i + 2, 4, lanes, keep, vy, first)
    _add(v_quats, 4 * i + 3, 4, lanes, keep, vz, first)


@inline
def _camera_grad(v_viewmats, o, keep, m, v, j, gA):
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
