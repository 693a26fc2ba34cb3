"""Maps at another size, without mixing values across edges."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Bool, Shaped


def nearest_to(values: Shaped[np.ndarray, "h w *c"], size: tuple[int, int]) -> Shaped[np.ndarray, "H W *c"]:
    """Take the nearest pixel, centre by centre; OpenCV's own nearest goes by their corners."""
    (height, width), (to_width, to_height) = values.shape[:2], size
    if (width, height) == size:
        return values
    rows = ((np.arange(to_height) + 0.5) * height / to_height).astype(np.intp)
    columns = ((np.arange(to_width) + 0.5) * width / to_width).astype(np.intp)
    return values[rows[:, None], columns]


def mask_to(mask: Bool[np.ndarray, "h w"], size: tuple[int, int]) -> Bool[np.ndarray, "H W"]:
    """Take any True pixel that an output pixel covers, or the nearest one where the mask is enlarged."""
    if mask.shape[1] <= size[0] or mask.shape[0] <= size[1]:
        return nearest_to(mask, size)
    return cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 1e-6
