"""Settings of the search for what moves; imports nothing, for the command line's sake."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class MotionSettings:
    """How what moves is told from what stands still."""

    span: int = 2
    """Frames before and after each frame that its motion is measured against."""
    threshold: float = 0.6
    """Score in [0, 1] above which a pixel moves."""
    memory: float = 0.8
    """Weight in [0, 1) of a pixel's scores in the other frames, carried along the flow."""
    outlines: bool = True
    """Follow the outlines in the pictures with GrabCut."""
    min_area: float = 0.001
    """Smallest region, and smallest hole, as a share of the picture."""
    min_frames: int = 5
    """Objects seen in fewer frames are dropped (than a quarter of the frames, in a short clip)."""
    min_share: float = 0.02
    """Objects with less than this part of the largest one's pixels, over all frames, are dropped."""
    min_evidence: float = 0.08
    """Objects whose motion is no surer than this, in [0, 1], count as parallax of a static scene."""
    gap: int = 10
    """Frames after which an object that was lost no longer gets its id back."""
