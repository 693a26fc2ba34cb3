"""Files of an adjusted clip, under DynamicVerse's names."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32

from dyn3d_ns.geometry.world import coordinates
from dyn3d_ns.io.arrays import encode_png, write_npz
from dyn3d_ns.io.atomic import atomic_open, write_bytes, write_text
from dyn3d_ns.io.clip.types import Cameras
from dyn3d_ns.io.clip.workspace import Workspace
from dyn3d_ns.video.adjust.gather import LabelledTracks
from dyn3d_ns.video.adjust.points import PointTracks


def write_frame(
    workspace: Workspace, cameras: Cameras, frame: int, depth: Float32[np.ndarray, "H W"]
) -> None:
    """Write a frame's inverse depth, image and camera (camera to world), and its depth as a 16-bit PNG."""
    known = depth > 0
    pose = cameras.camera_to_worlds[frame]
    write_npz(
        workspace.adjusted_frame_path(frame),
        disp=np.where(known, 1.0 / np.where(known, depth, 1.0), 0.0).astype(np.float32),
        img=workspace.image(frame),
        R=pose[:3, :3],
        t=pose[:3, 3],
        K=cameras.Ks[frame],
    )
    low, high = float(depth.min()), float(depth.max())
    levels = np.rint((depth - low) / max(high - low, 1e-12) * 65535.0).astype(np.uint16)
    path = workspace.adjusted_dir / "depth_maps" / f"{frame:04d}_geometric.png"
    write_bytes(path, encode_png(levels))


def write_results(
    workspace: Workspace,
    cameras: Cameras,
    data: LabelledTracks,
    points: PointTracks,
    seconds: dict[str, float],
) -> None:
    """Write what is not a frame's own: tracks with labels, points in space, ranges of depth, times, cameras.

    The cameras come last: with them the adjustment counts as done.
    """
    folder = workspace.adjusted_dir
    seen = np.concatenate([points.static, points.moving[points.moving_visible]])
    kind = coordinates(seen).dtype
    write_npz(
        folder / "filtered_results.npz",
        tracks=data.tracks.xy,
        vis=data.counts,
        labels=data.labels.astype(np.int64),
    )
    write_npz(
        folder / "tracks_3d.npz",
        static_points=points.static.astype(kind),
        static_ids=points.static_ids,
        traj=points.moving.transpose(1, 0, 2).astype(kind),
        traj_vis=points.moving_visible.T,
        traj_ids=points.moving_ids,
        traj_instance=data.instances[points.moving_ids],
    )
    _write_ranges(workspace, len(cameras.Ks))
    lines = [f"{name}: {value:.3f} s" for name, value in seconds.items()]
    write_text(folder / "optimization_times.txt", "\n".join(lines) + "\n")
    workspace.write_cameras(cameras, adjusted=True)


def _write_ranges(workspace: Workspace, count: int) -> None:
    """Write the range that each 16-bit depth PNG spans: depth = min + value / 65535 (max - min).

    A structured array reads like DynamicVerse's list of dictionaries, and needs no pickle.
    """
    kind = [("frame", "i4"), ("height", "i4"), ("width", "i4"), ("depth_min", "f8"), ("depth_max", "f8")]
    rows = np.zeros(count, dtype=kind)
    for frame in range(count):
        depth = workspace.depth(frame, adjusted=True)
        rows[frame] = (frame, *depth.shape, float(depth.min()), float(depth.max()))
    with atomic_open(workspace.adjusted_dir / "depth_maps" / "depth_metadata.npy") as file:
        np.save(file, rows, allow_pickle=False)
