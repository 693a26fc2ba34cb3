"""Focal lengths and fields of view, and what is known of them before."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

DEFAULT_FOV = 53.0
"""Horizontal field of view in degrees where nothing tells it."""


@dataclass(frozen=True)
class FocalGuess:
    """What is known of the focal length before."""

    focal: float
    """Pixels."""
    certain: bool
    """Do not adjust it."""


def focal_of_fov(degrees: float, width: int) -> float:
    """Return the focal length in pixels of a horizontal field of view."""
    return width / 2.0 / float(np.tan(np.radians(degrees) / 2.0))


def fov_of_focal(focal: float, width: int) -> float:
    """Return the horizontal field of view in degrees of a focal length in pixels."""
    return float(np.degrees(2.0 * np.arctan(width / 2.0 / focal)))
