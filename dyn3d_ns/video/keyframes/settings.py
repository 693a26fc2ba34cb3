"""Settings of the stage `keyframes`."""

from __future__ import annotations

from dataclasses import dataclass

from dyn3d_ns.io.errors import StageError
from dyn3d_ns.video.keyframes.selection import Metric
from dyn3d_ns.video.settings import StageSettings


@dataclass(frozen=True)
class KeyframesSettings(StageSettings):
    """Which frames count as keyframes."""

    ratio: float = 0.3
    """Part of all frames that is selected, in (0, 1]."""
    metric: Metric = "percentile_90"
    """Statistic of the flow's length that ranks the frames."""
    min_gap: int = 3
    """Frames between two keyframes, at least; less where the ratio leaves no room."""
    compensate_camera: bool = False
    """Subtract the camera's motion (a homography) first, so that only what moves by itself counts."""
    create_merged: bool = False
    """Copy the keyframes into merged_high_motion_frames/ as well."""

    def check(self) -> None:
        """Raise a StageError for values that make no sense."""
        if not 0 < self.ratio <= 1:
            raise StageError(f"--keyframes.ratio must lie in (0, 1], got {self.ratio}")
        if self.min_gap < 1:
            raise StageError(f"--keyframes.min-gap must be at least 1, got {self.min_gap}")
