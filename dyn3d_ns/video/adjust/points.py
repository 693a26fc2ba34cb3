"""Points in space that the adjustment finds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int


@dataclass(frozen=True)
class PointTracks:
    """Points in space: static ones, and moving ones at each frame that sees them."""

    static: Float[np.ndarray, "P 3"]
    static_ids: Int[np.ndarray, "P"]
    """Track of each static point."""
    moving: Float[np.ndarray, "F M 3"]
    moving_visible: Bool[np.ndarray, "F M"]
    moving_ids: Int[np.ndarray, "M"]
    """Track of each moving point."""
