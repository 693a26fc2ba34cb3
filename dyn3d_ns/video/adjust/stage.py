"""Stage `adjust`: cameras, points and depth adjusted together (DynamicVerse's dynamicBA)."""

from __future__ import annotations

from pathlib import Path

from dyn3d_ns.io.clip.workspace import Workspace
from dyn3d_ns.video.adjust.settings import AdjustSettings
from dyn3d_ns.video.stage import Report, Stage


class AdjustStage(Stage):
    """Writes dynamicBA/<experiment>/: poses.npz, a file a frame, depth maps and tracks in space."""

    name = "adjust"
    needs = ("frames", "tracks", "cameras", "depth")
    uses = ("masks", "flow")

    settings: AdjustSettings

    def outputs(self, workspace: Workspace) -> list[Path]:
        """Return the cameras and the frames."""
        frames = [workspace.adjusted_frame_path(i) for i in range(workspace.num_frames)]
        return [workspace.adjusted_cameras_path, *frames]

    def run(self, workspace: Workspace, report: Report) -> None:
        """Adjust and write."""
        from dyn3d_ns.video.adjust.clip import adjust_clip

        adjust_clip(workspace, report, self.settings)
