"""Cameras of another tool, one for each frame of a clip, of its size and without its lens."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64

from dyn3d_ns.geometry.lenses import Undistortion
from dyn3d_ns.io.camera_file import brought_to, without_lens
from dyn3d_ns.io.errors import StageError
from dyn3d_ns.io.frame_matching import ClipFrames, match_frames
from dyn3d_ns.io.trajectories import read_cameras
from dyn3d_ns.video.cameras.settings import GivenCameras
from dyn3d_ns.video.cameras.static_camera import interpolate_poses


@dataclass(frozen=True)
class MatchedCameras:
    """One camera a frame."""

    camera_to_worlds: Float64[np.ndarray, "F 4 4"]
    """OpenCV axes; where the file has none interpolated between the neighbours."""
    known: Bool[np.ndarray, "F"]
    """Whether the file has it."""
    Ks: Float64[np.ndarray, "F 3 3"] | None
    """Intrinsics of frames without the lens, pixel centres at whole numbers; None where none are known."""
    undistortions: list[Undistortion | None]
    """What undoes the lens of each frame."""
    notes: list[str]

    @property
    def lens(self) -> str:
        """What is undone, in words that are equal if and only if the same is undone; empty if nothing is."""
        told = [_told(undo) for undo in self.undistortions]
        kinds = list(dict.fromkeys(text for text in told if text))
        if len(set(told)) == 1:
            return told[0]
        mark = hashlib.sha256("\n".join(told).encode()).hexdigest()[:10]
        return f"{len(kinds)} lenses, frame by frame ({mark}), of which the first is {kinds[0]}"


def match_cameras(frames: ClipFrames, size: tuple[int, int], given: GivenCameras) -> MatchedCameras:
    """Read cameras of another tool and give each frame its own.

    Args:
        frames: The clip's.
        size: Width and height of the clip's frames.
        given: Where they are.

    Raises:
        StageError: none are named, or a lens cannot be undone.
        DatasetError: they cannot be read, or belong to other frames or to images of another shape.
    """
    if given.poses is None:
        raise StageError("--cameras.poses is not given")
    file = read_cameras(given.poses, given.poses_format)
    match = match_frames(frames, file.labels, str(given.poses), "poses")
    known, notes = match.rows >= 0, [*file.notes, match.note]
    nearest = np.abs(np.arange(len(frames))[:, None] - np.flatnonzero(known)).argmin(axis=1)
    chosen = file.select(match.rows[np.flatnonzero(known)[nearest]])
    poses = _filled(chosen.camera_to_worlds, known)
    Ks, scaled = brought_to(chosen, size)
    notes.append(scaled)
    if not known.all():
        notes[-2] += ": theirs are found from the frames before and after"
    Ks, undos = without_lens(chosen, Ks, size)
    if any(undo is not None for undo in undos):
        _check_focal(given)
    return MatchedCameras(poses, known, Ks, undos, [note for note in notes if note])


def _filled(
    poses: Float64[np.ndarray, "F 4 4"], known: Bool[np.ndarray, "F"]
) -> Float64[np.ndarray, "F 4 4"]:
    rotations, places = interpolate_poses(poses[:, :3, :3], poses[:, :3, 3], known)
    filled = poses.copy()
    filled[:, :3, :3], filled[:, :3, 3] = rotations, places
    return filled


def _check_focal(given: GivenCameras) -> None:
    if given.focal is not None or given.fov is not None:
        raise StageError(
            f"{given.poses} has a lens, which goes with the focal length there; leave out --cameras.focal "
            "and --cameras.fov"
        )


def _told(undo: Undistortion | None) -> str:
    if undo is None:
        return ""
    (fx, _, cx), (_, fy, cy), _ = undo.intrinsics
    return f"{undo.lens}, focal length {fx:.6g} {fy:.6g}, principal point {cx:.6g} {cy:.6g}"
