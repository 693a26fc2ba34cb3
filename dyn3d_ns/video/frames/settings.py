"""Settings of the stage `frames`."""

from __future__ import annotations

from dataclasses import dataclass

from dyn3d_ns.io.errors import StageError
from dyn3d_ns.video.settings import StageSettings

SMALLEST_SIDE = 32
"""Pixels below which a frame shows too little to work on."""


@dataclass(frozen=True)
class FramesSettings(StageSettings):
    """Which frames are taken from the video."""

    max_frames: int | None = None
    """Stop after this many frames."""
    fps: float | None = None
    """Take this many frames per second, the nearest ones in time; all frames if not given."""
    resize: int = 640
    """Longer side of the frames in pixels; smaller videos stay as they are, 0 keeps the full size."""
    folder_fps: float = 24.0
    """Frames per second at which a folder of images was taken."""

    def check(self) -> None:
        """Raise a StageError for values that make no sense."""
        if self.max_frames is not None and self.max_frames < 2:
            raise StageError(f"--max-frames must be at least 2, got {self.max_frames}")
        if self.fps is not None and self.fps <= 0:
            raise StageError(f"--fps must be positive, got {self.fps}")
        if self.folder_fps <= 0:
            raise StageError(f"--folder-fps must be positive, got {self.folder_fps}")
        if self.resize != 0 and self.resize < SMALLEST_SIDE:
            raise StageError(f"--resize must be 0 or at least {SMALLEST_SIDE} pixels, got {self.resize}")
