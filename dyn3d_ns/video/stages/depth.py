"""Stage `depth`: how far away each pixel is, coarse but consistent with the cameras."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dyn3d_ns.io.atomic import atomic_open
from dyn3d_ns.video.stage import Report, Stage
from dyn3d_ns.video.workspace import Workspace


@dataclass(frozen=True)
class DepthSettings:
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


class DepthStage(Stage):
    """Writes unidepth/depth.npy and unidepth/intrinsics.npy."""

    name = "depth"
    needs = ("frames", "cameras")
    uses = ("masks", "flow")

    settings: DepthSettings

    def external_inputs(self) -> list[Path]:
        """Return the user's files."""
        return [p for p in (self.settings.files, self.settings.model) if p is not None]

    def outputs(self, workspace: Workspace) -> list[Path]:
        """Return the depth of all frames."""
        return [workspace.depth_path, workspace.depth_path.with_name("intrinsics.npy")]

    def run(self, workspace: Workspace, report: Report) -> None:
        """Estimate or read depth and write it."""
        from dyn3d_ns.video.depth.estimators import estimate_depth

        workspace.write_depths(estimate_depth(workspace, report, self.settings), workspace.num_frames)
        with atomic_open(workspace.depth_path.with_name("intrinsics.npy")) as file:
            np.save(file, workspace.cameras(adjusted=False).Ks.mean(axis=0))
