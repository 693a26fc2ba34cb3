"""Camera paths through space and time, and Nerfstudio's file format for them; pure functions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64

from dyn3d_ns.cli.rig import CameraRig, horizontal_axes
from dyn3d_ns.geometry.world import SAME, World
from dyn3d_ns.io.camera_world import DATA, WORLD

_KEYFRAMES = 12
"""Keyframes written for the viewer's Render tab, which cannot load every frame as one."""


@dataclass(frozen=True)
class CameraPath:
    """What one frame after another shows: from where, and at which time."""

    poses: Float64[np.ndarray, "F 4 4"]
    """OpenGL camera-to-world matrices in the world of training."""
    times: Float64[np.ndarray, "F"]
    """Normalised times; beyond 1 lies what comes after the recording."""
    fov: float
    """Vertical field of view, degrees."""
    resolution: tuple[int, int]
    """Width and height, pixels."""
    fps: float
    """Frames per second of the video."""
    world: World = SAME
    """The data's world in that of training."""

    def to_json(self) -> dict[str, Any]:
        """Return the path in the format of Nerfstudio's viewer and of `ns-render camera-path`.

        Where the data's world is another than that of training, the cameras of `camera_path` are in the
        data's, which :mod:`~dyn3d_ns.io.camera_world` marks; the keyframes, which the viewer alone reads,
        are in that of training.
        """
        width, height = self.resolution
        shared = {"fov": self.fov, "aspect": width / height}
        inside, outside = (
            [
                {"camera_to_world": pose.flatten().tolist(), "render_time": float(time), **shared}
                for pose, time in zip(poses, self.times, strict=True)
            ]
            for poses in (self.poses, self.poses if self.world.same else self.world.poses_back(self.poses))
        )
        picks = np.unique(np.linspace(0, len(inside) - 1, min(_KEYFRAMES, len(inside))).round().astype(int))
        seconds = len(inside) / self.fps
        return {
            "camera_type": "perspective",
            "render_width": width,
            "render_height": height,
            "fps": self.fps,
            "seconds": seconds,
            "is_cycle": False,
            "smoothness_value": 0.0,
            "default_fov": self.fov,
            "default_time": float(self.times[0]),
            "default_transition_sec": seconds / max(len(picks) - 1, 1),
            "keyframes": [_keyframe(inside[i]) for i in picks],
            "camera_path": outside,
            **({} if self.world.same else {WORLD: DATA}),
        }


def _keyframe(frame: dict[str, Any]) -> dict[str, Any]:
    return {
        "matrix": frame["camera_to_world"],
        "fov": frame["fov"],
        "aspect": frame["aspect"],
        "override_transition_enabled": False,
        "override_transition_sec": None,
        "override_time_enabled": True,
        "render_time": frame["render_time"],
    }


def look_at(
    eyes: Float64[np.ndarray, "F 3"], target: Float64[np.ndarray, "3"], up: Float64[np.ndarray, "3"]
) -> Float64[np.ndarray, "F 4 4"]:
    """Return OpenGL camera-to-world matrices of cameras at `eyes` that look at a target, level with `up`."""
    back = eyes - target
    back = back / np.linalg.norm(back, axis=1, keepdims=True)
    right = np.cross(up, back)
    length = np.linalg.norm(right, axis=1, keepdims=True)
    # Straight above or below the target any direction may be called right.
    right = np.where(length > 1e-6, right / np.maximum(length, 1e-6), horizontal_axes(up)[0])
    poses = np.tile(np.eye(4), (len(eyes), 1, 1))
    poses[:, :3, 0], poses[:, :3, 1], poses[:, :3, 2] = right, np.cross(back, right), back
    poses[:, :3, 3] = eyes
    return poses


def circle(
    rig: CameraRig,
    frames: int,
    loops: float = 1.0,
    radius: float | None = None,
    elevation: float | None = None,
    center: Float64[np.ndarray, "3"] | None = None,
) -> Float64[np.ndarray, "F 4 4"]:
    """Move around the scene on the training cameras' height, looking at its centre.

    Where the training cameras see the scene from one side only (less than 180 degrees of azimuth), the
    camera swings between their outermost ones instead of showing a side that was never seen.

    Args:
        rig: Training cameras.
        frames: Number of poses.
        loops: Turns, or swings to and fro.
        radius: Distance from the centre, units of training; median of the training cameras if not given.
        elevation: Degrees above the horizontal; median of the training cameras if not given.
        center: Point looked at; what the training cameras look at if not given.
    """
    target = rig.center if center is None else np.asarray(center, dtype=np.float64)
    distance = rig.radius if radius is None else radius
    tilt = np.radians(rig.elevation if elevation is None else elevation)
    phase = np.linspace(0.0, loops, frames, endpoint=False)
    first, extent = rig.azimuths
    if extent >= 180:
        azimuth = np.radians(first + 360 * phase)
    else:
        azimuth = np.radians(first + extent / 2 + max(extent / 2, 5.0) * np.sin(2 * np.pi * phase))
    x, y = horizontal_axes(rig.up)
    flat = np.cos(azimuth)[:, None] * x + np.sin(azimuth)[:, None] * y
    return look_at(target + distance * (np.cos(tilt) * flat + np.sin(tilt) * rig.up), target, rig.up)


def spiral(
    rig: CameraRig, frames: int, camera_id: int, loops: float = 2.0, size: float = 0.15
) -> Float64[np.ndarray, "F 4 4"]:
    """Circle in front of one training camera, once forth and back along its axis, looking at the centre.

    Args:
        rig: Training cameras.
        frames: Number of poses.
        camera_id: Training camera in the middle of the spiral.
        loops: Turns.
        size: Radius as a share of the camera's distance from the centre.
    """
    pose = rig.pose(camera_id)
    distance = float(np.linalg.norm(pose[:3, 3] - rig.center))
    phase = np.linspace(0.0, 1.0, frames, endpoint=False)
    angle = 2 * np.pi * loops * phase
    local = np.stack((np.cos(angle), np.sin(angle), np.sin(2 * np.pi * phase)), axis=1)
    return look_at(pose[:3, 3] + size * distance * local @ pose[:3, :3].T, rig.center, rig.up)
