"""Camera estimators that read a clip's folder: tracks and masks in, cameras and points out."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from jaxtyping import Bool, Float

from dyn3d_ns.video.cameras.completion import CameraSolution, complete
from dyn3d_ns.video.cameras.focal import FocalGuess, focal_of_fov
from dyn3d_ns.video.cameras.incremental import Reconstruction, StaticTracks
from dyn3d_ns.video.cameras.projection import sum_rows
from dyn3d_ns.video.cameras.sfm import solve_cameras
from dyn3d_ns.video.errors import StageError
from dyn3d_ns.video.registry import make_part
from dyn3d_ns.video.stage import Report
from dyn3d_ns.video.types import Cameras, SparsePoints
from dyn3d_ns.video.workspace import Workspace

if TYPE_CHECKING:
    from dyn3d_ns.video.stages.cameras import CamerasSettings

_GROW = 7
"""Pixels by which masks of what moves are widened: a window of the tracker must not touch it."""
_MIN_STATIC = 50


class FocalSettings(Protocol):
    """What the user may say of the focal length."""

    @property
    def focal(self) -> float | None: ...
    @property
    def fov(self) -> float | None: ...


class TrackCameras:
    """COLMAP's mapper and bundle adjustment on the clip's own tracks."""

    def __init__(self, max_keyframes: int = 60, guess: FocalGuess | None = None) -> None:
        self.max_keyframes = max_keyframes
        self.guess = guess

    @classmethod
    def from_settings(cls, settings: CamerasSettings) -> TrackCameras:
        """Build it from the settings of the stage `cameras`."""
        return cls(settings.max_keyframes)

    def __call__(self, workspace: Workspace, report: Report) -> tuple[Cameras, SparsePoints]:
        """Return the cameras, and the static points that they were found with."""
        tracks = static_tracks(workspace, report)
        guess = self.guess or exif_guess(workspace)
        propose = self.proposal(workspace, report, tracks, guess)
        with report.progress(1, "cameras from tracks") as step:
            solution = solve_cameras(tracks, guess, self.max_keyframes, report.note, propose)
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
        guess = self.guess or exif_guess(workspace)
        found = colmap_reconstruction(workspace, report, tracks, guess)
        if found is None:
            raise StageError("COLMAP cannot register the clip; try --cameras.method tracks")
        solution = complete(tracks, found, "moving", report.note)
        return cameras_of(solution), points_of(solution, tracks, workspace)


def static_tracks(workspace: Workspace, report: Report) -> StaticTracks:
    """Read the tracks and take away those that touch what moves.

    Where hardly any are left (a mask that covers everything), the masks are not used, and the report says so.
    """
    tracks = workspace.tracks()
    usable = tracks.visible.copy()
    if usable.shape[0] != workspace.num_frames:
        raise StageError(
            f"{workspace.find_tracks()} has {usable.shape[0]} frames, the clip {workspace.num_frames}; "
            "run the stage `tracks` again"
        )
    if workspace.has_masks():
        moving = on_moving(workspace, tracks.xy, usable)
        masked = usable & ~moving.any(0)
        least = min(_MIN_STATIC, 0.1 * usable.sum(1).mean())
        if masked.sum(1).mean() >= least:
            usable = masked
        else:
            report.note("the masks leave too few tracks to find the cameras: masks are not used for them")
    return StaticTracks(tracks.xy, usable, tracks.width, tracks.height)


def on_moving(
    workspace: Workspace,
    xy: Float[np.ndarray, "F N 2"],
    visible: Bool[np.ndarray, "F N"],
    grow: int = _GROW,
) -> Bool[np.ndarray, "F N"]:
    """Tell which visible samples lie on, or within a few pixels of, what moves."""
    import cv2

    moving = np.zeros_like(visible)
    for frame in range(len(xy)):
        mask = cv2.dilate(workspace.dynamic_mask(frame).astype(np.uint8), np.ones((grow, grow), np.uint8))
        ids = np.flatnonzero(visible[frame])
        columns = np.clip(np.rint(xy[frame, ids, 0]).astype(int), 0, mask.shape[1] - 1)
        rows = np.clip(np.rint(xy[frame, ids, 1]).astype(int), 0, mask.shape[0] - 1)
        moving[frame, ids] = mask[rows, columns] > 0
    return moving


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


def points_of(solution: CameraSolution, tracks: StaticTracks, workspace: Workspace) -> SparsePoints:
    """Return the located tracks as points, coloured by the frames that see them."""
    seen = tracks.observations(solution.registered, solution.known)
    ids, compact = np.unique(seen.points, return_inverse=True)
    colors = np.zeros((len(seen.frames), 3))
    for frame in np.unique(seen.frames):
        image = workspace.image(int(frame))
        mine = seen.frames == frame
        x, y = np.rint(seen.pixels[mine]).astype(int).T
        colors[mine] = image[np.clip(y, 0, len(image) - 1), np.clip(x, 0, image.shape[1] - 1)]
    count = np.maximum(np.bincount(compact, minlength=len(ids)), 1)
    rgb: Any = sum_rows(colors, compact, len(ids)) / count[:, None]
    return SparsePoints(
        xyz=solution.points[ids].astype(np.float32),
        rgb=np.rint(rgb).astype(np.uint8),
        frame_ids=seen.frames.astype(np.int32),
        point_ids=compact.astype(np.int32),
        xy=seen.pixels.astype(np.float32),
    )


def estimate_cameras(
    workspace: Workspace, report: Report, settings: CamerasSettings
) -> tuple[Cameras, SparsePoints]:
    """Find the cameras as the settings say.

    Raises:
        StageError: the settings contradict each other or name something that does not exist.
    """
    if settings.poses is not None:
        from dyn3d_ns.video.cameras.given import given_cameras

        return given_cameras(workspace, report, settings)
    estimator = make_part("cameras", settings.method, settings)
    if isinstance(estimator, TrackCameras):
        estimator.guess = focal_guess(workspace, settings)
    return estimator(workspace, report)


def focal_guess(workspace: Workspace, settings: FocalSettings) -> FocalGuess | None:
    """Return what the user says of the focal length, else what the file says."""
    if settings.focal is not None:
        if not settings.focal > 0:
            raise StageError(f"--cameras.focal must be positive (pixels), got {settings.focal}")
        return FocalGuess(settings.focal, certain=True)
    if settings.fov is not None:
        if not 1 < settings.fov < 179:
            raise StageError(f"--cameras.fov must lie between 1 and 179 degrees, got {settings.fov}")
        return FocalGuess(focal_of_fov(settings.fov, workspace.clip().width), certain=True)
    return exif_guess(workspace)


def exif_guess(workspace: Workspace) -> FocalGuess | None:
    """Return the focal length that the clip's file states, as a start."""
    focal = workspace.clip().focal_px
    return FocalGuess(focal, certain=False) if focal else None
