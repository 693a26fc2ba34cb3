"""Relative inverse depth of a network to inverse depth in scene units, by what was triangulated."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

_TRIALS = 300
_ROUNDS = 30
_COARSE, _FINE = 0.02, 0.002
"""Least residual that counts, over the median inverse depth: of the start, and of the refinement. A wall that
fills half of the picture lies on every line through its depth, so that a median alone tells nothing."""
_FEW = 50
"""Points below which no fit is trusted."""


class AffineFit(NamedTuple):
    """``inverse depth = slope * relative + offset``."""

    slope: float
    offset: float
    error: float
    """Median absolute residual over the median inverse depth of the points."""


def fit_disparity(
    relative: Float64[np.ndarray, "P"],
    inverse_depth: Float64[np.ndarray, "P"],
    weight: Float64[np.ndarray, "P"],
) -> AffineFit | None:
    """Fit robustly: the best line through two points of many, then reweighted least squares (Cauchy).

    Args:
        relative: Relative inverse depth, large = near.
        inverse_depth: 1 / planar z at the same pixels.
        weight: Inverse variance of ``inverse_depth``; it is cut at a few times its median.

    Returns:
        None where the points are too few, or nearer ones are not the larger.
    """
    if len(relative) < _FEW or np.ptp(relative) <= 0:
        return None
    weight = np.minimum(weight / np.median(weight), 4.0)
    typical = float(np.median(inverse_depth))
    slope, offset = _start(relative, inverse_depth, _COARSE * typical)
    for _ in range(_ROUNDS):
        residual = inverse_depth - slope * relative - offset
        scale = max(1.4826 * float(np.median(np.abs(residual))), _FINE * typical)
        robust = weight / (1 + np.square(residual / (2 * scale)))
        slope, offset = _weighted_line(relative, inverse_depth, robust)
    if not slope > 0:
        return None
    residual = np.abs(inverse_depth - slope * relative - offset)
    return AffineFit(slope, offset, float(np.median(residual)) / typical)


def _start(x: Float64[np.ndarray, "P"], y: Float64[np.ndarray, "P"], scale: float) -> tuple[float, float]:
    """Return the line through two points that costs least (Cauchy), of those that rise."""
    rng = np.random.default_rng(0)
    some = rng.choice(len(x), min(len(x), 2000), replace=False)
    first, second = rng.choice(some, _TRIALS), rng.choice(some, _TRIALS)
    apart = np.abs(x[first] - x[second]) > 1e-3 * np.ptp(x)
    first, second = first[apart], second[apart]
    slopes = (y[first] - y[second]) / (x[first] - x[second])
    rises = slopes > 0
    if not rises.any():
        return _weighted_line(x, y, np.ones_like(x))
    offsets = (y[first] - slopes * x[first])[rises]
    slopes = slopes[rises]
    residuals = y[some] - slopes[:, None] * x[some] - offsets[:, None]
    best = int(np.log1p(np.square(residuals / scale)).sum(1).argmin())
    return float(slopes[best]), float(offsets[best])


def _weighted_line(
    x: Float64[np.ndarray, "P"], y: Float64[np.ndarray, "P"], weight: Float64[np.ndarray, "P"]
) -> tuple[float, float]:
    total = weight.sum()
    mean_x, mean_y = (weight * x).sum() / total, (weight * y).sum() / total
    spread = (weight * np.square(x - mean_x)).sum()
    slope = (weight * (x - mean_x) * (y - mean_y)).sum() / max(spread, 1e-300)
    return float(slope), float(mean_y - slope * mean_x)
