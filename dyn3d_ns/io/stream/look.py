"""What a stream's header tells beside the frames: the colour behind them, a camera, the data's world."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from dyn3d_ns.geometry.world import SAME, World
from dyn3d_ns.io.errors import DamagedFileError
from dyn3d_ns.io.stream.header import StreamHeader

CAMERA, BACKGROUND, WORLD = "camera", "background", "world"
"""Names in the header's `decoder`."""


@dataclass(frozen=True)
class StartCamera:
    """The camera that a viewer starts at."""

    pose: Float[np.ndarray, "3 4"]
    """Camera to world; the camera looks along -z with y up (OpenGL)."""
    fx: float
    fy: float
    """Focal lengths, pixels."""
    cx: float
    cy: float
    """Principal point, pixels; the first pixel's centre lies at 0.5."""
    width: int
    height: int
    """Size of its pictures, pixels."""

    def __post_init__(self) -> None:
        axes = self.pose[:, :3]
        if not (np.isfinite(self.pose).all() and np.abs(axes.T @ axes - np.eye(3)).max() < 1e-3):
            raise ValueError("its pose is no rigid transform")
        if (
            not all(math.isfinite(f) and f > 0 for f in (self.fx, self.fy))
            or min(self.width, self.height) < 1
        ):
            raise ValueError("its focal lengths and size must be positive")

    def to_text(self) -> str:
        """Return the numbers as a header holds them: the pose's rows, fx fy cx cy, width height."""
        numbers = [*self.pose.reshape(-1).tolist(), self.fx, self.fy, self.cx, self.cy]
        return " ".join([*(repr(float(n)) for n in numbers), str(self.width), str(self.height)])


def start_camera_of(header: StreamHeader) -> StartCamera | None:
    """Return the camera that a stream's header names, None if it names none.

    Raises:
        DamagedFileError: what stands there is no camera.
    """
    if CAMERA not in header.decoder:
        return None
    numbers = _numbers(header, CAMERA, 18)
    pose = np.asarray(numbers[:12]).reshape(3, 4)
    fx, fy, cx, cy, width, height = numbers[12:]
    try:
        return StartCamera(pose, fx, fy, cx, cy, int(width), int(height))
    except ValueError as error:
        raise DamagedFileError(f"the stream's header names a camera to start at, but {error}") from error


def background_of(header: StreamHeader) -> tuple[float, float, float]:
    """Return the colour behind the scene, 0 to 1; black if the header names none.

    Raises:
        DamagedFileError: what stands there is no colour.
    """
    if BACKGROUND not in header.decoder:
        return 0.0, 0.0, 0.0
    red, green, blue = _numbers(header, BACKGROUND, 3)
    return red, green, blue


def world_entry(world: World) -> dict[str, str]:
    """Return what a header says of the data's world: nothing where it is that of the stream."""
    if world.same:
        return {}
    numbers = [*world.transform[:3].reshape(-1).tolist(), world.scale]
    return {WORLD: " ".join(repr(float(n)) for n in numbers)}


def world_of(header: StreamHeader) -> World:
    """Return the data's world in that of the stream.

    Raises:
        DamagedFileError: what stands there is no rigid transform and scale.
    """
    if WORLD not in header.decoder:
        return SAME
    *rows, scale = _numbers(header, WORLD, 13)
    transform = np.vstack([np.reshape(rows, (3, 4)), [0, 0, 0, 1]])
    axes = transform[:3, :3]
    if scale <= 0 or np.abs(axes.T @ axes - np.eye(3)).max() > 1e-3:
        raise DamagedFileError("the stream's header names a world that is no rigid transform and scale")
    return World(transform, scale)


def _numbers(header: StreamHeader, name: str, count: int) -> list[float]:
    text = str(header.decoder[name])
    try:
        found = [float(word) for word in text.split()]
    except ValueError:
        found = []
    if len(found) != count or not all(map(math.isfinite, found)):
        raise DamagedFileError(f"the stream's header should hold {count} numbers as {name!r}, got {text!r}")
    return found
