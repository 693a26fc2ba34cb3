"""Dense optical flow between two images, and the check of a flow against the flow back."""

from __future__ import annotations

from typing import Literal

import numpy as np
from jaxtyping import Bool, Float32, UInt8

DisPreset = Literal["fast", "medium", "fine"]

_DESCENT = 12
"""Steps in which the preset `fine` moves a patch; OpenCV's 25 take longer."""
_REFINEMENTS = 2
"""Its steps of the variational refinement; OpenCV's five take longer."""


class InverseSearch:
    """Dense inverse search (Kroeger et al., ECCV 2016) with variational refinement.

    Its memory serves pair after pair; so no two threads may use one at a time.
    """

    def __init__(self, preset: DisPreset = "fine") -> None:
        import cv2

        presets = {"fast": cv2.DISOPTICAL_FLOW_PRESET_FAST, "medium": cv2.DISOPTICAL_FLOW_PRESET_MEDIUM}
        self._dis = cv2.DISOpticalFlow.create(presets.get(preset, cv2.DISOPTICAL_FLOW_PRESET_MEDIUM))
        if preset == "fine":
            self._dis.setFinestScale(0)
            self._dis.setPatchStride(3)
            self._dis.setGradientDescentIterations(_DESCENT)
            self._dis.setVariationalRefinementIterations(_REFINEMENTS)

    def __call__(
        self, a: UInt8[np.ndarray, "H W 3"], b: UInt8[np.ndarray, "H W 3"]
    ) -> Float32[np.ndarray, "H W 2"]:
        """Return the flow from a to b in pixels, x right, y down."""
        return self._dis.calc(to_gray(a), to_gray(b), None)  # type: ignore[call-overload]


def to_gray(image: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "H W"]:
    """Return the brightness of an RGB image."""
    import cv2

    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))


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
    fx, fy = cv2.split(forward)
    xs = fx + np.arange(width, dtype=np.float32)
    ys = fy + np.arange(height, dtype=np.float32)[:, None]
    bx, by = cv2.split(cv2.remap(backward, xs, ys, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))
    error = (fx + bx) ** 2 + (fy + by) ** 2
    size = (fx**2 + fy**2) + (bx**2 + by**2)
    inside = (xs >= 0) & (xs <= width - 1) & (ys >= 0) & (ys <= height - 1)
    return (error < relative * size + absolute) & inside
