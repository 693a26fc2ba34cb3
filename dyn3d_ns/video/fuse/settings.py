"""Settings of the stage `fuse`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dyn3d_ns.io.errors import StageError
from dyn3d_ns.video.settings import StageSettings


@dataclass(frozen=True)
class FuseSettings(StageSettings):
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

    def check(self) -> None:
        """Raise a StageError for values that make no sense."""
        if min(self.max_static_points, self.max_moving_points) < 1 or self.max_tracks < 0:
            raise StageError("--fuse.max-static-points and --fuse.max-moving-points must be at least 1")
        if not 0 < self.edge_percentile <= 100:
            raise StageError(f"--fuse.edge-percentile must lie in (0, 100], got {self.edge_percentile}")
