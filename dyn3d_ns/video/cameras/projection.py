"""Pinhole projection, rotations and triangulation on numpy arrays (OpenCV axes, integer pixel centres)."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int

from dyn3d_ns.geometry.cameras import from_pixels


def rotation_of(rotvecs: Float[np.ndarray, "N 3"]) -> Float[np.ndarray, "N 3 3"]:
    """Return the rotation matrices of axis-angle vectors (radians)."""
    from scipy.spatial.transform import Rotation

    return Rotation.from_rotvec(rotvecs).as_matrix()


def camera_points(
    rotations: Float[np.ndarray, "F 3 3"],
    translations: Float[np.ndarray, "F 3"],
    points: Float[np.ndarray, "P 3"],
    frame_index: Int[np.ndarray, "O"],
    point_index: Int[np.ndarray, "O"],
) -> Float[np.ndarray, "O 3"]:
    """Return world points in the axes of the cameras that see them."""
    rotated = np.einsum("oij,oj->oi", rotations[frame_index], points[point_index])
    return rotated + translations[frame_index]


def project(
    points: Float[np.ndarray, "N 3"], focal: float, center: tuple[float, float]
) -> Float[np.ndarray, "N 2"]:
    """Return the pixels of points in camera axes; what is not in front gives finite nonsense."""
    # Signed, unlike geometry's: residuals of a point that slips behind a camera must lead it back.
    z = np.where(np.abs(points[:, 2]) > 1e-12, points[:, 2], 1e-12)
    return focal * points[:, :2] / z[:, None] + np.asarray(center)


def viewing_rays(
    pixels: Float[np.ndarray, "N 2"], focal: float, center: tuple[float, float]
) -> Float[np.ndarray, "N 3"]:
    """Return unit directions of pixels in camera axes."""
    rays = from_pixels(pixels, np.ones(len(pixels)), np.full(2, focal), np.asarray(center))
    return rays / np.linalg.norm(rays, axis=1, keepdims=True)


def triangulate(
    origins: Float[np.ndarray, "O 3"],
    directions: Float[np.ndarray, "O 3"],
    index: Int[np.ndarray, "O"],
    count: int,
) -> tuple[Float[np.ndarray, "P 3"], Float[np.ndarray, "P"], Bool[np.ndarray, "P"]]:
    """Meet rays in points: the place nearest to all rays of each point.

    Args:
        origins: where each ray starts, in the world.
        directions: unit directions.
        index: the point that each ray sees, in 0..count-1.
        count: number of points.

    Returns:
        Points; the angle (radians) that each point's rays span, 0 with fewer than two; and whether the
        point lies in front of all its rays' origins.
    """
    across = np.eye(3) - directions[:, :, None] * directions[:, None, :]
    matrix, right = (
        sum_rows(across, index, count),
        sum_rows((across @ origins[:, :, None])[..., 0], index, count),
    )
    trace = np.trace(matrix, axis1=1, axis2=2)
    matrix = matrix + (1e-9 * trace + 1e-12)[:, None, None] * np.eye(3)
    points = np.linalg.solve(matrix, right[..., None])[..., 0]
    towards = points[index] - origins
    ahead = (towards * directions).sum(1) > 0
    behind = np.bincount(index, ~ahead, count)
    seen = np.bincount(index, minlength=count)
    return points, _span(directions, index, count), (behind == 0) & (seen >= 2)


def _span(
    directions: Float[np.ndarray, "O 3"], index: Int[np.ndarray, "O"], count: int
) -> Float[np.ndarray, "P"]:
    """Return twice the largest angle between a point's rays and their mean, a bound on what they span."""
    mean = sum_rows(directions, index, count)
    mean /= np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-12)
    away = np.linalg.norm(directions - mean[index], axis=1)
    largest = np.zeros(count)
    np.maximum.at(largest, index, away)
    return 4.0 * np.arcsin(np.clip(largest / 2.0, 0.0, 1.0))


def sum_rows(values: Float[np.ndarray, "O *k"], index: Int[np.ndarray, "O"], count: int) -> np.ndarray:
    """Sum rows that have the same index, for each index in 0..count-1."""
    from scipy.sparse import csr_matrix

    if len(index) == 0:
        return np.zeros((count, *values.shape[1:]))
    ones = np.ones(len(index))
    gather = csr_matrix((ones, (index, np.arange(len(index)))), shape=(count, len(index)))
    width = int(np.prod(values.shape[1:], dtype=int))
    return (gather @ values.reshape(len(values), width)).reshape(count, *values.shape[1:])
