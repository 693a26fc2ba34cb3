"""Stage `cameras`: where each picture was taken from, and with which focal length."""

from __future__ import annotations

from pathlib import Path

from dyn3d_ns.io.clip.workspace import Workspace
from dyn3d_ns.video.cameras.settings import CamerasSettings
from dyn3d_ns.video.parts import CameraEstimator
from dyn3d_ns.video.registry import make_part
from dyn3d_ns.video.stage import Report, Stage


class CamerasStage(Stage):
    """Writes cameras/poses.npz and cameras/points.npz."""

    name = "cameras"
    needs = ("frames", "tracks")
    uses = ("masks",)
    version = 2

    settings: CamerasSettings

    def external_inputs(self) -> list[Path]:
        """Return the files with poses of another tool."""
        return self.settings.given.files()

    def outputs(self, workspace: Workspace) -> list[Path]:
        """Return the two files."""
        return [workspace.cameras_path, workspace.points_path]

    def run(self, workspace: Workspace, report: Report) -> None:
        """Find the cameras and write them."""
        if self.settings.given.poses is not None:
            from dyn3d_ns.video.cameras.given import given_cameras

            cameras, points = given_cameras(workspace, report, self.settings.given)
        else:
            estimator: CameraEstimator = make_part("cameras", self.settings.method, self.settings)
            cameras, points = estimator(workspace, report)
        workspace.write_points(points)
        workspace.write_cameras(cameras)
