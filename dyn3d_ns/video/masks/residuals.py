"""How far the flow between two frames is from what a moving camera alone explains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float32, Float64

from dyn3d_ns.geometry.cameras import pixel_grid
from dyn3d_ns.geometry.epipolar import sampson_distance
from dyn3d_ns.video.masks.epipolar import (
    INLIER,
    fit_fundamental,
    fit_homography,
    homography_distance,
)

Kind = Literal["still", "planar", "parallax", "known"]

STILL_FLOW = 0.5
"""A pair whose median flow is below this many pixels was seen by a camera at rest."""
PLANAR_SHARE = 0.9
"""If a homography explains this share of the epipolar inliers, the epipolar geometry is not determined."""
_SAMPLES = 2000


@dataclass(frozen=True)
class PairResidual:
    """Residuals of one pair of frames in pixels, with their robust scales over the background."""

    kind: Kind
    """`still`: no camera motion; `planar`: rotation or one plane; `parallax`: epipolar geometry is known;
    `known`: cameras and depth are."""
    planar: Float32[np.ndarray, "H W"]
    """Distance from the dominant homography (from no motion, for a still camera; from the ego-flow, where
    cameras and depth are known)."""
    planar_scale: float
    epipolar: Float32[np.ndarray, "H W"] | None
    """Sampson distance; None unless the pair has parallax."""
    epipolar_scale: float
    valid: Bool[np.ndarray, "H W"]


def robust_scale(residual: np.ndarray) -> float:
    """Return the standard deviation of the noise under a non-negative residual with outliers."""
    return 1.4826 * float(np.median(residual)) if residual.size else 0.0


def pair_residual(
    flow: Float32[np.ndarray, "H W 2"],
    valid: Bool[np.ndarray, "H W"],
    background: Bool[np.ndarray, "H W"] | None = None,
) -> PairResidual:
    """Measure what the camera's motion does not explain of a flow.

    Args:
        flow: Pixels to the other frame.
        valid: Where forward and backward flow agree.
        background: Where the scene is believed to be static; the camera's motion is fitted there alone.
    """
    height, width = valid.shape
    start = pixel_grid(height, width).astype(np.float32)
    end = start + flow
    usable = valid if background is None else valid & background
    a, b = _matches(start, end, usable)
    if len(a) < 16 or np.median(np.linalg.norm(b - a, axis=-1)) < STILL_FLOW:
        speed = np.linalg.norm(flow, axis=-1)
        return PairResidual("still", speed, robust_scale(speed[usable]), None, 0.0, valid)
    homography, on_plane = fit_homography(a, b)
    planar = homography_distance(homography, start, end)
    planar_scale = robust_scale(planar[usable])
    fundamental = fit_fundamental(a, b, homography)
    if fundamental is None:
        return PairResidual("planar", planar, planar_scale, None, 0.0, valid)
    inliers = sampson_distance(fundamental, a, b) < INLIER
    if not inliers.any() or on_plane[inliers].mean() >= PLANAR_SHARE:
        return PairResidual("planar", planar, planar_scale, None, 0.0, valid)
    epipolar = sampson_distance(fundamental, start, end)
    return PairResidual("parallax", planar, planar_scale, epipolar, robust_scale(epipolar[usable]), valid)


def _matches(
    start: Float32[np.ndarray, "H W 2"], end: Float32[np.ndarray, "H W 2"], usable: Bool[np.ndarray, "H W"]
) -> tuple[Float64[np.ndarray, "n 2"], Float64[np.ndarray, "n 2"]]:
    """Pick about `_SAMPLES` matches on a regular grid."""
    step = max(1, round(np.sqrt(usable.size / _SAMPLES)))
    grid = np.zeros_like(usable)
    grid[step // 2 :: step, step // 2 :: step] = True
    grid &= usable
    return start[grid].astype(np.float64), end[grid].astype(np.float64)
