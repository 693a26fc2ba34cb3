"""Settings of the stage `cameras`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from dyn3d_ns.io.errors import StageError
from dyn3d_ns.io.trajectories import CameraFormat, camera_files
from dyn3d_ns.video.settings import StageSettings


@dataclass(frozen=True)
class GivenCameras:
    """What is known of the cameras before."""

    poses: Path | None = None
    """Poses of another tool instead: a COLMAP model, TUM, KITTI, pred_traj.txt, transforms.json or .npz."""
    poses_format: CameraFormat = "auto"
    """Format of the poses; auto tells it from name and content."""
    focal: float | None = None
    """Focal length in pixels of the extracted frames, if known; it is then not adjusted."""
    fov: float | None = None
    """Horizontal field of view in degrees, if known; it is then not adjusted."""

    def files(self) -> list[Path]:
        """List the files that poses are read from."""
        return [] if self.poses is None else camera_files(self.poses, self.poses_format)

    def check(self) -> None:
        """Raise a StageError for values that make no sense."""
        if self.focal is not None and self.fov is not None:
            raise StageError(
                "give a focal length (--cameras.focal) or a field of view (--cameras.fov), not both"
            )


@dataclass(frozen=True)
class CamerasSettings(StageSettings):
    """How the cameras are found."""

    method: str = "auto"
    """auto (from tracks; from features if that fails), tracks, colmap (features), or module:Class."""
    given: Annotated[GivenCameras, tyro.conf.arg(name="")] = GivenCameras()
    """What is known before."""
    max_keyframes: int = 60
    """Frames that are adjusted together in long clips; the others are fitted to the points."""

    def check(self) -> None:
        """Raise a StageError for values that make no sense."""
        self.given.check()
