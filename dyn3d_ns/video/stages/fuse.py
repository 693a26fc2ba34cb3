"""The stage `fuse`: everything as points over time, in one world."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from dyn3d_ns.io.errors import StageError
from dyn3d_ns.video.stage import Report, Stage
from dyn3d_ns.video.workspace import Workspace

if TYPE_CHECKING:
    from dyn3d_ns.io.fused_4d import FusedScene
    from dyn3d_ns.video.types import Tracks


@dataclass(frozen=True)
class FuseSettings:
    """How the points of all frames become one scene."""

    max_static_points: int = 500_000
    """Static points that are kept, at most."""
    max_moving_points: int = 20_000
    """Moving points of each frame, at most."""
    voxel: float = 1.0
    """Static points closer than this many pixels at the scene's median depth are averaged; 0 keeps all."""
    max_tracks: int = 20_000
    """Tracks that are lifted, at most; those that are seen longest."""
    edge_percentile: float = 95.0
    """Pixels on steeper edges of depth than this percentile are left out."""
    ply: bool = True
    """Write ply/static.ply, and the moving points of every frame, as PLY files."""
    ply_colors: Literal["picture", "instance"] = "picture"
    """Colours of the moving points in the PLY files."""

    def __post_init__(self) -> None:
        if min(self.max_static_points, self.max_moving_points) < 1 or self.max_tracks < 0:
            raise StageError("--fuse.max-static-points and --fuse.max-moving-points must be at least 1")
        if not 0 < self.edge_percentile <= 100:
            raise StageError(f"--fuse.edge-percentile must lie in (0, 100], got {self.edge_percentile}")


class FuseStage(Stage):
    """Writes dynamicBA/<experiment>/fused_4d.npz and the PLY files."""

    name = "fuse"
    needs = ("frames", "cameras", "depth")
    uses = ("masks", "tracks", "adjust")
    settings: FuseSettings

    def outputs(self, workspace: Workspace) -> list[Path]:
        """Return the fused scene."""
        return [workspace.fused_path]

    def run(self, workspace: Workspace, report: Report) -> None:
        """Lift every frame, average what is static, write."""
        from dyn3d_ns.io.fused_4d import write_fused

        scene = self._fuse(workspace, report)
        if not len(scene.static_points):
            report.note("no static point has depth: only moving points are in the fused scene")
        write_fused(workspace.fused_path, scene)
        if self.settings.ply:
            self._write_ply(workspace, report, scene)

    def _fuse(self, workspace: Workspace, report: Report) -> FusedScene:
        from dyn3d_ns.io.fused_4d import FusedScene
        from dyn3d_ns.video.fuse.gather import Gatherer
        from dyn3d_ns.video.masks.pictures import instance_colors

        s, cameras, count = self.settings, workspace.cameras(), workspace.num_frames
        if len(cameras.Ks) != count:
            raise StageError(f"{len(cameras.Ks)} cameras, but {count} frames; run `cameras` again")
        has_masks = workspace.has_masks()
        if not has_masks:
            report.note("there are no masks: everything counts as static")
        gatherer = Gatherer(self._tracks(workspace), count, s)
        for i in report.track(range(count), "points of all frames"):
            image, depth = workspace.image(i), workspace.depth(i)
            labels = workspace.labels(i) if has_masks else np.zeros(depth.shape, np.int32)
            if not image.shape[:2] == depth.shape == labels.shape:
                raise StageError(
                    f"frame {i}: image {image.shape[:2]}, depth {depth.shape} and mask {labels.shape} differ "
                    "in size; run the stages `masks` and `depth` again"
                )
            gatherer.add(i, image, depth, labels, cameras.Ks[i], cameras.camera_to_worlds[i])
        static_points, static_rgbs = gatherer.static(float(cameras.Ks[:, 0, 0].mean()))
        traj, traj_vis, traj_instance = gatherer.trajectories()
        return FusedScene(
            static_points=static_points,
            static_rgbs=static_rgbs,
            **gatherer.moving(),
            c2w=cameras.camera_to_worlds,
            Ks=cameras.Ks,
            traj=traj,
            traj_vis=traj_vis,
            traj_instance=traj_instance,
            instance_colors=instance_colors(gatherer.num_instances),
        )

    def _tracks(self, workspace: Workspace) -> Tracks | None:
        return workspace.tracks() if any(workspace.root.glob("cotrackerv3_*/results.npz")) else None

    def _write_ply(self, workspace: Workspace, report: Report, scene: FusedScene) -> None:
        from dyn3d_ns.io.ply import write_points

        folder = workspace.adjusted_dir / "ply"
        write_points(folder / "static.ply", scene.static_points.astype(np.float32), scene.static_rgbs)
        for i in report.track(range(scene.num_frames), "PLY files"):
            points, rgbs, instances = scene.moving(i)
            if self.settings.ply_colors == "instance":
                rgbs = scene.instance_colors[instances]
            write_points(folder / f"moving_{i:05d}.ply", points.astype(np.float32), rgbs)
