"""Collect the points of frame after frame; memory holds what is kept and one frame."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int32, UInt8

from dyn3d_ns.geometry.world import COARSE
from dyn3d_ns.io.clip.types import Tracks
from dyn3d_ns.video.fuse.points import average_voxels, lift, majority, pick, reliable, track_points

_OVERDRAW = 3
"""Static points that are gathered for each one that may stay."""


class Limits(Protocol):
    """How much is kept; see the settings of the stage `fuse`."""

    @property
    def max_static_points(self) -> int: ...
    @property
    def max_moving_points(self) -> int: ...
    @property
    def max_tracks(self) -> int: ...
    @property
    def voxel(self) -> float: ...
    @property
    def edge_percentile(self) -> float: ...


class Gatherer:
    """Gathers static points, moving points and tracks of a clip."""

    def __init__(self, tracks: Tracks | None, num_frames: int, limits: Limits) -> None:
        self.limits = limits
        self.num_frames = num_frames
        self.num_instances = 0
        self._rng = np.random.default_rng(0)
        self._static: list[tuple[np.ndarray, np.ndarray]] = []
        self._moving: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        self._depths: list[float] = []
        self._origin: Float64[np.ndarray, "3"] | None = None
        self._xy, self._visible = _longest(tracks, num_frames, limits.max_tracks)
        count = self._visible.shape[1]
        self._traj = np.zeros((num_frames, count, 3), np.float32)
        self._seen = np.zeros((num_frames, count), bool)
        self._under = np.zeros((num_frames, count), np.int32)

    def add(
        self,
        i: int,
        image: UInt8[np.ndarray, "H W 3"],
        depth: Float32[np.ndarray, "H W"],
        labels: Int32[np.ndarray, "H W"],
        K: Float64[np.ndarray, "3 3"],
        camera_to_world: Float64[np.ndarray, "4 4"],
    ) -> None:
        """Take in frame i."""
        import cv2

        if self._origin is None:
            # What is kept in float32 counts from here where the scene's own origin is too far away.
            far = np.abs(camera_to_world[:3, 3]).max() > COARSE * float(depth.max())
            self._origin = camera_to_world[:3, 3] * far

        good = reliable(depth, self.limits.edge_percentile)
        # A mask may lie a pixel beside its object: what borders it belongs to neither side for sure.
        near = cv2.dilate((labels > 0).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
        share = -(-_OVERDRAW * self.limits.max_static_points // self.num_frames)
        for where, most, moving in (
            (good & ~near, share, False),
            (good & (labels > 0), self.limits.max_moving_points, True),
        ):
            at = pick(where, most, self._rng)
            z = depth[at[:, 1], at[:, 0]]
            points, colors = (
                lift(at.astype(np.float64), z, K, camera_to_world),
                image[at[:, 1], at[:, 0]],
            )
            if moving:
                # Half the size: long clips hold many.
                self._moving.append(
                    ((points - self._origin).astype(np.float32), colors, labels[at[:, 1], at[:, 0]])
                )
            else:
                self._static.append((points, colors))
                self._depths.extend([float(np.median(z))] if len(z) else [])
        self.num_instances = max(self.num_instances, int(labels.max(initial=0)))
        local, self._seen[i], self._under[i] = track_points(
            self._xy, self._visible, i, depth, labels, K, camera_to_world
        )
        self._traj[i] = np.where(self._seen[i][:, None], local - self._origin, 0)

    def static(self, focal: float) -> tuple[Float64[np.ndarray, "S 3"], UInt8[np.ndarray, "S 3"]]:
        """Return the static points, averaged where several frames see the same surface."""
        points = np.concatenate([item[0] for item in self._static])
        colors = np.concatenate([item[1] for item in self._static])
        size = self.limits.voxel * float(np.median(self._depths or [1.0])) / focal
        if size > 0:
            points, colors = average_voxels(points, colors, size)
        if len(points) > self.limits.max_static_points:
            chosen = self._rng.choice(len(points), self.limits.max_static_points, replace=False)
            points, colors = points[chosen], colors[chosen]
        return points, colors

    def moving(self) -> dict[str, np.ndarray]:
        """Return the moving points by the names that a fused scene has for them."""
        return {
            "dyn_points": np.concatenate([item[0] for item in self._moving], dtype=np.float64)
            + (0 if self._origin is None else self._origin),
            "dyn_rgbs": np.concatenate([item[1] for item in self._moving]),
            "dyn_instances": np.concatenate([item[2] for item in self._moving]).astype(np.int32),
            "dyn_offsets": np.cumsum([0, *(len(item[0]) for item in self._moving)]).astype(np.int64),
        }

    def trajectories(
        self,
    ) -> tuple[Float[np.ndarray, "N F 3"], Bool[np.ndarray, "N F"], Int32[np.ndarray, "N"]]:
        """Return the lifted tracks that were seen at least twice, and the object that each lies on."""
        kept = self._seen.sum(0) >= 2
        instance = majority(self._under[:, kept], self._seen[:, kept])
        traj, seen = self._traj[:, kept], self._seen[:, kept]
        if self._origin is not None and self._origin.any():
            traj = np.where(seen[..., None], traj + self._origin, 0)
        return traj.transpose(1, 0, 2), seen.T, instance


def _longest(
    tracks: Tracks | None, num_frames: int, most: int
) -> tuple[Float32[np.ndarray, "F N 2"], Bool[np.ndarray, "F N"]]:
    """Return the tracks that are seen in most frames."""
    if tracks is None:
        return np.zeros((num_frames, 0, 2), np.float32), np.zeros((num_frames, 0), bool)
    chosen = np.sort(np.argsort(-tracks.visible.sum(0), kind="stable")[:most])
    return tracks.xy[:, chosen], tracks.visible[:, chosen]
