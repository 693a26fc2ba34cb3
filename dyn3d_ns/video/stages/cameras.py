"""Stage `cameras`: where each picture was taken from, and with which focal length."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dyn3d_ns.video.errors import StageError
from dyn3d_ns.video.stage import Report, Stage
from dyn3d_ns.video.workspace import Workspace

PoseFormat = Literal["auto", "tum", "das3r", "colmap", "transforms"]


@dataclass(frozen=True)
class CamerasSettings:
    """How the cameras are found."""

    method: str = "auto"
    """auto (from tracks; from features if that fails), tracks, colmap (features), or module:Class."""
    poses: Path | None = None
    """Poses of another tool instead: a COLMAP model's folder, TUM file, pred_traj.txt or transforms.json."""
    poses_format: PoseFormat = "auto"
    """Format of --cameras.poses; auto tells it from name and content."""
    focal: float | None = None
    """Focal length in pixels of the extracted frames, if known; it is then not adjusted."""
    fov: float | None = None
    """Horizontal field of view in degrees, if known; it is then not adjusted."""
    max_keyframes: int = 60
    """Frames that are adjusted together in long clips; the others are fitted to the points."""


class CamerasStage(Stage):
    """Writes cameras/poses.npz and cameras/points.npz."""

    name = "cameras"
    needs = ("frames", "tracks")
    uses = ("masks",)
    version = 2

    settings: CamerasSettings

    def external_inputs(self) -> list[Path]:
        """Return the poses of another tool."""
        return [self.settings.poses] if self.settings.poses is not None else []

    def outputs(self, workspace: Workspace) -> list[Path]:
        """Return the two files."""
        return [workspace.cameras_path, workspace.points_path]

    def run(self, workspace: Workspace, report: Report) -> None:
        """Find the cameras and write them."""
        from dyn3d_ns.video.cameras.estimators import estimate_cameras

        if self.settings.focal is not None and self.settings.fov is not None:
            raise StageError("give --cameras.focal or --cameras.fov, not both")
        cameras, points = estimate_cameras(workspace, report, self.settings)
        workspace.write_points(points)
        workspace.write_cameras(cameras)
