"""Dense optical flow with OpenCV."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from dyn3d_ns.geometry.optical_flow import InverseSearch, to_gray
from dyn3d_ns.video.parts import Configured


class DisFlow(InverseSearch, Configured):
    """Dense inverse search, with the preset that the stage `flow` is set to."""

    @classmethod
    def from_settings(cls, settings: Any) -> DisFlow:
        """Build it from the settings of the stage `flow`."""
        return cls(settings.preset)


class FarnebackFlow:
    """Polynomial expansion (Farnebäck, 2003), with DynamicVerse's parameters."""

    def __call__(
        self, a: UInt8[np.ndarray, "H W 3"], b: UInt8[np.ndarray, "H W 3"]
    ) -> Float32[np.ndarray, "H W 2"]:
        """Return the flow from a to b in pixels."""
        import cv2

        start = np.zeros((*a.shape[:2], 2), np.float32)
        flow = cv2.calcOpticalFlowFarneback(to_gray(a), to_gray(b), start, 0.5, 3, 15, 3, 5, 1.2, 0)
        return np.asarray(flow, dtype=np.float32)
