"""Cameras for the projection kernels: reading one, points into its axes, and from there to the image, with
the derivative and its gradient, for gsplat's pinhole, orthographic and fisheye models."""

import math

from dyn3d_ns.kernels.jit import inline
from dyn3d_ns.kernels.types import F32, Lanes
from dyn3d_ns.kernels.vector import fma, select, splat, sqrt, vabs, vmax, vmin

PINHOLE, ORTHO, FISHEYE = 0, 1, 2
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
def _atan2(y: Lanes, x: Lanes) -> Lanes:
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
def image_point(
    model: int, x: Lanes, y: Lanes, z: Lanes, K: tuple[float, ...], width: float, height: float,
) -> tuple[Lanes, ...]:  # fmt: skip
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
def image_point_grad(
    model: int, x: Lanes, y: Lanes, z: Lanes, K: tuple[float, ...], width: float, height: float, vu: Lanes,
    vv: Lanes, g: tuple[Lanes, ...],
) -> tuple[Lanes, ...]:  # fmt: skip
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
def read_camera(
    viewmats: F32, Ks: F32, c: int,
) -> tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]]:  # fmt: skip
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
def rows_times_rotation(j: tuple[Lanes, ...], R: tuple[float, ...]) -> tuple[Lanes, ...]:
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
def to_camera(R: tuple[float, ...], t: tuple[float, ...], m: tuple[Lanes, ...]) -> tuple[Lanes, ...]:
    """Turn 16 means into a camera's frame."""
    return (
        R[0] * m[0] + R[1] * m[1] + R[2] * m[2] + t[0],
        R[3] * m[0] + R[4] * m[1] + R[5] * m[2] + t[1],
        R[6] * m[0] + R[7] * m[1] + R[8] * m[2] + t[2],
    )


@inline
def rows_times_rotation_transposed(
    g: tuple[Lanes, ...], R: tuple[Lanes, ...] | tuple[float, ...],
) -> tuple[Lanes, ...]:  # fmt: skip
    """Return the 2 x 3 product G Rᵀ."""
    return (
        g[0] * R[0] + g[1] * R[1] + g[2] * R[2],
        g[0] * R[3] + g[1] * R[4] + g[2] * R[5],
        g[0] * R[6] + g[1] * R[7] + g[2] * R[8],
        g[3] * R[0] + g[4] * R[1] + g[5] * R[2],
        g[3] * R[3] + g[4] * R[4] + g[5] * R[5],
        g[3] * R[6] + g[4] * R[7] + g[5] * R[8],
    )
