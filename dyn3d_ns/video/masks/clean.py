"""Turn scores of motion into masks with the outlines of the pictures."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float32, UInt8

_SURE_MOVING = 0.8
_SURE_STATIC = 0.1
_BAND = 0.012
_GRABCUT_WIDTH = 384
_GRABCUT_ROUNDS = 2
_FEW_PIXELS = 64


def guided_filter(
    guide: UInt8[np.ndarray, "H W 3"], values: Float32[np.ndarray, "H W"], radius: int, eps: float = 1e-3
) -> Float32[np.ndarray, "H W"]:
    """Smooth values in [0, 1] along the edges of a picture (He et al., PAMI 2013, with a grey guide)."""
    import cv2

    grey = cv2.cvtColor(guide, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255.0
    size = (2 * radius + 1, 2 * radius + 1)

    def mean(image: np.ndarray) -> np.ndarray:
        return cv2.boxFilter(image, -1, size, borderType=cv2.BORDER_REFLECT)

    mean_g, mean_v = mean(grey), mean(values)
    slope = (mean(grey * values) - mean_g * mean_v) / (mean(grey * grey) - mean_g * mean_g + eps)
    offset = mean_v - slope * mean_g
    return np.clip(mean(slope) * grey + mean(offset), 0.0, 1.0)


def keep_large(mask: Bool[np.ndarray, "H W"], min_pixels: int) -> Bool[np.ndarray, "H W"]:
    """Drop components of fewer pixels (8-connected)."""
    import cv2

    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    large = np.zeros(count, bool)
    large[1:] = stats[1:, cv2.CC_STAT_AREA] >= min_pixels
    return large[labels.astype(np.intp)]


def fill_small_holes(mask: Bool[np.ndarray, "H W"], max_pixels: int) -> Bool[np.ndarray, "H W"]:
    """Fill holes of fewer pixels."""
    return ~keep_large(~mask, max_pixels)


def grabcut(
    image: UInt8[np.ndarray, "H W 3"], mask: Bool[np.ndarray, "H W"], score: Float32[np.ndarray, "H W"]
) -> Bool[np.ndarray, "H W"]:
    """Move the outline of a mask to edges of colour; only a band around the outline may change.

    Works on a picture at most 384 pixels wide, since the cost of a cut grows faster than the picture.
    Returns the mask as it is where there is too little of it, or of the rest, for a colour model.
    """
    import cv2

    height, width = mask.shape
    scale = min(1.0, _GRABCUT_WIDTH / width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    inside = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0.5
    trimap = _trimap(inside, cv2.resize(score, size, interpolation=cv2.INTER_AREA))
    moving = (trimap == cv2.GC_FGD) | (trimap == cv2.GC_PR_FGD)
    if min(moving.sum(), (~moving).sum()) < _FEW_PIXELS:
        return mask
    cv2.setRNGSeed(0)  # the colour models start from k-means
    models = np.zeros((1, 65)), np.zeros((1, 65))
    bgr = np.ascontiguousarray(small[..., ::-1])
    cv2.grabCut(bgr, trimap, (0, 0, 0, 0), *models, _GRABCUT_ROUNDS, cv2.GC_INIT_WITH_MASK)
    moving = ((trimap == cv2.GC_FGD) | (trimap == cv2.GC_PR_FGD)).astype(np.float32)
    return cv2.resize(moving, (width, height), interpolation=cv2.INTER_LINEAR) > 0.5


def _trimap(mask: Bool[np.ndarray, "H W"], score: Float32[np.ndarray, "H W"]) -> UInt8[np.ndarray, "H W"]:
    """Mark what is surely moving or static: far inside or outside the outline, or by its score."""
    import cv2

    band = max(3, round(_BAND * sum(mask.shape)))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * band + 1, 2 * band + 1))
    outer = cv2.dilate(mask.astype(np.uint8), kernel) > 0
    inner = cv2.erode(mask.astype(np.uint8), kernel) > 0
    trimap = np.where(mask, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    trimap[inner & (score > _SURE_MOVING)] = cv2.GC_FGD
    trimap[~outer | (score < _SURE_STATIC)] = cv2.GC_BGD
    return trimap


def clean_mask(
    image: UInt8[np.ndarray, "H W 3"],
    score: Float32[np.ndarray, "H W"],
    threshold: float,
    min_area: float,
    outlines: bool = True,
) -> Bool[np.ndarray, "H W"]:
    """Return the mask of what moves from a picture and its scores.

    Args:
        threshold: Score in [0, 1] above which a pixel moves.
        min_area: Components, and holes, below this share of the picture are dropped.
        outlines: Follow the outlines in the picture with GrabCut.
    """
    min_pixels = max(8, round(min_area * score.size))
    smooth = guided_filter(image, score, radius=max(2, round(0.008 * sum(score.shape))))
    mask = keep_large(smooth > threshold, min_pixels)
    if outlines and mask.any():
        mask = keep_large(grabcut(image, mask, smooth), min_pixels)
    return fill_small_holes(mask, min_pixels)
