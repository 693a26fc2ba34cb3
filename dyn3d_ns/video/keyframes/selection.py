"""Choose the frames with most motion, spread over the clip (DynamicVerse's selection)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float32

Metric = Literal["mean", "median", "percentile_75", "percentile_90", "percentile_95", "max"]


def motion_statistics(flow: Float32[np.ndarray, "H W 2"]) -> dict[str, float]:
    """Return statistics of a flow's length, in pixels."""
    length = np.linalg.norm(flow, axis=-1)
    p75, p90, p95 = np.percentile(length, (75, 90, 95))
    return {
        "mean": float(length.mean()),
        "median": float(np.median(length)),
        "percentile_75": float(p75),
        "percentile_90": float(p90),
        "percentile_95": float(p95),
        "max": float(length.max()),
    }


def select_keyframes(scores: Sequence[float], num_frames: int, ratio: float, min_gap: int) -> list[int]:
    """Take frames by descending score of the step to the next frame, at least `min_gap` apart.

    The number is `max(1, floor(ratio * num_frames))`; where the gap leaves no room for it, the gap shrinks to
    `max(1, (num_frames - 1) // number)`. The last frame has no step and is never chosen.
    """
    number = max(1, int(num_frames * ratio))
    if number > num_frames // (min_gap + 1) + 1:
        min_gap = max(1, (num_frames - 1) // number)
    chosen: list[int] = []
    for i in np.argsort(-np.asarray(scores), kind="stable").tolist():
        if all(abs(i - j) >= min_gap for j in chosen):
            chosen.append(i)
        if len(chosen) == number:
            break
    return sorted(chosen)


def without_camera_motion(
    flow: Float32[np.ndarray, "H W 2"], valid: Bool[np.ndarray, "H W"], stride: int = 8
) -> Float32[np.ndarray, "H W 2"] | None:
    """Subtract the homography that most of a flow follows; None where too few pixels agree on one."""
    import cv2

    height, width = flow.shape[:2]
    ys, xs = np.mgrid[stride // 2 : height : stride, stride // 2 : width : stride]
    use = valid[ys, xs]
    source = np.stack((xs[use], ys[use]), axis=-1).astype(np.float32)
    if len(source) < 8:
        return None
    cv2.setRNGSeed(0)
    matrix, inliers = cv2.findHomography(source, source + flow[ys, xs][use], cv2.RANSAC, 1.0)
    if matrix is None or inliers.mean() < 0.3:
        return None
    grid = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1).astype(np.float32)
    moved = cv2.perspectiveTransform(grid.reshape(-1, 1, 2), matrix).reshape(height, width, 2)
    return (flow - (moved - grid)).astype(np.float32)
