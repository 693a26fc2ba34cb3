"""Settings of the stage `depth`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dyn3d_ns.video.settings import StageSettings


@dataclass(frozen=True)
class DepthSettings(StageSettings):
    """How depth is found."""

    method: str = "triangulate"
    """triangulate (points and flow between known cameras), huggingface, or module:Class of an estimator."""
    files: Path | None = None
    """Your own depth instead: a .npy or .npz of (F,H,W) or (F,1,H,W), or a folder with one file a frame."""
    png_scale: float = 1000.0
    """Number in a 16-bit PNG that means one unit of depth."""
    model: Path | None = None
    """Folder of a Hugging Face depth model, for --depth.method huggingface."""
    device: str = "cpu"
    """Torch device of the Hugging Face model."""
    match: str = "auto"
    """How other depth is scaled to the cameras: auto, none, scale, disparity (scale and shift), inverse."""
    neighbours: int = 6
    """Frames that each frame is matched with by flow."""
    smoothness: float = 1.0
    """How far measured depth spreads into pixels without; higher is smoother."""
