"""From residuals of several frame offsets to one score of motion a pixel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from dyn3d_ns.video.masks.residuals import PairResidual

PLANAR_FLOOR = 1.0
EPIPOLAR_FLOOR = 0.5
"""Residuals below this many pixels count as noise of the flow, however small its scale is."""
_UNSEEN = 1e-3


@dataclass(frozen=True)
class FrameScores:
    """How likely each pixel of a frame moves by itself, in [0, 1]."""

    average: Float32[np.ndarray, "H W"]
    """`dyna_avg`: mean over the frame offsets that see the pixel (over all, where none does)."""
    maximum: Float32[np.ndarray, "H W"]
    """`dyna_max`: maximum over the frame offsets that see the pixel."""
    evidence: Float32[np.ndarray, "H W"]
    """The average without what parallax of a static scene may explain: only the epipolar residual counts
    where the camera moved, so that it is low inside of objects, but also on everything static."""


def motion_probability(
    residual: Float32[np.ndarray, "H W"], scale: float, floor: float
) -> Float32[np.ndarray, "H W"]:
    """Return 1 - exp(-(e / max(3 sigma, floor))^2): 0 for noise, 1 for what the camera cannot explain."""
    return -np.expm1(-np.square(residual / np.float32(max(3.0 * scale, floor))))


def frame_scores(pairs: Sequence[PairResidual]) -> FrameScores:
    """Combine the pairs of one frame with its neighbours.

    Plane and parallax: a homography through the dominant plane leaves the whole of a moving object, and
    parallax of static things next to it; the epipolar residual leaves no parallax, but only the parts of
    the object whose motion crosses the epipolar lines. The score is the larger one of both, the evidence
    the smaller one.
    """
    planar = [motion_probability(p.planar, p.planar_scale, PLANAR_FLOOR) for p in pairs]
    evident = [
        own if p.epipolar is None else motion_probability(p.epipolar, p.epipolar_scale, EPIPOLAR_FLOOR)
        for p, own in zip(pairs, planar, strict=True)
    ]
    scores = np.maximum(planar, evident)
    seen = np.stack([p.valid for p in pairs]).astype(np.float32)
    weight = np.maximum(seen, _UNSEEN)
    total = weight.sum(0)
    return FrameScores(
        average=(weight * scores).sum(0) / total,
        maximum=(seen * scores).max(0),
        evidence=(weight * np.stack(evident)).sum(0) / total,
    )
