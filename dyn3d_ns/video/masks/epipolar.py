"""The epipolar geometry of a scene that is mostly one plane, with things that move in it."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Float64

from dyn3d_ns.geometry.epipolar import algebraic_error, sampson_distance

INLIER = 0.5
"""Sampson distance in pixels up to which the robust start counts a match."""
_TIGHT = 0.25
_OFF_PLANE = 1.0
_TRIALS = 400
_LINES = 300
_FEW = 20
_SCALES = (0.4, 0.4, 0.4, 0.4, 0.15, 0.15, 0.15, 0.15)
"""Cauchy scales in pixels of the refining rounds."""


def homography_distance(
    homography: Float64[np.ndarray, "3 3"], a: Float[np.ndarray, "*n 2"], b: Float[np.ndarray, "*n 2"]
) -> Float[np.ndarray, "*n"]:
    """Return the distance in pixels of b from where a homography takes a, in the precision of a."""
    moved = _project(homography, a)
    return np.sqrt((moved[..., 0] - b[..., 0]) ** 2 + (moved[..., 1] - b[..., 1]) ** 2)


def fit_homography(
    a: Float64[np.ndarray, "n 2"], b: Float64[np.ndarray, "n 2"]
) -> tuple[Float64[np.ndarray, "3 3"], Bool[np.ndarray, "n"]]:
    """Fit the dominant homography from a to b (MAGSAC++); returns it and its inliers at about a pixel."""
    import cv2

    matrix, inliers = cv2.findHomography(a, b, cv2.USAC_MAGSAC, 1.0, None, 2000, 0.999)
    if matrix is None:
        return np.eye(3), np.zeros(len(a), bool)
    return matrix, inliers.ravel().astype(bool)


def fit_fundamental(
    a: Float64[np.ndarray, "n 2"], b: Float64[np.ndarray, "n 2"], homography: Float64[np.ndarray, "3 3"]
) -> Float64[np.ndarray, "3 3"] | None:
    """Fit the fundamental matrix of a to b; None where there is none.

    Where one plane fills the picture, sampled matches determine the epipole badly, and a moving object may
    win over the little that stands off the plane. So a second start takes the plane as known and votes for
    the epipole with what is off it alone (plane and parallax). Both are refined; the better one is taken.
    """
    import cv2

    starts = []
    try:
        sampled, _ = cv2.findFundamentalMat(a, b, cv2.USAC_MAGSAC, INLIER, 0.999, 2000)
    except cv2.error:  # OpenCV asserts that a polished model is left, and at times none is
        sampled = None
    if sampled is not None and sampled.shape == (3, 3):
        starts.append(sampled)
    voted = _plane_and_parallax(a, b, homography)
    if voted is not None:
        starts.append(voted)
    refined = [_refine(start, a, b) for start in starts]
    return min(refined, key=lambda f: _cost(f, a, b), default=None)


def _plane_and_parallax(
    a: Float64[np.ndarray, "n 2"], b: Float64[np.ndarray, "n 2"], homography: Float64[np.ndarray, "3 3"]
) -> Float64[np.ndarray, "3 3"] | None:
    """Vote for the epipole: what stands off the plane moves along lines that meet there."""
    moved = _project(homography, a)
    off = np.flatnonzero(np.linalg.norm(moved - b, axis=1) > _OFF_PLANE)
    if len(off) < _FEW:
        return None
    rng = np.random.default_rng(0)
    some = rng.choice(off, min(len(off), _LINES), replace=False)
    start = moved[some]
    lines = np.cross(_homogeneous(start), _homogeneous(b[some]))
    first, second = rng.integers(len(some), size=(2, _TRIALS))
    epipoles = np.cross(lines[first], lines[second])
    length = np.linalg.norm(epipoles, axis=1)
    epipoles = epipoles[length > 1e-9] / length[length > 1e-9, None]
    if not len(epipoles):
        return None
    # The line through an epipole and a start misses the end by their triple product over its length.
    x, y, z = epipoles.T[..., None]
    length = np.sqrt((y - z * start[:, 1]) ** 2 + (z * start[:, 0] - x) ** 2)
    distance = np.abs(epipoles @ lines.T) / np.maximum(length, 1e-12)
    x, y, z = epipoles[np.minimum(distance, 2 * _TIGHT).sum(1).argmin()]
    return np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]]) @ homography


def _refine(
    fundamental: Float64[np.ndarray, "3 3"], a: Float64[np.ndarray, "n 2"], b: Float64[np.ndarray, "n 2"]
) -> Float64[np.ndarray, "3 3"]:
    """Refit by the eight-point method with Sampson and Cauchy weights, round after round."""
    norm_a, norm_b = _normalizer(a), _normalizer(b)
    x, y = _homogeneous(a) @ norm_a.T, _homogeneous(b) @ norm_b.T
    rows = (y[:, :, None] * x[:, None, :]).reshape(-1, 9)
    for scale in _SCALES:
        product, norm = algebraic_error(fundamental, a, b)
        weight = 1 / (1 + np.square(product / norm / scale)) * (np.median(norm) / norm)
        weighted = rows * weight[:, None]
        _, vectors = np.linalg.eigh(weighted.T @ weighted)
        u, s, vt = np.linalg.svd(vectors[:, 0].reshape(3, 3))
        fundamental = norm_b.T @ (u * np.array([s[0], s[1], 0.0])) @ vt @ norm_a
    return fundamental


def _cost(
    fundamental: Float64[np.ndarray, "3 3"], a: Float64[np.ndarray, "n 2"], b: Float64[np.ndarray, "n 2"]
) -> float:
    return float(np.minimum(np.square(sampson_distance(fundamental, a, b)), _TIGHT**2).mean())


def _project(h: Float64[np.ndarray, "3 3"], a: Float[np.ndarray, "*n 2"]) -> Float[np.ndarray, "*n 2"]:
    x, y, z = (row[0] * a[..., 0] + row[1] * a[..., 1] + row[2] for row in h.astype(a.dtype))
    depth = np.where(np.abs(z) < 1e-9, 1e-9, z)
    return np.stack((x / depth, y / depth), axis=-1)


def _homogeneous(points: Float64[np.ndarray, "n 2"]) -> Float64[np.ndarray, "n 3"]:
    return np.concatenate((points, np.ones((len(points), 1))), axis=1)


def _normalizer(points: Float64[np.ndarray, "n 2"]) -> Float64[np.ndarray, "3 3"]:
    """Return the shift and scale that Hartley normalises points with."""
    center = points.mean(0)
    scale = np.sqrt(2) / max(float(np.linalg.norm(points - center, axis=1).mean()), 1e-9)
    return np.array([[scale, 0, -scale * center[0]], [0, scale, -scale * center[1]], [0, 0, 1]])
