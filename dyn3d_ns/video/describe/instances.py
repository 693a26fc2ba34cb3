"""Measure the objects of the masks: where they are, how large, and how they move."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float64

from dyn3d_ns.video.fuse.points import lift

if TYPE_CHECKING:
    from dyn3d_ns.io.clip.workspace import Workspace
    from dyn3d_ns.video.stage import Report


@dataclass
class InstanceTrack:
    """One object through the clip."""

    frames: list[int] = field(default_factory=list)
    areas: list[float] = field(default_factory=list)
    """Share of the picture in each of the frames."""
    centers: list[Float64[np.ndarray, "2"]] = field(default_factory=list)
    """Middle of the object in pixels."""
    positions: list[Float64[np.ndarray, "3"]] = field(default_factory=list)
    """Middle of its visible points in the world; empty without depth and cameras."""
    drifts: list[Float64[np.ndarray, "2"]] = field(default_factory=list)
    """Flow of the object against that of the static pixels, in pixels a frame."""

    @property
    def best_frame(self) -> int:
        """The frame in which most of it is seen."""
        return self.frames[int(np.argmax(self.areas))]


def measure_instances(workspace: Workspace, report: Report) -> dict[int, InstanceTrack]:
    """Follow every object of the masks, in the world where depth and cameras exist."""
    tracks: dict[int, InstanceTrack] = {}
    count = workspace.num_frames
    in_world = workspace.has_depth() and workspace.cameras_path.is_file()
    cameras = workspace.cameras() if in_world else None
    for i in report.track(range(count), "objects"):
        labels = workspace.labels(i)
        present = [int(k) for k in np.unique(labels) if k > 0]
        if not present:
            continue
        depth = workspace.depth(i) if in_world else None
        flow = workspace.flow(i, i + 1) if i + 1 < count and workspace.has_flow(i, i + 1) else None
        for key in present:
            ys, xs = np.nonzero(labels == key)
            track = tracks.setdefault(key, InstanceTrack())
            track.frames.append(i)
            track.areas.append(len(xs) / labels.size)
            track.centers.append(np.array([xs.mean(), ys.mean()]))
            if flow is not None and (labels == 0).any():
                drift = flow.flow[ys, xs].mean(0) - np.median(flow.flow[labels == 0], axis=0)
                track.drifts.append(drift.astype(np.float64))
            if depth is not None and cameras is not None:
                z = depth[ys, xs]
                known = z > 0
                if known.any():
                    xy = np.stack((xs, ys), axis=1)[known].astype(np.float64)
                    points = lift(xy, z[known], cameras.Ks[i], cameras.camera_to_worlds[i])
                    track.positions.append(np.median(points, axis=0))
    return tracks
