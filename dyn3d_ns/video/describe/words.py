"""Plain sentences from measured motion."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64

from dyn3d_ns.video.describe.instances import InstanceTrack

_ALONG = 0.4
_STILL_DEGREES = 1.0
_STILL_SHARE = 0.01


def object_caption(
    name: str, track: InstanceTrack, fps: float, width: int, view: Float64[np.ndarray, "3 3"] | None = None
) -> str:
    """Say how large an object is, when it is seen, where it goes and how fast.

    Args:
        view: Axes of the camera in the world (columns right, down, forward); without it, or without
            positions, the motion in the picture is told.
    """
    area = float(np.median(track.areas))
    size = "large" if area > 0.15 else "medium-sized" if area > 0.03 else "small"
    first, last = track.frames[0], track.frames[-1]
    seen = f"{size} ({area:.1%} of the picture), seen in frames {first} to {last}"
    return f"{name}: {seen}; {_motion(track, fps, width, view)}."


def _motion(track: InstanceTrack, fps: float, width: int, view: Float64[np.ndarray, "3 3"] | None) -> str:
    if view is not None and len(track.positions) >= 2 and len(track.positions) == len(track.frames):
        path = _smooth(np.stack(track.positions))
        times = _smooth(np.array(track.frames, dtype=np.float64)[:, None] / fps)
        seconds = max(float(times[-1, 0] - times[0, 0]), 1e-9)
        moved = view.T @ (path[-1] - path[0])
        words = _directions(moved, ("right", "left"), ("down", "up"), ("away", "closer"))
        speed = float(np.linalg.norm(np.diff(path, axis=0), axis=1).sum()) / seconds
        return f"moves {words} at {speed:.2g} scene units a second"
    if track.drifts:
        mean = np.mean(track.drifts, axis=0)
        words = _directions(np.array([*mean, 0.0]), ("right", "left"), ("down", "up"), ("", ""))
        speed = float(np.linalg.norm(track.drifts, axis=1).mean()) * fps
        return f"moves {words} in the picture at {speed / width:.0%} of its width a second"
    return "its motion was not measured"


def _directions(moved: Float64[np.ndarray, "3"], *words: tuple[str, str]) -> str:
    """Name the axes that matter in a displacement."""
    length = float(np.linalg.norm(moved))
    named = [
        positive if value > 0 else negative
        for value, (positive, negative) in zip(moved, words, strict=True)
        if length > 0 and abs(value) > _ALONG * length
    ]
    return " and ".join(named) or "about"


def _smooth(values: Float64[np.ndarray, "T d"]) -> Float64[np.ndarray, "t d"]:
    """Average over five frames where there are ten, so that the noise of depth does not count as speed."""
    width = 5 if len(values) >= 10 else 1
    return np.stack([values[i : i + width].mean(0) for i in range(len(values) - width + 1)])


def camera_caption(camera_to_worlds: Float64[np.ndarray, "F 4 4"], typical_depth: float | None = None) -> str:
    """Say how the camera turns and travels (OpenCV axes: x right, y down, z forward).

    Turning is summed over the clip about the camera's own axes; travel is told as a share of the scene's
    depth where that is known.
    """
    if len(camera_to_worlds) < 2:
        return "A single picture."
    turns, travels = _steps(camera_to_worlds)
    parts = _turning(np.degrees(turns.sum(0))) + _travelling(travels.sum(0), travels, typical_depth)
    shake = np.degrees(np.linalg.norm(turns - turns.mean(0), axis=1)).mean()
    if not parts:
        return (
            "The camera stands still." if shake < 0.05 else "The camera stands still but for a slight shake."
        )
    text = "The camera " + " and ".join(filter(None, [", ".join(parts[:-1]), parts[-1]]))
    return text + ("; it is held by hand." if shake > 0.15 else ".")


def _steps(
    camera_to_worlds: Float64[np.ndarray, "F 4 4"],
) -> tuple[Float64[np.ndarray, "T 3"], Float64[np.ndarray, "T 3"]]:
    """Return rotation vectors and translations of each step, about and along the camera's own axes."""
    from scipy.spatial.transform import Rotation

    relative = np.linalg.inv(camera_to_worlds[:-1]) @ camera_to_worlds[1:]
    return Rotation.from_matrix(relative[:, :3, :3]).as_rotvec(), relative[:, :3, 3]


def _turning(degrees: Float64[np.ndarray, "3"]) -> list[str]:
    tilt, pan, roll = degrees
    named = [
        (pan, "pans right", "pans left"),
        (tilt, "tilts up", "tilts down"),
        (roll, "rolls clockwise", "rolls anticlockwise"),
    ]
    return [
        f"{positive if angle > 0 else negative} by {abs(angle):.0f}°"
        for angle, positive, negative in named
        if abs(angle) > _STILL_DEGREES
    ]


def _travelling(
    total: Float64[np.ndarray, "3"], travels: Float64[np.ndarray, "T 3"], depth: float | None
) -> list[str]:
    scale = depth or float(np.linalg.norm(travels, axis=1).sum()) or 1.0
    named = [
        (total[0], "trucks right", "trucks left"),
        (total[1], "moves down", "moves up"),
        (total[2], "dollies in", "dollies out"),
    ]
    length = float(np.linalg.norm(total))
    if length < _STILL_SHARE * scale:
        return []
    return [
        (positive if value > 0 else negative)
        + (f" by {abs(value) / depth:.0%} of the scene's depth" if depth else "")
        for value, positive, negative in named
        if abs(value) > _ALONG * length
    ]
