"""Cameras of another tool, and the clip's tracks located by them."""

from __future__ import annotations

import numpy as np

from dyn3d_ns.geometry.cameras import focals
from dyn3d_ns.io.clip.types import Cameras, SparsePoints
from dyn3d_ns.io.clip.workspace import Workspace
from dyn3d_ns.io.errors import StageError
from dyn3d_ns.video.cameras.colmap import locate_tracks
from dyn3d_ns.video.cameras.completion import CameraSolution
from dyn3d_ns.video.cameras.focal import DEFAULT_FOV, focal_of_fov
from dyn3d_ns.video.cameras.matched import MatchedCameras, match_cameras
from dyn3d_ns.video.cameras.settings import GivenCameras
from dyn3d_ns.video.cameras.static_tracks import focal_guess, points_of, static_tracks
from dyn3d_ns.video.stage import Report

_STILL = 1e-6


def given_cameras(
    workspace: Workspace, report: Report, settings: GivenCameras
) -> tuple[Cameras, SparsePoints]:
    """Read cameras of another tool, match them to the frames, and locate the tracks with them.

    Raises:
        DatasetError: they do not fit the clip.
    """
    cameras = cameras_from_file(workspace, report, settings)
    return cameras, _points(workspace, report, cameras)


def cameras_from_file(workspace: Workspace, report: Report, settings: GivenCameras) -> Cameras:
    """Read cameras of another tool and match them to the frames.

    Raises:
        DatasetError: none are named, they cannot be read, or they belong to other frames.
        StageError: the frames do not have the lens undone that the cameras have.
    """
    clip = workspace.clip()
    given = match_cameras(workspace.clip_frames(), (clip.width, clip.height), settings)
    if given.lens != clip.lens:
        raise StageError(
            f"{settings.poses} has {given.lens or 'no lens'}, but in the frames "
            f"{f'another one is undone: {clip.lens}' if clip.lens else 'no lens is undone'}; run the stage "
            "frames too, with the same --cameras.poses"
        )
    for note in given.notes:
        report.note(note)
    poses = given.camera_to_worlds
    static = bool(np.ptp(poses.reshape(len(poses), -1), axis=0).max() < _STILL)
    return Cameras(_intrinsics(workspace, report, settings, given), poses, given.known, static)


def _intrinsics(
    workspace: Workspace, report: Report, settings: GivenCameras, given: MatchedCameras
) -> np.ndarray:
    clip, count = workspace.clip(), workspace.num_frames
    if given.Ks is not None and settings.focal is None and settings.fov is None:
        return given.Ks
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
