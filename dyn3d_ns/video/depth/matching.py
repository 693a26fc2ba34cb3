"""Bring depth from elsewhere to the scale of the cameras."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float

Model = Literal["none", "scale", "disparity", "inverse"]
"""Depth is: as given; s D; 1 / (a / D + b); 1 / (a D + b), for networks that answer inverse depth."""


class DepthMatch(NamedTuple):
    """How given depth becomes planar z of the cameras' world."""

    model: Model
    scale: float
    shift: float
    error: float
    """Median relative error at the points that it was fitted to."""

    def apply(self, depth: Float[np.ndarray, "*s"]) -> Float[np.ndarray, "*s"]:
        """Return planar z; 0 where the given depth is not known or comes to lie behind the camera."""
        known = np.isfinite(depth) & (depth > 0)
        safe = np.where(known, depth, 1.0)
        if self.model in ("none", "scale"):
            return np.where(known, self.scale * safe, 0.0)
        raw = safe if self.model == "inverse" else 1.0 / safe
        inverse = self.scale * raw + self.shift
        ahead = known & (inverse > 1e-6)
        return np.where(ahead, 1.0 / np.where(ahead, inverse, 1.0), 0.0)


IDENTITY = DepthMatch("none", 1.0, 0.0, 0.0)


def fit_match(given: Float[np.ndarray, "M"], true: Float[np.ndarray, "M"], model: Model) -> DepthMatch:
    """Fit one model to pairs of given and true depth, robustly.

    Raises:
        ValueError: fewer than three pairs are finite and positive.
    """
    keep = np.isfinite(given) & (given > 0) & (true > 0)
    if keep.sum() < 3:
        raise ValueError(f"need at least 3 points with depth to fit a scale, got {int(keep.sum())}")
    given, true = given[keep], true[keep]
    if model == "none":
        match = IDENTITY
    elif model == "scale":
        match = DepthMatch("scale", float(np.median(true / given)), 0.0, 0.0)
    else:
        scale, shift = _robust_line(given if model == "inverse" else 1.0 / given, 1.0 / true)
        match = DepthMatch(model, scale, shift, 0.0)
    found = match.apply(given)
    return match._replace(error=float(np.median(np.abs(found - true) / true)))


def best_match(given: Float[np.ndarray, "M"], true: Float[np.ndarray, "M"]) -> DepthMatch:
    """Return the model that fits best; a shift must better the plain scale by a fifth to be believed."""
    plain = fit_match(given, true, "scale")
    others = [fit_match(given, true, model) for model in ("disparity", "inverse")]
    best = min(others, key=lambda match: match.error)
    return best if best.error < 0.8 * plain.error else plain


def _robust_line(x: Float[np.ndarray, "M"], y: Float[np.ndarray, "M"]) -> tuple[float, float]:
    """Return slope and offset of y over x by least squares, reweighted towards absolute errors."""
    weights = np.ones_like(x)
    slope = offset = 0.0
    for _ in range(20):
        root = np.sqrt(weights)
        design = np.stack((x, np.ones_like(x)), axis=1) * root[:, None]
        slope, offset = np.linalg.lstsq(design, y * root, rcond=None)[0]
        miss = np.abs(slope * x + offset - y)
        weights = 1.0 / np.maximum(miss, 1e-3 * np.median(np.abs(y)) + 1e-12)
    return float(slope), float(offset)
