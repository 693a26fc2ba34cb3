"""Tracks of a clip with their labels and the depth under them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int

from dyn3d_ns.geometry.cameras import centers, focals
from dyn3d_ns.io.clip.types import Cameras, Tracks
from dyn3d_ns.io.clip.workspace import Workspace
from dyn3d_ns.video.adjust.labels import Label, pixel_labels, track_labels
from dyn3d_ns.video.adjust.static import CameraState, Samples
from dyn3d_ns.video.stage import Report


@dataclass(frozen=True)
class LabelledTracks:
    """Tracks, what they are, and the depth under their samples."""

    tracks: Tracks
    labels: Int[np.ndarray, "N"]
    """See :class:`~dyn3d_ns.video.adjust.labels.Label`."""
    counts: Bool[np.ndarray, "F N"]
    """Visible samples away from the masks' borders."""
    instances: Int[np.ndarray, "N"]
    """Instance that a moving track is on; 0 for static ones."""
    depth: Float32[np.ndarray, "F N"]

    def chosen(self, label: Label, limit: int) -> Int[np.ndarray, "M"]:
        """Return the tracks of a label, those seen longest if there are more than `limit`."""
        ids = np.flatnonzero(self.labels == label)
        return np.sort(ids[np.argsort(-self.counts[:, ids].sum(0), kind="stable")[:limit]])

    def samples(self, ids: Int[np.ndarray, "M"]) -> Samples:
        """Return the samples of some tracks, renumbered in their order."""
        frames, points = np.nonzero(self.counts[:, ids])
        return Samples(
            torch.from_numpy(frames),
            torch.from_numpy(points),
            torch.from_numpy(self.tracks.xy[frames, ids[points]].astype(np.float64)),
            torch.from_numpy(self.depth[frames, ids[points]].astype(np.float64)),
        )


def gather_tracks(workspace: Workspace, report: Report) -> LabelledTracks:
    """Read tracks, masks and depth; one frame is held at a time."""
    tracks = workspace.tracks()
    count_f, count_n = tracks.visible.shape
    under = np.full((count_f, count_n), Label.STATIC, np.int8)
    ids = np.zeros((count_f, count_n), np.int32)
    depth = np.zeros((count_f, count_n), np.float32)
    masked = workspace.has_masks()
    for frame in report.track(range(count_f), "adjust: reading"):
        here = np.flatnonzero(tracks.visible[frame])
        columns = np.clip(np.rint(tracks.xy[frame, here, 0]).astype(int), 0, tracks.width - 1)
        rows = np.clip(np.rint(tracks.xy[frame, here, 1]).astype(int), 0, tracks.height - 1)
        depth[frame, here] = workspace.depth(frame, adjusted=False)[rows, columns]
        if masked:
            labels = workspace.labels(frame)
            under[frame, here] = pixel_labels(labels)[rows, columns]
            ids[frame, here] = labels[rows, columns]
    labels, counts = track_labels(under, tracks.visible)
    return LabelledTracks(tracks, labels, counts, _instances(ids, counts, labels), depth)


def _instances(
    ids: Int[np.ndarray, "F N"], counts: Bool[np.ndarray, "F N"], labels: Int[np.ndarray, "N"]
) -> Int[np.ndarray, "N"]:
    """Return the instance that each moving track is on most often."""
    found = np.zeros(len(labels), np.int32)
    for track in np.flatnonzero(labels == Label.DYNAMIC):
        found[track] = np.bincount(ids[counts[:, track], track]).argmax()
    return found


def camera_state(cameras: Cameras) -> CameraState:
    """Turn cameras into tensors."""
    poses = torch.from_numpy(cameras.camera_to_worlds)
    Ks = torch.from_numpy(cameras.Ks)
    return CameraState(
        poses[:, :3, :3].clone(),
        poses[:, :3, 3].clone(),
        focals(Ks)[:, 0].clone(),
        centers(Ks)[:, 0].clone(),
    )


def cameras_of_state(state: CameraState, before: Cameras) -> Cameras:
    """Turn adjusted tensors back into cameras."""
    poses = np.tile(np.eye(4), (len(before.Ks), 1, 1))
    poses[:, :3, :3] = state.rotations.numpy()
    poses[:, :3, 3] = state.centers.numpy()
    Ks = before.Ks.copy()
    Ks[:, (0, 1), (0, 1)] = state.focal.numpy()
    return Cameras(Ks, poses, before.registered, before.static)
