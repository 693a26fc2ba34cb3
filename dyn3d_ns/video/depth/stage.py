"""Stage `depth`: how far away each pixel is, coarse but consistent with the cameras."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dyn3d_ns.io.atomic import atomic_open
from dyn3d_ns.io.clip.workspace import Workspace
from dyn3d_ns.video.depth.settings import DepthSettings
from dyn3d_ns.video.stage import Report, Stage


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
        return [workspace.depth_path, workspace.intrinsics_path]

    def run(self, workspace: Workspace, report: Report) -> None:
        """Estimate or read depth and write it."""
        from dyn3d_ns.video.depth.estimators import estimate_depth

        workspace.write_depths(estimate_depth(workspace, report, self.settings), workspace.num_frames)
        with atomic_open(workspace.intrinsics_path) as file:
            np.save(file, workspace.cameras(adjusted=False).Ks.mean(axis=0))
