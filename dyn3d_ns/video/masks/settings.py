"""Settings of the stage `masks`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from dyn3d_ns.io.errors import StageError
from dyn3d_ns.video.cameras.settings import GivenCameras
from dyn3d_ns.video.settings import StageSettings


@dataclass(frozen=True)
class EgoSettings:
    """Cameras and depth that are known before: the flow is then compared with the camera's own."""

    given: Annotated[GivenCameras, tyro.conf.arg(name="")] = GivenCameras()
    """Cameras of another tool; those of the stage `cameras` if it is given some."""
    depth: Path | None = None
    """A .npy or .npz of (F,H,W) or (F,1,H,W), or a folder with one file a frame; --depth.files if None."""
    png_scale: float = 1000.0
    """Number in a 16-bit PNG that means one unit of depth."""


@dataclass(frozen=True)
class MotionSettings(StageSettings):
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


@dataclass(frozen=True)
class MasksSettings(MotionSettings):
    """What moves: found from the flow, or given."""

    masks: Path | None = None
    """Masks of your own instead: a folder with a .png or .npy a frame (instance ids, or 0 and 255)."""
    boxes: Path | None = None
    """Boxes of your own instead: JSON {"objects": [{"name", "frame", "box": [left, top, right, bottom]}]}."""
    segmenter: str = "motion"
    """motion, or a network: sam2 (what moves, or the boxes), sa2va (what is named), or module:Class."""
    segmenter_path: Path | None = None
    """Local folder of the network's model."""
    objects: Path | None = None
    """Names for sa2va: JSON {"dynamic": [...], "reasoning": {...}}; those of the stage describe if None."""
    device: str = "cpu"
    """Where the network runs."""
    pictures: bool = True
    """Write overlays and videos into segmentation/ as well."""

    def check(self) -> None:
        """Raise a StageError for values that make no sense."""
        self.ego.given.check()
        if self.masks is not None and self.boxes is not None:
            raise StageError("give --masks.masks or --masks.boxes, not both")
