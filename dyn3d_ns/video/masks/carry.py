"""Carry values from frame to frame along the flow."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float32, Int32

from dyn3d_ns.io.clip.types import Flow


def gather(
    values: Float32[np.ndarray, "H W *c"], flow: Float32[np.ndarray, "H W 2"]
) -> tuple[Float32[np.ndarray, "H W *c"], Bool[np.ndarray, "H W"]]:
    """Look up, for every pixel, the other frame's value at the end of its flow (bilinear).

    Returns:
        The values, and where the flow ends inside the image; elsewhere the border's value stands.
    """
    import cv2

    height, width = flow.shape[:2]
    xs = flow[..., 0] + np.arange(width, dtype=np.float32)
    ys = flow[..., 1] + np.arange(height, dtype=np.float32)[:, None]
    inside = (xs >= 0) & (xs <= width - 1) & (ys >= 0) & (ys <= height - 1)
    found = cv2.remap(values, xs, ys, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return found, inside


def chain(first: Flow, second: Flow) -> Flow:
    """Compose the flows a to b and b to c into the flow a to c; valid where both are."""
    onward, inside = gather(second.flow, first.flow)
    seen, _ = gather(second.valid.astype(np.float32), first.flow)
    return Flow(first.flow + onward, first.valid & inside & (seen > 0.99))


def vote(
    score: Float32[np.ndarray, "H W"], neighbour: Float32[np.ndarray, "H W"], flow: Flow, share: float
) -> Float32[np.ndarray, "H W"]:
    """Blend a frame's scores with its neighbour's, carried along the flow to that neighbour.

    Args:
        share: Weight of the neighbour in [0, 1); where the flow is not valid the score stays as it is.
    """
    carried, inside = gather(neighbour, flow.flow)
    weight = share * (flow.valid & inside)
    return score + weight * (carried - score)


def carry_labels(labels: Int32[np.ndarray, "H W"], flow: Flow) -> Int32[np.ndarray, "H W"]:
    """Look up the other frame's label for every pixel; 0 where the flow is not valid."""
    height, width = labels.shape
    xs = np.clip(np.rint(flow.flow[..., 0] + np.arange(width)), 0, width - 1).astype(np.intp)
    ys = np.clip(np.rint(flow.flow[..., 1] + np.arange(height)[:, None]), 0, height - 1).astype(np.intp)
    return np.where(flow.valid, labels[ys, xs], 0).astype(np.int32)
