"""Cameras of another tool, and the clip's tracks located by them."""

from __future__ import annotations

import numpy as np

from dyn3d_ns.geometry.cameras import HALF_PIXEL, focals, scale_intrinsics, shift_pixel_centers
from dyn3d_ns.io.clip.types import Cameras, SparsePoints
from dyn3d_ns.io.clip.workspace import Workspace
from dyn3d_ns.io.errors import StageError
from dyn3d_ns.io.trajectories import CameraFile, read_cameras
from dyn3d_ns.video.cameras.colmap import locate_tracks
from dyn3d_ns.video.cameras.completion import CameraSolution
from dyn3d_ns.video.cameras.focal import DEFAULT_FOV, focal_of_fov
from dyn3d_ns.video.cameras.settings import GivenCameras
from dyn3d_ns.video.cameras.static_tracks import focal_guess, points_of, static_tracks
from dyn3d_ns.video.stage import Report

_STILL = 1e-6


def given_cameras(
    workspace: Workspace, report: Report, settings: GivenCameras
) -> tuple[Cameras, SparsePoints]:
    """Read cameras of another tool, match them to the frames, and locate the tracks with them.

    Raises:
        StageError: their number is not that of the frames.
    """
    cameras = cameras_from_file(workspace, report, settings)
    return cameras, _points(workspace, report, cameras)


def cameras_from_file(workspace: Workspace, report: Report, settings: GivenCameras) -> Cameras:
    """Read cameras of another tool and match them to the frames.

    Raises:
        StageError: none are named, or their number is not that of the frames.
    """
    if settings.poses is None:
        raise StageError("--cameras.poses is not given")
    clip, count = workspace.clip(), workspace.num_frames
    given = read_cameras(settings.poses, settings.poses_format)
    if len(given.camera_to_worlds) != count:
        sources = np.array(clip.source_frames)
        if len(sources) != count or sources.max() >= len(given.camera_to_worlds):
            raise StageError(
                f"{settings.poses} holds {len(given.camera_to_worlds)} poses, but the clip has {count} frames"
            )
        report.note(
            f"{len(given.camera_to_worlds)} poses are given for {count} frames: those of the frames kept are "
            "taken"
        )
        given = given.select(sources)
    poses = given.camera_to_worlds
    static = bool(np.ptp(poses.reshape(count, -1), axis=0).max() < _STILL)
    return Cameras(_intrinsics(workspace, report, settings, given), poses, np.ones(count, bool), static)


def _intrinsics(
    workspace: Workspace, report: Report, settings: GivenCameras, given: CameraFile
) -> np.ndarray:
    clip, count = workspace.clip(), workspace.num_frames
    if given.Ks is not None and settings.focal is None and settings.fov is None:
        if given.sizes is None:
            return given.Ks
        scale = np.array([clip.width, clip.height]) / given.sizes
        # Pixel centres are at whole numbers: a scale acts about the corner of the image, at -0.5.
        from_corner = shift_pixel_centers(given.Ks, HALF_PIXEL)
        return shift_pixel_centers(scale_intrinsics(from_corner, *scale.T), -HALF_PIXEL)
    guess = focal_guess(workspace, settings)
    focal = guess.focal if guess is not None else focal_of_fov(DEFAULT_FOV, clip.width)
    if guess is None:
        report.note(
            f"the given poses come without a focal length: a field of view of {DEFAULT_FOV:.0f} degrees is "
            "taken (give --cameras.focal)"
        )
    K = np.array([[focal, 0, (clip.width - 1) / 2], [0, focal, (clip.height - 1) / 2], [0, 0, 1.0]])
    return np.tile(K, (count, 1, 1))


def _points(workspace: Workspace, report: Report, cameras: Cameras) -> SparsePoints:
    """Locate the tracks with the median focal length of the cameras."""
    tracks = static_tracks(workspace, report)
    focal = float(np.median(focals(cameras.Ks)[..., 0]))
    views = cameras.world_to_cameras[:, :3]
    found = locate_tracks(tracks, np.arange(len(views)), views, focal)
    solution = CameraSolution(
        views[:, :, :3],
        views[:, :, 3],
        focal,
        tracks.center,
        np.ones(len(views), bool),
        found.bundle.points,
        found.known & (not cameras.static),
        "still" if cameras.static else "moving",
    )
    return points_of(solution, tracks, workspace)
