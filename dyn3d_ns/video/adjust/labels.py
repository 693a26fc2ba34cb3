"""Which tracks are static, which move, and which are not to be trusted."""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from jaxtyping import Bool, Int, Int8, Int32


class Label(IntEnum):
    """What a track, or a pixel, is."""

    STATIC = 0
    """On what does not move, and seen long enough to adjust the cameras by."""
    DYNAMIC = 1
    """On what moves, all the time that it counts."""
    SHORT = 2
    """Static, but seen in few frames: it joins after the cameras are adjusted."""
    REJECTED = 3
    """Sometimes static and sometimes not, or hardly ever seen."""


MIN_PART = 0.2
"""Part of the clip that a static track must be seen in to adjust the cameras."""
_MIN_SAMPLES = 2


def pixel_labels(labels: Int32[np.ndarray, "H W"]) -> Int8[np.ndarray, "H W"]:
    """Return 0 (static) and 1 (moving) away from the masks' borders, 3 along them.

    The static part is eroded three times with a 4x4 square, what moves twice.
    """
    import cv2

    square = np.ones((4, 4), np.uint8)
    static = cv2.erode((labels == 0).astype(np.uint8), square, iterations=3)
    moving = cv2.erode((labels != 0).astype(np.uint8), square, iterations=2)
    out = np.full(labels.shape, Label.REJECTED, np.int8)
    out[static > 0] = Label.STATIC
    out[moving > 0] = Label.DYNAMIC
    return out


def track_labels(
    samples: Int8[np.ndarray, "F N"], visible: Bool[np.ndarray, "F N"]
) -> tuple[Int[np.ndarray, "N"], Bool[np.ndarray, "F N"]]:
    """Label tracks from the labels of the pixels under their visible samples.

    Samples along the masks' borders do not count. Returns the labels and which samples count. A static track
    is long if it counts in a fifth of the frames, though no more than 10 are asked for.
    """
    counts = visible & (samples != Label.REJECTED)
    number = counts.sum(0)
    static = (counts & (samples == Label.STATIC)).sum(0) == number
    moving = (counts & (samples == Label.DYNAMIC)).sum(0) == number
    enough = number >= _MIN_SAMPLES
    long = number >= max(_MIN_SAMPLES, min(10.0, MIN_PART * len(samples)))
    labels = np.full(samples.shape[1], Label.REJECTED, dtype=np.int64)
    labels[static & enough & long] = Label.STATIC
    labels[static & enough & ~long] = Label.SHORT
    labels[moving & enough] = Label.DYNAMIC
    return labels, counts
