"""The box of a scene from its cameras or points, and the point that cameras look at."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64, Int64

_ROUNDING = 1e-12
"""Part of their coordinates by which places may differ and still are one."""


def focus_point(camera_to_worlds: Float64[np.ndarray, "C 4 4"]) -> Float64[np.ndarray, "3"]:
    """Return the point nearest to all optical axes in the least-squares sense.

    Where the axes are (almost) parallel the point is undetermined along them; there it is put at four
    times the spread of the cameras, a usual depth to baseline ratio of frontal rigs.
    """
    centres, axes = camera_to_worlds[:, :3, 3], -camera_to_worlds[:, :3, 2]
    across = np.eye(3) - axes[:, :, None] * axes[:, None, :]
    mean_axis = axes.mean(axis=0)
    spread = float(np.linalg.norm(centres - centres.mean(axis=0), axis=1).max())
    # The mean of equal places is off by its rounding.
    apart = spread > _ROUNDING * np.abs(centres).max()
    prior = centres.mean(axis=0) + mean_axis * (4 * spread if apart else 1.0)
    # A weak pull to the prior decides only the directions that the axes leave open.
    weight = 1e-3 * len(centres)
    normal = across.sum(axis=0) + weight * np.eye(3)
    return np.linalg.solve(normal, np.einsum("nij,nj->i", across, centres) + weight * prior)


def object_bounds(
    camera_to_worlds: Float64[np.ndarray, "C 4 4"], tan_half_fov: Float64[np.ndarray, "C"]
) -> Float64[np.ndarray, "2 3"]:
    """Return the box of an object that all cameras look at from outside.

    The cube around the focus point is as wide as the widest view cone there, with 15 % to spare.
    """
    focus = focus_point(camera_to_worlds)
    depth = -np.einsum("ni,ni->n", camera_to_worlds[:, :3, 2], focus - camera_to_worlds[:, :3, 3])
    distance = np.linalg.norm(focus - camera_to_worlds[:, :3, 3], axis=1)
    depth = np.where(depth > 0.05 * distance, depth, distance)
    radius = 1.15 * float((depth * tan_half_fov).max())
    return np.stack((focus - radius, focus + radius))


def surrounding_bounds(
    camera_to_worlds: Float64[np.ndarray, "C 4 4"], tan_half_fov: Float64[np.ndarray, "C 2"]
) -> Float64[np.ndarray, "2 3"]:
    """Return the box of a scene that fills the views: a room seen from inside, a frontal rig.

    The box encloses the cameras, their frusta as far as the focus point, and their axes twice as far,
    with 15 % of its longest side to spare all round.
    """
    focus, centres = focus_point(camera_to_worlds), camera_to_worlds[:, :3, 3]
    right, up, back = (camera_to_worlds[:, :3, i] for i in range(3))
    depth = -np.einsum("ni,ni->n", back, focus - centres)
    typical = float(np.median(depth[depth > 0])) if (depth > 0).any() else float(np.abs(depth).max())
    typical = typical if typical > 0 else 1.0
    depth = np.clip(depth, 0.25 * typical, 4 * typical)[:, None]
    x, y = right * tan_half_fov[:, :1] * depth, up * tan_half_fov[:, 1:] * depth
    ahead = centres - back * depth
    corners = [ahead + sx * x + sy * y for sx in (-1, 1) for sy in (-1, 1)]
    points = np.concatenate((centres, centres - 2 * back * depth, *corners))
    low, high = points.min(axis=0), points.max(axis=0)
    margin = 0.15 * float((high - low).max())
    return np.stack((low - margin, high + margin))


def bounds_of_points(points: Float64[np.ndarray, "P 3"]) -> Float64[np.ndarray, "2 3"]:
    """Return the box of a point cloud without its outermost half per cent, widened by a tenth."""
    low, high = np.percentile(points, [0.5, 99.5], axis=0)
    margin = 0.1 * np.maximum(high - low, 1e-3 * (high - low).max())
    return np.stack((low - margin, high + margin))


def group_poses(
    camera_to_worlds: Float64[np.ndarray, "N 4 4"], tolerance: float = 1e-5
) -> Int64[np.ndarray, "N"]:
    """Number poses by first appearance; poses equal within the tolerance share a number.

    Where all cameras stand within a thousand tolerances (a scene in tiny units), places have to be equal to a
    thousandth of the room that they take.
    """
    flat = camera_to_worlds[:, :3].reshape(len(camera_to_worlds), 12).copy()
    room = float(np.ptp(flat[:, 3::4], axis=0).max(initial=0))
    if tolerance < room < 1000 * tolerance:
        flat[:, 3::4] *= 1000 * tolerance / room
    ids = np.full(len(flat), -1, dtype=np.int64)
    next_id = 0
    for i in range(len(flat)):
        if ids[i] < 0:
            same = (ids < 0) & (np.abs(flat - flat[i]).max(axis=1) <= tolerance)
            ids[same] = next_id
            next_id += 1
    return ids
