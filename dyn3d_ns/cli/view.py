"""`dyn3d view`: a processed clip as a page in the browser."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from dyn3d_ns.cli.errors import CommandError
from dyn3d_ns.io.clip.folder import ClipFolder
from dyn3d_ns.io.shell import shell_word

if TYPE_CHECKING:
    from dyn3d_ns.viewer.scene_4d import SceneViewer


@dataclass(kw_only=True)
class View:
    """Show a clip that `dyn3d process` made: points over time, cameras, trails of tracks, objects."""

    out: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OUT")]
    """The folder that `dyn3d process` wrote, or a fused_4d.npz."""
    host: str = "127.0.0.1"
    """Address to serve on; 0.0.0.0 lets other machines in."""
    port: int = 7008
    """Port of the page; the next free one if it is taken."""
    max_static_points: int = 250_000
    """Static points that are sent to the browser, at most."""
    max_moving_points: int = 20_000
    """Moving points of each frame, at most."""

    def run(self) -> None:
        """Serve the page until it is interrupted.

        Raises:
            CommandError: there is no fused scene.
        """
        from dyn3d_ns.cli.serving import serve

        viewer = self.open()
        serve(viewer, self.out, viewer.scene.num_frames)

    def open(self) -> SceneViewer:
        """Start serving and return the running viewer."""
        from dyn3d_ns.io.fused_4d import read_fused
        from dyn3d_ns.timeline import Timeline
        from dyn3d_ns.viewer.scene_4d import SceneViewer, ViewLimits

        path = self._fused()
        scene = read_fused(path)
        clip_folder = ClipFolder(self.out)
        count = scene.num_frames
        times, fps, image = [i / max(count - 1, 1) for i in range(count)], None, None
        if self.out.is_dir() and clip_folder.clip_path.is_file():
            clip = clip_folder.clip()
            if len(clip.times) == count:
                times, fps, image = clip.normalized_times.tolist(), clip.fps, clip_folder.image
        return SceneViewer(
            scene,
            Timeline.from_times(times, fps=fps),
            clip_folder.instance_names,
            image,
            self.host,
            self.port,
            ViewLimits(self.max_static_points, self.max_moving_points),
        )

    def _fused(self) -> Path:
        if self.out.is_file():
            return self.out
        if not self.out.is_dir():
            raise CommandError(f"{self.out} does not exist; give the folder that `dyn3d process` wrote")
        found = ClipFolder(self.out).fused_file()
        if found is None:
            raise CommandError(
                f"{self.out} holds no dynamicBA/*/fused_4d*.npz; run "
                f"`dyn3d process SOURCE {shell_word(self.out)} --stages fuse` first "
                "(it needs cameras and depth)"
            )
        return found
