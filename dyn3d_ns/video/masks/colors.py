"""Tell objects that touch each other apart by their colours."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float32, Int32, Int64, UInt8

_BINS = 8
_REACH = 0.006
"""Standard deviation of what is looked at around a pixel, as a part of the picture's height and width."""
_ANYWHERE = 0.05
"""How likely a pixel belongs to an object that the flow has far away."""
_RARE = 1e-3
"""How likely any colour is on any object."""
_COLOR_WEIGHT = 2.0
"""Weight of the colours against the flow, as powers of their probabilities."""


def divide_by_colors(
    image: UInt8[np.ndarray, "H W 3"],
    carried: Int32[np.ndarray, "H W"],
    region: Bool[np.ndarray, "H W"],
    models: Mapping[int, Float32[np.ndarray, "B"]],
) -> Int32[np.ndarray, "H W"]:
    """Divide a region among the objects in it by where the flow has them, and by their colours.

    Flow goes astray where one object covers the other, and what is given to the wrong one would be carried
    on; the colours that each had while it was alone tell them apart again.

    Args:
        carried: ids as the flow has them; every pixel of the region has one.
        models: the objects that may be in the region, with the histograms of their colours.
    """
    reach = max(2.0, _REACH * sum(region.shape))
    bins = _color_bins(image)
    scores = [
        np.log(_smooth(carried == key, reach) + _ANYWHERE)
        + _COLOR_WEIGHT * _local_mean(np.log(model[bins] + _RARE), region, reach)
        for key, model in models.items()
    ]
    ids = np.array(list(models), np.int32)
    return np.where(region, ids[np.argmax(scores, axis=0)], 0).astype(np.int32)


def _color_bins(image: np.ndarray) -> Int64[np.ndarray, "*n"]:
    bins = (image // (256 // _BINS)).astype(np.int64)
    return (bins[..., 0] * _BINS + bins[..., 1]) * _BINS + bins[..., 2]


def color_histogram(
    image: UInt8[np.ndarray, "H W 3"], where: Bool[np.ndarray, "H W"]
) -> Float32[np.ndarray, "B"]:
    """Return how often each colour is where a mask is set, as parts of 1."""
    counts = np.bincount(_color_bins(image[where]), minlength=_BINS**3).astype(np.float32)
    return counts / max(counts.sum(), 1)


def _smooth(values: np.ndarray, reach: float) -> Float32[np.ndarray, "H W"]:
    import cv2

    return cv2.GaussianBlur(values.astype(np.float32), (0, 0), reach)


def _local_mean(
    values: Float32[np.ndarray, "H W"], region: Bool[np.ndarray, "H W"], reach: float
) -> Float32[np.ndarray, "H W"]:
    """Return the mean around each pixel of the values within a region."""
    weight = np.maximum(_smooth(region, reach), 1e-6)
    return _smooth(np.where(region, values, 0), reach) / weight
