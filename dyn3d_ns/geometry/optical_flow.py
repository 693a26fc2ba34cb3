"""Dense optical flow between two images, and the check of a flow against the flow back."""

from __future__ import annotations

from typing import Literal

import numpy as np
from jaxtyping import Bool, Float32, UInt8

DisPreset = Literal["fast", "medium", "fine"]


def dis_flow(
    a: UInt8[np.ndarray, "H W 3"], b: UInt8[np.ndarray, "H W 3"], preset: DisPreset = "fine"
) -> Float32[np.ndarray, "H W 2"]:
    """Return the flow from a to b in pixels, x right, y down.

    Dense inverse search (Kroeger et al., ECCV 2016) with variational refinement.
    """
    import cv2

    presets = {"fast": cv2.DISOPTICAL_FLOW_PRESET_FAST, "medium": cv2.DISOPTICAL_FLOW_PRESET_MEDIUM}
    dis = cv2.DISOpticalFlow.create(presets.get(preset, cv2.DISOPTICAL_FLOW_PRESET_MEDIUM))
    if preset == "fine":
        dis.setFinestScale(0)
        dis.setPatchStride(3)
        dis.setVariationalRefinementIterations(5)
    return dis.calc(to_gray(a), to_gray(b), None)  # type: ignore[call-overload]


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
    ys, xs = np.mgrid[:height, :width].astype(np.float32)
    xs, ys = xs + forward[..., 0], ys + forward[..., 1]
    back = cv2.remap(backward, xs, ys, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    error = ((forward + back) ** 2).sum(-1)
    size = (forward**2).sum(-1) + (back**2).sum(-1)
    inside = (xs >= 0) & (xs <= width - 1) & (ys >= 0) & (ys <= height - 1)
    return (error < relative * size + absolute) & inside
