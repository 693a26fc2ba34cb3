"""Shapes of Gaussians for the projection kernels: axes from quaternions and scales, or covariances as given,
and the 2-D covariance they have on the image.

It is built as P Pᵀ with P = J R_cam R(q) S, never through the 3-D covariance, so that thin Gaussians keep
their digits and the determinant is a sum of squares."""

from dyn3d_ns.kernels.jit import inline
from dyn3d_ns.kernels.types import F32, Lanes, Mask
from dyn3d_ns.kernels.vector import sqrt, vmax
from dyn3d_ns.kernels.vector_memory import gather


@inline
def _rotation(w: Lanes, x: Lanes, y: Lanes, z: Lanes) -> tuple[Lanes, ...]:
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
def axes_of(q: tuple[Lanes, ...]) -> tuple[tuple[Lanes, ...], tuple[Lanes, ...], Lanes]:
    """Return R(q) (9 vectors), the unit quaternion and 1 / |q|."""
    inverse = 1.0 / sqrt(vmax(q[0] * q[0] + q[1] * q[1] + q[2] * q[2] + q[3] * q[3], 1e-30))
    unit = (q[0] * inverse, q[1] * inverse, q[2] * inverse, q[3] * inverse)
    return _rotation(unit[0], unit[1], unit[2], unit[3]), unit, inverse


@inline
def spread_matrix(A: tuple[Lanes, ...], Q: tuple[Lanes, ...], s: tuple[Lanes, ...]) -> tuple[Lanes, ...]:
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
def cross(P: tuple[Lanes, ...]) -> tuple[Lanes, ...]:
    """Return the cross product of the two rows of P; its square is det(P Pᵀ)."""
    return P[1] * P[5] - P[2] * P[4], P[2] * P[3] - P[0] * P[5], P[0] * P[4] - P[1] * P[3]


@inline
def read3(array: F32, i: int, lanes: Mask) -> tuple[Lanes, ...]:
    """Read 16 rows of three from row i on."""
    return (
        gather(array, 3 * i, 3, lanes),
        gather(array, 3 * i + 1, 3, lanes),
        gather(array, 3 * i + 2, 3, lanes),
    )


@inline
def _read4(array: F32, i: int, lanes: Mask) -> tuple[Lanes, ...]:
    return (
        gather(array, 4 * i, 4, lanes),
        gather(array, 4 * i + 1, 4, lanes),
        gather(array, 4 * i + 2, 4, lanes),
        gather(array, 4 * i + 3, 4, lanes),
    )


@inline
def _read6(array: F32, i: int, lanes: Mask) -> tuple[Lanes, ...]:
    return (
        gather(array, 6 * i, 6, lanes),
        gather(array, 6 * i + 1, 6, lanes),
        gather(array, 6 * i + 2, 6, lanes),
        gather(array, 6 * i + 3, 6, lanes),
        gather(array, 6 * i + 4, 6, lanes),
        gather(array, 6 * i + 5, 6, lanes),
    )


@inline
def rows_times_covars(A: tuple[Lanes, ...], C: tuple[Lanes, ...]) -> tuple[Lanes, ...]:
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
def covariance(
    A: tuple[Lanes, ...], quats: F32, scales: F32, covars: F32, i: int, lanes: Mask,
) -> tuple[Lanes, ...]:  # fmt: skip
    """Return the 2-D covariance (xx, xy, yy) and its determinant."""
    if len(covars) > 0:
        B = rows_times_covars(A, _read6(covars, i, lanes))
        c00 = B[0] * A[0] + B[1] * A[1] + B[2] * A[2]
        c01 = B[0] * A[3] + B[1] * A[4] + B[2] * A[5]
        c11 = B[3] * A[3] + B[4] * A[4] + B[5] * A[5]
        return c00, c01, c11, c00 * c11 - c01 * c01
    Q, _, _ = axes_of(_read4(quats, i, lanes))
    P = spread_matrix(A, Q, read3(scales, i, lanes))
    n = cross(P)
    c00 = P[0] * P[0] + P[1] * P[1] + P[2] * P[2]
    c01 = P[0] * P[3] + P[1] * P[4] + P[2] * P[5]
    c11 = P[3] * P[3] + P[4] * P[4] + P[5] * P[5]
    return c00, c01, c11, n[0] * n[0] + n[1] * n[1] + n[2] * n[2]
