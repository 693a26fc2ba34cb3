"""Settings of the search for what moves; imports nothing, for the command line's sake."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class EgoSettings:
    """Cameras and depth that are known before: the flow is then compared with the camera's own."""

    poses: Path | None = None
    """A COLMAP model's folder, TUM file, pred_traj.txt or transforms.json; --cameras.poses if None."""
    poses_format: Literal["auto", "tum", "das3r", "colmap", "transforms"] = "auto"
    """Its format; auto tells it from name and content."""
    focal: float | None = None
    """Focal length in pixels of the extracted frames, where the file has none."""
    fov: float | None = None
    """Horizontal field of view in degrees, where the file has none."""
    depth: Path | None = None
    """A .npy or .npz of (F,H,W) or (F,1,H,W), or a folder with one file a frame; --depth.files if None."""
    png_scale: float = 1000.0
    """Number in a 16-bit PNG that means one unit of depth."""


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
    ego: EgoSettings = field(default_factory=EgoSettings)
    """Cameras and depth that are known before."""
