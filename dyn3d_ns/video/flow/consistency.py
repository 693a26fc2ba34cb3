"""The check of a flow against the flow back."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float32, UInt8

from dyn3d_ns.io.clip.types import Flow
from dyn3d_ns.video.parts import FlowEstimator


def consistent(
    forward: Float32[np.ndarray, "H W 2"],
    backward: Float32[np.ndarray, "H W 2"],
    relative: float = 0.01,
    absolute: float = 0.5,
) -> Bool[np.ndarray, "H W"]:
    """Tell where the flow back, at the end of the flow forward, leads back to the start.

    Accepted is |f + b(x + f)|^2 < relative (|f|^2 + |b|^2) + absolute, in pixels squared (Sundaram et al.,
    ECCV 2010), with x + f inside the image.
    """
    import cv2

    height, width = forward.shape[:2]
    ys, xs = np.mgrid[:height, :width].astype(np.float32)
    xs, ys = xs + forward[..., 0], ys + forward[..., 1]
    back = cv2.remap(backward, xs, ys, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    error = ((forward + back) ** 2).sum(-1)
    size = (forward**2).sum(-1) + (back**2).sum(-1)
    inside = (xs >= 0) & (xs <= width - 1) & (ys >= 0) & (ys <= height - 1)
    return (error < relative * size + absolute) & inside


def flow_both_ways(
    estimator: FlowEstimator, a: UInt8[np.ndarray, "H W 3"], b: UInt8[np.ndarray, "H W 3"]
) -> tuple[Flow, Flow]:
    """Estimate the flow from a to b and back, each with its consistency mask."""
    forward, backward = estimator(a, b), estimator(b, a)
    return Flow(forward, consistent(forward, backward)), Flow(backward, consistent(backward, forward))
