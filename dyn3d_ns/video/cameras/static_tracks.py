"""Tracks of what stands still, the points located from them, and what is known of the focal length."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from dyn3d_ns.geometry.world import coordinates
from dyn3d_ns.io.clip.types import SparsePoints
from dyn3d_ns.io.clip.workspace import Workspace
from dyn3d_ns.io.errors import StageError
from dyn3d_ns.video.cameras.completion import CameraSolution
from dyn3d_ns.video.cameras.focal import FocalGuess, focal_of_fov
from dyn3d_ns.video.cameras.incremental import StaticTracks
from dyn3d_ns.video.cameras.projection import sum_rows
from dyn3d_ns.video.cameras.settings import GivenCameras
from dyn3d_ns.video.stage import Report

_GROW = 7
"""Pixels by which masks of what moves are widened: a window of the tracker must not touch it."""
_MIN_STATIC = 50


def static_tracks(workspace: Workspace, report: Report) -> StaticTracks:
    """Read the tracks and take away those that touch what moves.

    Where hardly any are left (a mask that covers everything), the masks are not used, and the report says so.
    """
    tracks = workspace.tracks()
    usable = tracks.visible.copy()
    if usable.shape[0] != workspace.num_frames:
        raise StageError(
            f"{workspace.tracks_file()} has {usable.shape[0]} frames, the clip {workspace.num_frames}; "
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
        xyz=coordinates(solution.points[ids]),
        rgb=np.rint(rgb).astype(np.uint8),
        frame_ids=seen.frames.astype(np.int32),
        point_ids=compact.astype(np.int32),
        xy=seen.pixels.astype(np.float32),
    )


def focal_guess(workspace: Workspace, settings: GivenCameras) -> FocalGuess | None:
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
