"""Region and contour accuracy of masks (Perazzi et al., CVPR 2016), and how stable their ids are."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

import numpy as np
from jaxtyping import Bool, Int

_CONTOUR_TOLERANCE = 0.008
"""Distance, as a part of the image's diagonal, at which contours still match."""


def region_similarity(estimated: Bool[np.ndarray, "H W"], true: Bool[np.ndarray, "H W"]) -> float:
    """Return J, the intersection over the union; 1 where both are empty."""
    union = int((estimated | true).sum())
    return float((estimated & true).sum() / union) if union else 1.0


def contour_accuracy(estimated: Bool[np.ndarray, "H W"], true: Bool[np.ndarray, "H W"]) -> float:
    """Return F, the harmonic mean of how much of each contour lies near the other; 1 where both are empty."""
    import cv2

    a, b = _contour(estimated), _contour(true)
    if not a.any() or not b.any():
        return 1.0 if a.any() == b.any() else 0.0
    radius = int(np.ceil(_CONTOUR_TOLERANCE * float(np.hypot(*true.shape))))
    disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    near_a = cv2.dilate(a.astype(np.uint8), disk) > 0
    near_b = cv2.dilate(b.astype(np.uint8), disk) > 0
    precision, recall = float((a & near_b).sum() / a.sum()), float((b & near_a).sum() / b.sum())
    return 2.0 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0


def mask_scores(regions: Sequence[float], contours: Sequence[float]) -> dict[str, float]:
    """Return the means over frames of J and F, their mean, and the part of the frames with J over 0.5.

    Args:
        regions: J of each frame.
        contours: F of each frame.
    """
    region, contour = fmean(regions), fmean(contours)
    return {
        "j_mean": region,
        "f_mean": contour,
        "jf_mean": (region + contour) / 2,
        "j_recall": fmean(float(j > 0.5) for j in regions),
    }


def _contour(mask: Bool[np.ndarray, "H W"]) -> Bool[np.ndarray, "H W"]:
    """Return the pixels of a mask that have a neighbour outside; the image's border is no contour."""
    padded = np.pad(mask, 1, mode="edge")
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask & ~inner


def id_stability(
    estimated: Sequence[Int[np.ndarray, "H W"]], true: Sequence[Int[np.ndarray, "H W"]]
) -> float:
    """Return the part of the (frame, true object) pairs that carry the object's usual estimated id.

    The id of an object in a frame is the one that covers most of it; an object that is not found there
    counts as lost. 1 if there is no object.
    """
    usual: dict[int, list[int]] = {}
    for found, wanted in zip(estimated, true, strict=True):
        for k in np.unique(wanted[wanted > 0]):
            covering = found[(wanted == k) & (found > 0)]
            usual.setdefault(int(k), []).append(int(np.bincount(covering).argmax()) if len(covering) else 0)
    pairs = sum(len(ids) for ids in usual.values())
    if not pairs:
        return 1.0
    kept = sum(max((ids.count(k) for k in set(ids) - {0}), default=0) for ids in usual.values())
    return kept / pairs
