"""Dense optical flow with OpenCV, and the check of a flow against the flow back."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float32, UInt8

from dyn3d_ns.video.stage import FlowEstimator
from dyn3d_ns.video.types import Flow

Preset = Literal["fast", "medium", "fine"]


class DisFlow:
    """Dense inverse search (Kroeger et al., ECCV 2016) with variational refinement."""

    def __init__(self, preset: Preset = "fine") -> None:
        import cv2

        presets = {"fast": cv2.DISOPTICAL_FLOW_PRESET_FAST, "medium": cv2.DISOPTICAL_FLOW_PRESET_MEDIUM}
        self._dis = cv2.DISOpticalFlow.create(presets.get(preset, cv2.DISOPTICAL_FLOW_PRESET_MEDIUM))
        if preset == "fine":
            self._dis.setFinestScale(0)
            self._dis.setPatchStride(3)
            self._dis.setVariationalRefinementIterations(5)

    @classmethod
    def from_settings(cls, settings: Any) -> DisFlow:
        """Build it from the settings of the stage `flow`."""
        return cls(settings.preset)

    def __call__(
        self, a: UInt8[np.ndarray, "H W 3"], b: UInt8[np.ndarray, "H W 3"]
    ) -> Float32[np.ndarray, "H W 2"]:
        """Return the flow from a to b in pixels."""
        return self._dis.calc(_gray(a), _gray(b), None)  # type: ignore[call-overload]


class FarnebackFlow:
    """Polynomial expansion (Farnebäck, 2003), with DynamicVerse's parameters."""

    def __call__(
        self, a: UInt8[np.ndarray, "H W 3"], b: UInt8[np.ndarray, "H W 3"]
    ) -> Float32[np.ndarray, "H W 2"]:
        """Return the flow from a to b in pixels."""
        import cv2

        start = np.zeros((*a.shape[:2], 2), np.float32)
        flow = cv2.calcOpticalFlowFarneback(_gray(a), _gray(b), start, 0.5, 3, 15, 3, 5, 1.2, 0)
        return np.asarray(flow, dtype=np.float32)


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


def flow_both_ways(
    estimator: FlowEstimator, a: UInt8[np.ndarray, "H W 3"], b: UInt8[np.ndarray, "H W 3"]
) -> tuple[Flow, Flow]:
    """Estimate the flow from a to b and back, each with its consistency mask."""
    forward, backward = estimator(a, b), estimator(b, a)
    return Flow(forward, consistent(forward, backward)), Flow(backward, consistent(backward, forward))


def _gray(image: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "H W"]:
    import cv2

    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))
