"""The stage `fuse`: everything as points over time, in one world."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dyn3d_ns.geometry.cameras import focals
from dyn3d_ns.io.clip.workspace import Workspace
from dyn3d_ns.io.errors import StageError
from dyn3d_ns.video.fuse.settings import FuseSettings
from dyn3d_ns.video.stage import Report, Stage

if TYPE_CHECKING:
    from dyn3d_ns.io.clip.types import Tracks
    from dyn3d_ns.io.fused_4d import FusedScene


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
        static_points, static_rgbs = gatherer.static(float(focals(cameras.Ks)[..., 0].mean()))
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
        return workspace.tracks() if workspace.has_tracks() else None

    def _write_ply(self, workspace: Workspace, report: Report, scene: FusedScene) -> None:
        from dyn3d_ns.io.ply import write_points

        folder = workspace.adjusted_dir / "ply"
        write_points(folder / "static.ply", scene.static_points, scene.static_rgbs)
        for i in report.track(range(scene.num_frames), "PLY files"):
            points, rgbs, instances = scene.moving(i)
            if self.settings.ply_colors == "instance":
                rgbs = scene.instance_colors[instances]
            write_points(folder / f"moving_{i:05d}.ply", points, rgbs)
