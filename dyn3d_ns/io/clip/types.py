"""What the stages hand to each other, as plain arrays.

Pixel coordinates are OpenCV's: x right, y down, and whole numbers are pixel centres, so that the middle of
an image is ((W - 1) / 2, (H - 1) / 2). Cameras are camera-to-world with x right, y down, z forward.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int32, Int64, UInt8


@dataclass(frozen=True)
class Clip:
    """The frames of a clip: when each was taken and what the file says of the camera."""

    times: tuple[float, ...]
    """Seconds since the first frame, strictly increasing."""
    source_frames: tuple[int, ...]
    """Number of each frame in the video, or in the sorted list of images."""
    width: int
    height: int
    fps: float
    """Frames per second of the extracted clip."""
    focal_px: float | None = None
    """Focal length from EXIF in pixels of the extracted frames; None where the file says nothing."""
    source: str = ""
    """Name of the video or folder."""
    source_names: tuple[str, ...] = ()
    """Name of each image in the folder; none if it was a video."""
    lens: str = ""
    """What lens was undone in the frames; empty if none was."""

    @property
    def normalized_times(self) -> Float64[np.ndarray, "F"]:
        """Times in [0, 1] over the whole clip (0 for a single frame)."""
        seconds = np.asarray(self.times, dtype=np.float64)
        seconds = seconds - seconds[0]
        return seconds / seconds[-1] if seconds[-1] > 0 else seconds


@dataclass(frozen=True)
class Flow:
    """Dense motion from one frame to another."""

    flow: Float32[np.ndarray, "H W 2"]
    """Pixels, x right, y down."""
    valid: Bool[np.ndarray, "H W"]
    """True where the flow back from the other frame returns to where it started, inside the image."""


@dataclass(frozen=True)
class Tracks:
    """Points followed through the clip."""

    xy: Float32[np.ndarray, "F N 2"]
    """Pixels; meaningless where not visible."""
    visible: Bool[np.ndarray, "F N"]
    confidence: Float32[np.ndarray, "F N"]
    """In [0, 1]."""
    init_frames: Int64[np.ndarray, "N"]
    """Frame in which each point was picked."""
    height: int
    width: int


@dataclass(frozen=True)
class Cameras:
    """One camera a frame."""

    Ks: Float64[np.ndarray, "F 3 3"]
    """Intrinsics in pixels; whole-numbered pixel coordinates are pixel centres."""
    camera_to_worlds: Float64[np.ndarray, "F 4 4"]
    """OpenCV axes: x right, y down, z forward."""
    registered: Bool[np.ndarray, "F"]
    """False where the pose was filled in from the neighbours."""
    static: bool = False
    """The camera does not move (all poses are equal)."""

    @property
    def world_to_cameras(self) -> Float64[np.ndarray, "F 4 4"]:
        """Inverse poses."""
        return np.linalg.inv(self.camera_to_worlds)


@dataclass(frozen=True)
class SparsePoints:
    """Static points in the cameras' world, with the frames that saw them."""

    xyz: Float[np.ndarray, "P 3"]
    """In float64 where float32 is too coarse."""
    rgb: UInt8[np.ndarray, "P 3"]
    frame_ids: Int32[np.ndarray, "M"]
    """Frame of each observation."""
    point_ids: Int32[np.ndarray, "M"]
    """Point of each observation."""
    xy: Float32[np.ndarray, "M 2"]
    """Where it was seen, in pixels."""
