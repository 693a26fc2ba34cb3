"""Colours from spherical harmonics of degree 0 to 4 along the viewing direction, and their gradients.

The bases are Sloan's recurrences (Efficient Spherical Harmonic Evaluation, JCGT 2013) with gsplat's signs.
"""

from dyn3d_ns.kernels.jit import inline, kernel
from dyn3d_ns.kernels.types import F32, F64, Lanes, Mask
from dyn3d_ns.kernels.vector import LANES, first_lanes, fma, lane_sum, select, splat, sqrt
from dyn3d_ns.kernels.vector_memory import gather, load, scatter, store

MAX_DEGREE = 4
SCRATCH = 25 * LANES


@inline
def _bases(degree: int, x: Lanes, y: Lanes, z: Lanes, out: F32) -> None:
    """Store the (degree + 1)² bases at unit directions in out, one vector each."""
    store(out, 0, splat(0.2820947917738781))
    if degree < 1:
        return
    store(out, 16, -0.48860251190292 * y)
    store(out, 32, 0.48860251190292 * z)
    store(out, 48, -0.48860251190292 * x)
    if degree < 2:
        return
    z2 = z * z
    b2, c1, s1 = -1.092548430592079 * z, x * x - y * y, 2.0 * x * y
    store(out, 64, 0.5462742152960395 * s1)
    store(out, 80, b2 * y)
    p6 = 0.9461746957575601 * z2 - 0.3153915652525201
    store(out, 96, p6)
    store(out, 112, b2 * x)
    store(out, 128, 0.5462742152960395 * c1)
    if degree < 3:
        return
    c2, s2 = x * c1 - y * s1, x * s1 + y * c1
    b3 = 1.445305721320277 * z
    a3 = -2.285228997322329 * z2 + 0.4570457994644658
    store(out, 144, -0.5900435899266435 * s2)
    store(out, 160, b3 * s1)
    store(out, 176, a3 * y)
    p12 = z * (1.865881662950577 * z2 - 1.119528997770346)
    store(out, 192, p12)
    store(out, 208, a3 * x)
    store(out, 224, b3 * c1)
    store(out, 240, -0.5900435899266435 * c2)
    if degree < 4:
        return
    c3, s3 = x * c2 - y * s2, x * s2 + y * c2
    b4 = -1.770130769779931 * z
    a4 = 3.31161143515146 * z2 - 0.47308734787878
    d4 = z * (-4.683325804901025 * z2 + 2.007139630671868)
    store(out, 256, 0.6258357354491763 * s3)
    store(out, 272, b4 * s2)
    store(out, 288, a4 * s1)
    store(out, 304, d4 * y)
    store(out, 320, 1.984313483298443 * z * p12 - 1.006230589874905 * p6)
    store(out, 336, d4 * x)
    store(out, 352, a4 * c1)
    store(out, 368, b4 * c2)
    store(out, 384, 0.6258357354491763 * c3)


@inline
def _direction_grad(degree: int, x: Lanes, y: Lanes, z: Lanes, g: F32) -> tuple[Lanes, ...]:
    """Return the gradient of the (unnormalised basis arguments) direction from those of the bases, in g."""
    zero = splat(0.0)
    vx, vy, vz = zero, zero, zero
    if degree < 1:
        return vx, vy, vz
    vx, vy, vz = (
        -0.48860251190292 * load(g, 48),
        -0.48860251190292 * load(g, 16),
        0.48860251190292 * load(g, 32),
    )
    if degree < 2:
        return vx, vy, vz
    z2, b2 = z * z, -1.092548430592079 * z
    c1, s1 = x * x - y * y, 2.0 * x * y
    vc1, vs1 = 0.5462742152960395 * load(g, 128), 0.5462742152960395 * load(g, 64)
    vp6 = load(g, 96)
    vc2, vs2 = zero, zero
    if degree >= 3:
        c2, s2 = x * c1 - y * s1, x * s1 + y * c1
        b3, a3 = 1.445305721320277 * z, -2.285228997322329 * z2 + 0.4570457994644658
        vc2, vs2 = -0.5900435899266435 * load(g, 240), -0.5900435899266435 * load(g, 144)
        vp12 = load(g, 192)
        if degree >= 4:
            p12 = z * (1.865881662950577 * z2 - 1.119528997770346)
            b4, a4 = -1.770130769779931 * z, 3.31161143515146 * z2 - 0.47308734787878
            d4 = z * (-4.683325804901025 * z2 + 2.007139630671868)
            vc3, vs3 = 0.6258357354491763 * load(g, 384), 0.6258357354491763 * load(g, 256)
            vx = vx + vc3 * c2 + vs3 * s2 + d4 * load(g, 336)
            vy = vy + vs3 * c2 - vc3 * s2 + d4 * load(g, 304)
            vc2 = vc2 + vc3 * x + vs3 * y + b4 * load(g, 368)
            vs2 = vs2 + vs3 * x - vc3 * y + b4 * load(g, 272)
            vc1 = vc1 + a4 * load(g, 352)
            vs1 = vs1 + a4 * load(g, 288)
            vz = vz - 1.770130769779931 * (load(g, 368) * c2 + load(g, 272) * s2)
            vz = vz + 6.62322287030292 * z * (load(g, 352) * c1 + load(g, 288) * s1)
            vz = vz + (2.007139630671868 - 14.049977414703075 * z2) * (load(g, 336) * x + load(g, 304) * y)
            vz = vz + 1.984313483298443 * p12 * load(g, 320)
            vp12 = vp12 + 1.984313483298443 * z * load(g, 320)
            vp6 = vp6 - 1.006230589874905 * load(g, 320)
        vz = vz + vp12 * (5.597645988851731 * z2 - 1.119528997770346)
        vz = vz - 4.570457994644658 * z * (load(g, 208) * x + load(g, 176) * y)
        vz = vz + 1.445305721320277 * (load(g, 224) * c1 + load(g, 160) * s1)
        vx = vx + a3 * load(g, 208) + vc2 * c1 + vs2 * s1
        vy = vy + a3 * load(g, 176) + vs2 * c1 - vc2 * s1
        vc1 = vc1 + b3 * load(g, 224) + vc2 * x + vs2 * y
        vs1 = vs1 + b3 * load(g, 160) + vs2 * x - vc2 * y
    vz = vz + 1.8923493915151202 * z * vp6 - 1.092548430592079 * (load(g, 112) * x + load(g, 80) * y)
    vx = vx + b2 * load(g, 112) + 2.0 * (x * vc1 + y * vs1)
    vy = vy + b2 * load(g, 80) + 2.0 * (x * vs1 - y * vc1)
    return vx, vy, vz


@inline
def _direction(means: F32, centers: F32, c: int, i: int, lanes: Mask) -> tuple[Lanes, ...]:
    """Return the unit direction from the camera centre to the means, and 1 / distance."""
    x = gather(means, 3 * i, 3, lanes) - centers[3 * c]
    y = gather(means, 3 * i + 1, 3, lanes) - centers[3 * c + 1]
    z = gather(means, 3 * i + 2, 3, lanes) - centers[3 * c + 2]
    square = x * x + y * y + z * z
    inverse = select(square > 0.0, 1.0 / sqrt(square), splat(0.0))
    return x * inverse, y * inverse, z * inverse, inverse


@kernel
def colors_forward(
    piece: int, pieces: int, n: int, cameras: int, degree: int, coefficients_each: int, shared: bool,
    means: F32, coefficients: F32, centers: F32, radii: F32, colors: F32, out: F32,
) -> None:  # fmt: skip
    """Write max(0, SH + 1/2) of the visible Gaussians for all cameras, 0 of the others; coefficients
    [(C,) N, K, 3].

    `out` is scratch of SCRATCH floats.
    """
    blocks = (n + LANES - 1) // LANES
    k3 = 3 * coefficients_each
    for c in range(cameras):
        for block in range(blocks * piece // pieces, blocks * (piece + 1) // pieces):
            i = block * LANES
            there = first_lanes(n - i)
            lanes = there & (gather(radii, 2 * c * n + i, 1, there) > 0.0)
            x, y, z, _ = _direction(means, centers, c, i, lanes)
            _bases(degree, x, y, z, out)
            base = (i if shared else c * n + i) * k3
            for channel in range(3):
                total = splat(0.5)
                for k in range((degree + 1) * (degree + 1)):
                    total = fma(
                        load(out, LANES * k), gather(coefficients, base + 3 * k + channel, k3, lanes), total
                    )
                shown = select(lanes & (total > 0.0), total, splat(0.0))
                scatter(colors, 3 * (c * n + i) + channel, 3, there, shown)


@kernel
def colors_backward(
    piece: int, pieces: int, n: int, cameras: int, degree: int, coefficients_each: int, shared: bool,
    means: F32, coefficients: F32, centers: F32, radii: F32, colors: F32, v_colors: F32, v_coefficients: F32,
    v_means: F32, v_centers: F64, bases: F32, grads: F32,
) -> None:  # fmt: skip
    """Write the gradients of one run of Gaussians to v_coefficients and v_means, and add those of the centres
    to v_centers [pieces, C, 3] (float64)."""
    blocks = (n + LANES - 1) // LANES
    k3, used = 3 * coefficients_each, (degree + 1) * (degree + 1)
    zero = splat(0.0)
    for c in range(cameras):
        for block in range(blocks * piece // pieces, blocks * (piece + 1) // pieces):
            i = block * LANES
            there = first_lanes(n - i)
            lanes = there & (gather(radii, 2 * c * n + i, 1, there) > 0.0)
            x, y, z, inverse = _direction(means, centers, c, i, lanes)
            _bases(degree, x, y, z, bases)
            base = (i if shared else c * n + i) * k3
            o = 3 * (c * n + i)
            v0, v1, v2 = (
                gather(v_colors, o, 3, lanes),
                gather(v_colors, o + 1, 3, lanes),
                gather(v_colors, o + 2, 3, lanes),
            )
            v0 = select(gather(colors, o, 3, lanes) > 0.0, v0, zero)
            v1 = select(gather(colors, o + 1, 3, lanes) > 0.0, v1, zero)
            v2 = select(gather(colors, o + 2, 3, lanes) > 0.0, v2, zero)
            fresh = c == 0 or not shared
            for k in range(coefficients_each):
                p = base + 3 * k
                if k >= used:
                    if fresh:
                        _put3(v_coefficients, p, k3, there, (zero, zero, zero), fresh)
                    continue
                b = load(bases, LANES * k)
                total = v0 * gather(coefficients, p, k3, lanes)
                total = fma(v1, gather(coefficients, p + 1, k3, lanes), total)
                total = fma(v2, gather(coefficients, p + 2, k3, lanes), total)
                store(grads, LANES * k, total)
                _put3(v_coefficients, p, k3, there, (b * v0, b * v1, b * v2), fresh)
            if degree > 0:
                gx, gy, gz = _direction_grad(degree, x, y, z, grads)
                dot = gx * x + gy * y + gz * z
                gx = select(lanes, (gx - dot * x) * inverse, zero)
                gy = select(lanes, (gy - dot * y) * inverse, zero)
                gz = select(lanes, (gz - dot * z) * inverse, zero)
                _put3(v_means, 3 * i, 3, there, (gx, gy, gz), c == 0)
                if len(v_centers) > 0:
                    _center_grad(v_centers, 3 * (piece * cameras + c), gx, gy, gz)
            elif c == 0:
                _put3(v_means, 3 * i, 3, there, (zero, zero, zero), True)


@inline
def _put3(
    array: F32, index: int, stride: int, lanes: Mask, values: tuple[Lanes, ...], first: bool,
) -> None:  # fmt: skip
    """Write three entries of 16 rows for the first camera, add them for the others."""
    a, b, c = values
    if not first:
        a = a + gather(array, index, stride, lanes)
        b = b + gather(array, index + 1, stride, lanes)
        c = c + gather(array, index + 2, stride, lanes)
    scatter(array, index, stride, lanes, a)
    scatter(array, index + 1, stride, lanes, b)
    scatter(array, index + 2, stride, lanes, c)


@inline
def _center_grad(v_centers: F64, o: int, gx: Lanes, gy: Lanes, gz: Lanes) -> None:
    v_centers[o] -= lane_sum(gx)
    v_centers[o + 1] -= lane_sum(gy)
    v_centers[o + 2] -= lane_sum(gz)
