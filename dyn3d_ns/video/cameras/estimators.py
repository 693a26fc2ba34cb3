"""Camera estimators that read a clip's folder: tracks and masks in, cameras and points out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from dyn3d_ns.io.clip.types import Cameras, SparsePoints
from dyn3d_ns.io.clip.workspace import Workspace
from dyn3d_ns.io.errors import StageError
from dyn3d_ns.video.cameras.completion import CameraSolution, complete
from dyn3d_ns.video.cameras.focal import FocalGuess
from dyn3d_ns.video.cameras.incremental import Reconstruction, StaticTracks
from dyn3d_ns.video.cameras.settings import CamerasSettings
from dyn3d_ns.video.cameras.sfm import solve_cameras
from dyn3d_ns.video.cameras.static_tracks import focal_guess, points_of, static_tracks
from dyn3d_ns.video.parts import Configured
from dyn3d_ns.video.stage import Report


class TrackCameras(Configured):
    """COLMAP's mapper and bundle adjustment on the clip's own tracks."""

    def __init__(self, settings: CamerasSettings | None = None) -> None:
        self.settings = settings or CamerasSettings()

    @classmethod
    def from_settings(cls, settings: CamerasSettings) -> TrackCameras:
        """Build it from the settings of the stage `cameras`."""
        return cls(settings)

    def __call__(self, workspace: Workspace, report: Report) -> tuple[Cameras, SparsePoints]:
        """Return the cameras, and the static points that they were found with."""
        tracks = static_tracks(workspace, report)
        guess = focal_guess(workspace, self.settings.given)
        propose = self.proposal(workspace, report, tracks, guess)
        with report.progress(1, "cameras from tracks") as step:
            solution = solve_cameras(tracks, guess, self.settings.max_keyframes, report.note, propose)
            step()
        return cameras_of(solution), points_of(solution, tracks, workspace)

    def proposal(
        self, workspace: Workspace, report: Report, tracks: StaticTracks, guess: FocalGuess | None
    ) -> Callable[[], Reconstruction | None] | None:
        """Return another way to reconstruct a moving camera; the tracks need none."""
        return None


class AutoCameras(TrackCameras):
    """The tracks, and COLMAP's own features where the tracks do not locate the camera."""

    def proposal(
        self, workspace: Workspace, report: Report, tracks: StaticTracks, guess: FocalGuess | None
    ) -> Callable[[], Reconstruction | None] | None:
        """Return COLMAP."""
        from dyn3d_ns.video.cameras.colmap import colmap_reconstruction

        return lambda: colmap_reconstruction(workspace, report, tracks, guess)


class ColmapCameras(TrackCameras):
    """COLMAP with its own features alone."""

    def __call__(self, workspace: Workspace, report: Report) -> tuple[Cameras, SparsePoints]:
        """Return the cameras, and the clip's tracks located by them.

        Raises:
            StageError: COLMAP does not register enough frames.
        """
        from dyn3d_ns.video.cameras.colmap import colmap_reconstruction

        tracks = static_tracks(workspace, report)
        guess = focal_guess(workspace, self.settings.given)
        found = colmap_reconstruction(workspace, report, tracks, guess)
        if found is None:
            raise StageError("COLMAP cannot register the clip; try --cameras.method tracks")
        solution = complete(tracks, found, "moving", report.note)
        return cameras_of(solution), points_of(solution, tracks, workspace)


def cameras_of(solution: CameraSolution) -> Cameras:
    """Turn a solution into the cameras of a clip's folder."""
    count = len(solution.rotations)
    poses = np.tile(np.eye(4), (count, 1, 1))
    poses[:, :3, :3] = solution.rotations.transpose(0, 2, 1)
    poses[:, :3, 3] = solution.bundle.positions
    matrix = np.array(
        [[solution.focal, 0, solution.center[0]], [0, solution.focal, solution.center[1]], [0, 0, 1.0]]
    )
    return Cameras(np.tile(matrix, (count, 1, 1)), poses, solution.registered, solution.kind == "still")
