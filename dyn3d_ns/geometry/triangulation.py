"""Inverse depth of every pixel from flow to frames whose cameras are known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64

from dyn3d_ns.geometry.cameras import at_depth_one

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
    from dyn3d_ns.geometry.depth_kernels import PIECE, triangulate_pixels

    height, width = views[0].valid.shape
    xs, ys = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)[:, None]
    ends = np.empty((len(views), 2, height, width), np.float32)
    for end, view in zip(ends, views, strict=True):
        np.add(view.flow[..., 0], xs, out=end[0])
        np.add(view.flow[..., 1], ys, out=end[1])
    far = np.stack([view.K @ view.transform[:3, :3] for view in views]).astype(np.float32)
    near = np.stack([view.K @ view.transform[:3, 3] for view in views]).astype(np.float32)
    seen = np.stack([view.valid for view in views]).astype(np.float32)
    value, information, error = np.zeros((3, height, width), np.float32)
    triangulate_pixels(
        at_depth_one(K, height, width).reshape(2, -1),
        ends.reshape(len(views), 2, -1),
        seen.reshape(len(views), -1),
        far.reshape(-1, 9),
        near,
        _NEAR,
        1.0 / (2.0 * noise) ** 2,
        iterations,
        np.empty((4, PIECE), np.float32),
        value.reshape(-1),
        information.reshape(-1),
        error.reshape(-1),
    )
    return _accepted(value, information / np.float32(noise**2), error < max_error, views)


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
