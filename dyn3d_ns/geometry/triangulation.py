"""Inverse depth of every pixel from flow to frames whose cameras are known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64

from dyn3d_ns.geometry.cameras import pixel_grid, unproject

_NEAR = 1e-3
_MAX_RELATIVE = 1e3
"""Depth in units of the longest baseline from which a point counts as infinitely far."""


class FlowView(NamedTuple):
    """A frame seen from another: where its pixels go, and how the camera moved."""

    flow: Float32[np.ndarray, "H W 2"]
    valid: Bool[np.ndarray, "H W"]
    K: Float64[np.ndarray, "3 3"]
    """Intrinsics of the other frame."""
    transform: Float64[np.ndarray, "4 4"]
    """From this camera's axes to the other's."""


class InverseDepth(NamedTuple):
    """Inverse depth (1 / planar z) and how much it is worth."""

    value: Float32[np.ndarray, "H W"]
    weight: Float32[np.ndarray, "H W"]
    """Inverse variance; 0 where nothing is known."""


def triangulate_flow(
    K: Float64[np.ndarray, "3 3"],
    views: Sequence[FlowView],
    noise: float = 0.3,
    iterations: int = 5,
    max_error: float = 1.0,
) -> InverseDepth:
    """Return the inverse depth at which pixels, moved by the cameras, land where the flow leads.

    The reprojection error is linear in inverse depth up to the depth in the other camera, so that a few
    reweighted steps (Cauchy) of a closed form over all views suffice.

    Args:
        K: intrinsics of the frame.
        views: other frames.
        noise: standard deviation of the flow in pixels.
        iterations: reweighted steps.
        max_error: pixels that the best inverse depth may miss by, as a weighted mean over the views.
    """
    height, width = views[0].valid.shape
    rays = _rays(K, height, width)
    value = np.zeros((height, width), np.float32)
    information = np.zeros_like(value)
    error = np.zeros_like(value)
    ends = [_Line(view, rays) for view in views]
    for iteration in range(iterations):
        top = np.zeros_like(value)
        information, error, total = np.zeros_like(value), np.zeros_like(value), np.zeros_like(value)
        for line in ends:
            slope, offset, seen = line.linearized(value)
            off = offset + slope * value[..., None]
            miss = _dot(off, off)
            weight = seen if iteration == 0 else seen / (1.0 + miss / (2.0 * noise) ** 2)
            top -= weight * _dot(slope, offset)
            information += weight * _dot(slope, slope)
            error += weight * np.sqrt(miss)
            total += weight
        error /= np.maximum(total, 1e-6)
        if iteration < iterations - 1:
            value = np.where(information > 0, top / np.maximum(information, 1e-9), 0.0).astype(np.float32)
    return _accepted(value, information / noise**2, error < max_error, views)


def _dot(a: Float32[np.ndarray, "H W 2"], b: Float32[np.ndarray, "H W 2"]) -> Float32[np.ndarray, "H W"]:
    """Return the products of vectors of two; numpy sums short axes slowly."""
    return a[..., 0] * b[..., 0] + a[..., 1] * b[..., 1]


class _Line:
    """The line on which a pixel's image in another frame moves as its inverse depth grows."""

    # Not geometry's projection: linear in inverse depth, and the slope shares its terms.

    def __init__(self, view: FlowView, rays: Float32[np.ndarray, "H W 3"]) -> None:
        height, width = view.valid.shape
        self.far = rays @ (view.K @ view.transform[:3, :3]).astype(np.float32).T
        self.near = (view.K @ view.transform[:3, 3]).astype(np.float32)
        ys, xs = np.mgrid[:height, :width].astype(np.float32)
        self.end = np.stack((xs, ys), axis=-1) + view.flow
        self.valid = view.valid

    def linearized(
        self, value: Float32[np.ndarray, "H W"]
    ) -> tuple[Float32[np.ndarray, "H W 2"], Float32[np.ndarray, "H W 2"], Float32[np.ndarray, "H W"]]:
        """Return slope and offset of the error in inverse depth (pixels), and where it holds."""
        depth = self.far[..., 2] + value * self.near[2]
        ahead = depth > _NEAR
        scale = np.where(ahead, 1.0 / np.where(ahead, depth, 1.0), 0.0)[..., None]
        slope = (self.near[:2] - self.end * self.near[2]) * scale
        offset = (self.far[..., :2] - self.end * self.far[..., 2:]) * scale
        return slope, offset, (self.valid & ahead).astype(np.float32)


def _rays(K: Float64[np.ndarray, "3 3"], height: int, width: int) -> Float32[np.ndarray, "H W 3"]:
    """Return the points at depth 1 of all pixels."""
    return unproject(pixel_grid(height, width), np.ones((height, width)), K).astype(np.float32)


def _accepted(
    value: Float32[np.ndarray, "H W"],
    weight: Float32[np.ndarray, "H W"],
    fits: Bool[np.ndarray, "H W"],
    views: Sequence[FlowView],
) -> InverseDepth:
    """Keep what fits, lies ahead, and is known to a fifth of itself or better."""
    longest = max(float(np.linalg.norm(view.transform[:3, 3])) for view in views)
    least = 1.0 / (_MAX_RELATIVE * max(longest, 1e-12))
    keep = fits & (value > least) & (weight * value**2 > 25.0)
    return InverseDepth(
        np.where(keep, value, 0).astype(np.float32), np.where(keep, weight, 0).astype(np.float32)
    )


def relative_transform(
    source_to_world: Float[np.ndarray, "4 4"], target_to_world: Float[np.ndarray, "4 4"]
) -> Float64[np.ndarray, "4 4"]:
    """Return the map from the axes of one camera to those of another."""
    return np.linalg.inv(target_to_world) @ source_to_world
