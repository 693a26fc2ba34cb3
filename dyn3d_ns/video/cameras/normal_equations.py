"""The normal equations of the robust reprojection error, reduced to the cameras.

The points are eliminated with the Schur complement (Triggs et al. 2000, section 6) in chunks, so that memory
grows with the number of adjusted cameras squared and not with the points.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int

from dyn3d_ns.video.cameras.bundle import NEAR, Bundle, Observations
from dyn3d_ns.video.cameras.projection import rotation_of, skew_rows, sum_rows

_CHUNK_ENTRIES = 4_000_000
"""Entries of the camera-point block that are held at once (32 MB)."""


@dataclass
class NormalBlocks:
    """Blocks of the normal equations."""

    cameras: Float[np.ndarray, "F 6 6"]
    cameras_focal: Float[np.ndarray, "F 6"]
    focal: float
    camera_gradient: Float[np.ndarray, "F 6"]
    focal_gradient: float
    points: Float[np.ndarray, "P 3 3"]
    point_gradient: Float[np.ndarray, "P 3"]
    coupling: Float[np.ndarray, "O 6 3"]
    focal_coupling: Float[np.ndarray, "P 3"]


def normal_blocks(bundle: Bundle, seen: Observations, robust_scale: float) -> NormalBlocks:
    """Return the blocks of the normal equations of the robust reprojection error at a bundle."""
    frames, points = seen.frames, seen.points
    rotated = np.einsum("oij,oj->oi", bundle.rotations[frames], bundle.points[points])
    at = rotated + bundle.translations[frames]
    valid = at[:, 2] > NEAR
    z = np.where(valid, at[:, 2], 1.0)
    normalized = at[:, :2] / z[:, None]
    residual = bundle.focal * normalized + np.asarray(bundle.center) - seen.pixels
    weight = valid / (1.0 + (residual**2).sum(1) / robust_scale**2)
    along = np.zeros((len(z), 2, 3))
    along[:, 0, 0] = along[:, 1, 1] = bundle.focal / z
    along[:, :, 2] = -bundle.focal * normalized / z[:, None]
    by_camera = np.concatenate((along @ -skew_rows(rotated), along), axis=2)
    by_point = along @ bundle.rotations[frames]
    by_focal = bundle.focal * normalized
    weighted_camera = by_camera * weight[:, None, None]
    weighted_point = by_point * weight[:, None, None]
    count_f, count_p = len(bundle.rotations), len(bundle.points)
    return NormalBlocks(
        cameras=sum_rows(weighted_camera.transpose(0, 2, 1) @ by_camera, frames, count_f),
        cameras_focal=sum_rows(np.einsum("oki,ok->oi", weighted_camera, by_focal), frames, count_f),
        focal=float((weight * (by_focal**2).sum(1)).sum()),
        camera_gradient=sum_rows(np.einsum("oki,ok->oi", weighted_camera, residual), frames, count_f),
        focal_gradient=float((weight * (by_focal * residual).sum(1)).sum()),
        points=sum_rows(weighted_point.transpose(0, 2, 1) @ by_point, points, count_p),
        point_gradient=sum_rows(np.einsum("oki,ok->oi", weighted_point, residual), points, count_p),
        coupling=weighted_camera.transpose(0, 2, 1) @ by_point,
        focal_coupling=sum_rows(np.einsum("oki,ok->oi", weighted_point, by_focal), points, count_p),
    )


def damped_step(
    bundle: Bundle,
    seen: Observations,
    system: NormalBlocks,
    damping: float,
    fixed: Bool[np.ndarray, "S"],
) -> Bundle | None:
    """Solve the damped normal equations and take the step; None if they are singular.

    Cameras that stay as they are, or see nothing, take no room in the equations: a long clip is adjusted on
    few of its frames.

    Args:
        fixed: Parameters that must not move: six of each camera (rotation, translation), then log focal.
    """
    count = len(bundle.rotations)
    held = fixed[:-1].reshape(count, 6)
    free = np.flatnonzero(~held.all(1) & (np.bincount(seen.frames, minlength=count) > 0))
    size = 6 * len(free) + 1
    reduced = np.zeros((size, size))
    for k, camera in enumerate(free):
        reduced[6 * k : 6 * k + 6, 6 * k : 6 * k + 6] = system.cameras[camera]
    reduced[-1, :-1] = reduced[:-1, -1] = system.cameras_focal[free].ravel()
    reduced[-1, -1] = system.focal
    diagonal = np.arange(size)
    reduced[diagonal, diagonal] *= 1.0 + damping
    gradient = np.append(system.camera_gradient[free].ravel(), system.focal_gradient)
    inverse = _damped_inverse(system.points, damping)
    column = np.full(count, -1)
    column[free] = np.arange(len(free))
    _eliminate_points(reduced, gradient, column[seen.frames], seen.points, system, inverse)
    _hold(reduced, gradient, np.append(held[free].ravel(), fixed[-1]))
    try:
        solved = np.linalg.solve(reduced, -gradient)
    except np.linalg.LinAlgError:
        return None
    if not np.isfinite(solved).all():
        return None
    step = np.zeros((count, 6))
    step[free] = solved[:-1].reshape(-1, 6)
    return _apply(bundle, seen, system, inverse, step, float(solved[-1]))


def _damped_inverse(blocks: Float[np.ndarray, "P 3 3"], damping: float) -> Float[np.ndarray, "P 3 3"]:
    """Invert the points' blocks; the direction of a single ray, which is not seen, stays put."""
    blocks = blocks.copy()
    axis = np.arange(3)
    trace = blocks[:, axis, axis].sum(1, keepdims=True)
    blocks[:, axis, axis] += damping * blocks[:, axis, axis] + 1e-9 * trace + 1e-12
    return np.linalg.inv(blocks)


def _eliminate_points(
    reduced: Float[np.ndarray, "S S"],
    gradient: Float[np.ndarray, "S"],
    columns: Int[np.ndarray, "O"],
    points: Int[np.ndarray, "O"],
    system: NormalBlocks,
    inverse: Float[np.ndarray, "P 3 3"],
) -> None:
    """Subtract the points' part from the cameras' equations, chunk by chunk.

    Args:
        columns: place of each observation's camera in the equations; -1 for one that takes none.
        points: point of each observation, ascending.
    """
    size, count = len(gradient), len(inverse)
    chunk = max(1, _CHUNK_ENTRIES // (3 * size))
    # With the Cholesky factor L of a point's inverse, its part is Y Y^T for Y = coupling L.
    factor = np.linalg.cholesky(inverse)
    bounds = np.searchsorted(points, np.arange(0, count + chunk, chunk))
    for k, (low, high) in enumerate(zip(bounds[:-1], bounds[1:], strict=True)):
        first, last = k * chunk, min((k + 1) * chunk, count)
        coupling = np.zeros((3, size, last - first))
        mine = low + np.flatnonzero(columns[low:high] >= 0)
        rows, places = 6 * columns[mine, None] + np.arange(6), points[mine, None] - first
        for axis in range(3):
            coupling[axis, rows, places] = system.coupling[mine, :, axis]
        coupling[:, -1] = system.focal_coupling[first:last].T
        lower, pull = factor[first:last], system.point_gradient[first:last]
        for axis in range(3):
            carried = (coupling[axis:] * lower[:, axis:, axis].T[:, None]).sum(0)
            reduced -= carried @ carried.T
            gradient -= carried @ (lower[:, :, axis] * pull).sum(1)


def _hold(reduced: Float[np.ndarray, "S S"], gradient: Float[np.ndarray, "S"], fixed: np.ndarray) -> None:
    """Take what must not move, or is not seen at all, out of the equations."""
    fixed = fixed | (np.diagonal(reduced) <= 0)
    reduced[fixed] = 0.0
    reduced[:, fixed] = 0.0
    reduced[fixed, fixed] = 1.0
    gradient[fixed] = 0.0


def _apply(
    bundle: Bundle,
    seen: Observations,
    system: NormalBlocks,
    inverse: Float[np.ndarray, "P 3 3"],
    cameras: Float[np.ndarray, "F 6"],
    log_focal: float,
) -> Bundle:
    log_focal = float(np.clip(log_focal, -0.5, 0.5))
    towards = np.einsum("oij,oi->oj", system.coupling, cameras[seen.frames])
    right = system.point_gradient + sum_rows(towards, seen.points, len(bundle.points))
    right += system.focal_coupling * log_focal
    turn = rotation_of(cameras[:, :3])
    return replace(
        bundle,
        rotations=turn @ bundle.rotations,
        translations=bundle.translations + cameras[:, 3:],
        points=bundle.points - np.einsum("pij,pj->pi", inverse, right),
        focal=bundle.focal * float(np.exp(log_focal)),
    )
