"""Dense optical flow with OpenCV."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from jaxtyping import Float32, UInt8

from dyn3d_ns.video.parts import Configured

Preset = Literal["fast", "medium", "fine"]


class DisFlow(Configured):
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


def _gray(image: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "H W"]:
    import cv2

    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))
