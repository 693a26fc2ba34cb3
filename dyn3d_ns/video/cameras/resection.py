"""Poses of cameras from points whose place is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float

from dyn3d_ns.video.cameras.bundle import Bundle, Observations, reprojection_errors
from dyn3d_ns.video.cameras.normal_equations import normal_blocks
from dyn3d_ns.video.cameras.projection import rotation_of, sum_rows

_MIN_POINTS = 6
_AT_ONCE = 64
"""Poses that are fitted at once."""


def resect(
    pixels: Float[np.ndarray, "N 2"],
    points: Float[np.ndarray, "N 3"],
    focal: float,
    center: tuple[float, float],
    guess: tuple[Float[np.ndarray, "3 3"], Float[np.ndarray, "3"]],
    threshold: float = 4.0,
) -> tuple[Float[np.ndarray, "3 3"], Float[np.ndarray, "3"], Bool[np.ndarray, "N"]] | None:
    """Return rotation, translation (world to camera) and inliers of one camera, or None if nothing fits.

    RANSAC over minimal sets, started as well from a guess (the neighbour's pose).
    """
    import cv2

    if len(pixels) < _MIN_POINTS:
        return None
    matrix = np.array([[focal, 0, center[0]], [0, focal, center[1]], [0, 0, 1.0]])
    cv2.setRNGSeed(0)
    found, rotvec, translation, inliers = cv2.solvePnPRansac(
        points,
        pixels,
        matrix,
        np.zeros(4),
        iterationsCount=200,
        reprojectionError=threshold,
        confidence=0.999,
        flags=cv2.SOLVEPNP_SQPNP,
    )
    candidates = [guess]
    if found and inliers is not None:
        candidates.append((cv2.Rodrigues(rotvec)[0], translation[:, 0]))
    best = None
    for rotation, shift in candidates:
        at = points @ rotation.T + shift
        image = focal * at[:, :2] / np.where(at[:, 2:] > 1e-9, at[:, 2:], np.nan) + np.asarray(center)
        near = np.linalg.norm(image - pixels, axis=1) < threshold
        if best is None or near.sum() > best[2].sum():
            best = (rotation, shift, near)
    return best if best is not None and best[2].sum() >= _MIN_POINTS else None


def refine_poses(
    bundle: Bundle,
    seen: Observations,
    free: Bool[np.ndarray, "F"],
    robust_scale: float = 1.0,
    iterations: int = 20,
) -> Bundle:
    """Fit each free pose to its own observations (Levenberg-Marquardt, Cauchy loss); points stay.

    As poses do not depend on each other, few are fitted at once: memory does not grow with the clip.
    """
    rotations, translations = bundle.rotations.copy(), bundle.translations.copy()
    ids = np.flatnonzero(free & (np.bincount(seen.frames, minlength=len(free)) > 0))
    for part in np.split(ids, range(_AT_ONCE, len(ids), _AT_ONCE)):
        place = np.full(len(free), -1)
        place[part] = np.arange(len(part))
        mine = seen.select(place[seen.frames] >= 0)
        some = replace(bundle, rotations=rotations[part], translations=translations[part])
        fitted = _refine(some, mine._replace(frames=place[mine.frames]), robust_scale, iterations)
        rotations[part], translations[part] = fitted.rotations, fitted.translations
    return replace(bundle, rotations=rotations, translations=translations)


def _refine(bundle: Bundle, seen: Observations, robust_scale: float, iterations: int) -> Bundle:
    """Fit all poses; each has a damping of its own, and stays where a step does not lower its cost."""
    if len(seen.frames) == 0:
        return bundle
    count = len(bundle.rotations)
    damping = np.full(count, 1e-3)
    cost = _cost_by_frame(bundle, seen, robust_scale)
    for _ in range(iterations):
        blocks = normal_blocks(bundle, seen, robust_scale)
        diagonal = np.arange(6)
        matrix = blocks.cameras.copy()
        matrix[:, diagonal, diagonal] *= 1.0 + damping[:, None]
        matrix[:, diagonal, diagonal] += 1e-9
        step = -np.linalg.solve(matrix, blocks.camera_gradient[..., None])[..., 0]
        candidate = Bundle(
            rotation_of(step[:, :3]) @ bundle.rotations,
            bundle.translations + step[:, 3:],
            bundle.points,
            bundle.focal,
            bundle.center,
        )
        new_cost = _cost_by_frame(candidate, seen, robust_scale)
        better = new_cost < cost
        bundle = Bundle(
            np.where(better[:, None, None], candidate.rotations, bundle.rotations),
            np.where(better[:, None], candidate.translations, bundle.translations),
            bundle.points,
            bundle.focal,
            bundle.center,
        )
        damping = np.where(better, damping / 5.0, damping * 5.0)
        finished = (cost - new_cost)[better] < 1e-6 * cost[better]
        cost = np.where(better, new_cost, cost)
        if finished.all() and damping.min() > 1e3 or better.any() and finished.all():
            break
    return bundle


def _cost_by_frame(bundle: Bundle, seen: Observations, scale: float) -> Float[np.ndarray, "F"]:
    errors = np.minimum(reprojection_errors(bundle, seen), 1e3)
    return sum_rows(np.log1p((errors / scale) ** 2), seen.frames, len(bundle.rotations))
