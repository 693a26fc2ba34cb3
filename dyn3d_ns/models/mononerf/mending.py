"""Masks of what moves from what the static field cannot explain, where there were only made ones.

Masks from the flow and the cameras miss what moves along the epipolar lines, and take flow that failed for
motion. Once what rests is trained, its pictures tell both apart.
"""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Bool, Float32

_DEVIATIONS = 2.0
"""Median absolute deviations of the residual above its median from which on it is no noise (section 9)."""
_LEAST = 0.1
"""Least residual that counts, of colours in [0, 1]: above what a field smooths away."""
_KEPT = 0.5
"""Part of that residual at which a pixel stays masked that was masked before."""
_SMALLEST = 2e-4
"""Smallest spot, as a part of the picture."""


def mended_mask(
    mask: Bool[np.ndarray, "H W"], picture: Float32[np.ndarray, "H W 3"], rest: Float32[np.ndarray, "H W 3"]
) -> Bool[np.ndarray, "H W"]:
    """Return where a picture differs from what rests in it.

    Args:
        mask: Where something was thought to move.
        picture: The frame, in [0, 1].
        rest: What rests, seen by the frame's camera, made without that frame.
    """
    residual = cv2.GaussianBlur(np.abs(picture - rest).max(axis=-1), (3, 3), 0)
    outside = residual[~mask] if (~mask).any() else residual.ravel()
    middle = float(np.median(outside))
    spread = float(np.median(np.abs(outside - middle)))
    least = max(middle + _DEVIATIONS * 1.4826 * spread, _LEAST)
    seeds = cv2.morphologyEx((residual > least).astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    found = (seeds > 0) | (mask & (residual > _KEPT * least))
    closed = cv2.morphologyEx(found.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
    _, labels, statistics, _ = cv2.connectedComponentsWithStats(closed, connectivity=8)
    large = statistics[:, cv2.CC_STAT_AREA] >= _SMALLEST * mask.size
    large[0] = False
    return np.isin(labels, np.flatnonzero(large))
