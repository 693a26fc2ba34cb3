"""Two views of what stands still: the fundamental matrix, and how far matches are from it."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float64


def fundamental_matrix(
    K_a: Float64[np.ndarray, "3 3"], K_b: Float64[np.ndarray, "3 3"], b_from_a: Float64[np.ndarray, "4 4"]
) -> Float64[np.ndarray, "3 3"]:
    """Return F with b' F a = 0 for pixels a, b of a point at rest, from intrinsics and OpenCV's axes.

    ``b_from_a`` maps points in the first camera's axes to the second's; without a translation F is 0.
    """
    x, y, z = b_from_a[:3, 3]
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.linalg.inv(K_b).T @ cross @ b_from_a[:3, :3] @ np.linalg.inv(K_a)


def sampson_distance(
    fundamental: Float64[np.ndarray, "3 3"], a: Float[np.ndarray, "*n 2"], b: Float[np.ndarray, "*n 2"]
) -> Float[np.ndarray, "*n"]:
    """Return the first-order distance in pixels of matches a, b from b' F a = 0.

    Hartley & Zisserman, Multiple View Geometry, equation 11.9 (its square root).
    """
    product, norm = algebraic_error(fundamental, a, b)
    return np.abs(product) / norm


def algebraic_error(
    f: Float64[np.ndarray, "3 3"], a: Float[np.ndarray, "*n 2"], b: Float[np.ndarray, "*n 2"]
) -> tuple[Float[np.ndarray, "*n"], Float[np.ndarray, "*n"]]:
    """Return b' F a, and the length of its gradient, in the precision of a."""
    # Coordinate by coordinate: products of matrices with rows of two are slow.
    f = f.astype(a.dtype)
    ax, ay, bx, by = a[..., 0], a[..., 1], b[..., 0], b[..., 1]
    x, y, z = (row[0] * ax + row[1] * ay + row[2] for row in f)
    product = bx * x + by * y + z
    square = x**2 + y**2
    for column in f.T[:2]:
        square += (column[0] * bx + column[1] * by + column[2]) ** 2
    return product, np.sqrt(np.maximum(square, 1e-24))


def epipolar_distance(
    fundamental: Float64[np.ndarray, "3 3"], a: Float64[np.ndarray, "*n 2"], b: Float64[np.ndarray, "*n 2"]
) -> Float64[np.ndarray, "*n"]:
    """Return the distance in pixels of b from the line on which a point at rest, seen at a, must lie."""
    line = a @ fundamental[:, :2].T + fundamental[:, 2]
    product = b[..., 0] * line[..., 0] + b[..., 1] * line[..., 1] + line[..., 2]
    return np.abs(product) / np.sqrt(np.maximum(np.square(line[..., :2]).sum(-1), 1e-24))
