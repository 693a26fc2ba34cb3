"""Write transforms.json, which Nerfstudio's own dataparser reads, from a clip's cameras."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from dyn3d_ns.geometry.cameras import HALF_PIXEL, centers, flip_axes, focals, shift_pixel_centers
from dyn3d_ns.io.arrays import read_npz
from dyn3d_ns.io.atomic import write_json
from dyn3d_ns.io.clip.workspace import Workspace
from dyn3d_ns.io.errors import MissingFileError
from dyn3d_ns.io.ply import write_points

_MAX_POINTS = 100_000


def write_transforms(workspace: Workspace) -> None:
    """Write transforms.json, with a `time` in [0, 1] for every frame, and the static points as a PLY.

    Poses are OpenGL camera-to-world; principal points count from the corner of the image (pixel centres at
    +0.5), as Nerfstudio has it. The adjusted cameras are taken where there are any.

    Raises:
        MissingFileError: there are not as many cameras as frames.
    """
    clip, cameras, frames = workspace.clip(), workspace.cameras(), workspace.frames()
    if not len(frames) == len(clip.times) == len(cameras.Ks):
        raise MissingFileError(
            f"{workspace.root} holds {len(frames)} frames, {len(clip.times)} times and {len(cameras.Ks)} "
            "cameras; run the stages `frames` and `cameras` again"
        )
    times = clip.normalized_times
    opengl = flip_axes(cameras.camera_to_worlds)
    Ks = shift_pixel_centers(cameras.Ks, HALF_PIXEL)
    entries: list[dict[str, Any]] = []
    for i, path in enumerate(frames):
        (fl_x, fl_y), (cx, cy) = focals(Ks[i])[0].tolist(), centers(Ks[i])[0].tolist()
        entry = {
            "file_path": path.relative_to(workspace.root).as_posix(),
            "time": float(times[i]),
            "fl_x": fl_x,
            "fl_y": fl_y,
            "cx": cx,
            "cy": cy,
            "w": clip.width,
            "h": clip.height,
            "transform_matrix": opengl[i].tolist(),
        }
        entries.append(entry)
    content: dict[str, Any] = {
        "camera_model": "OPENCV",
        "fps": clip.fps,
        # Nerfstudio takes a file without this for one of its own from COLMAP, with turned axes.
        "applied_transform": np.eye(4)[:3].tolist(),
        "frames": entries,
    }
    points = _points(workspace)
    if points is not None:
        write_points(workspace.points_ply_path, *points)
        content["ply_file_path"] = workspace.points_ply_path.name
    write_json(workspace.transforms_path, content)


def _points(workspace: Workspace) -> tuple[Float[np.ndarray, "P 3"], UInt8[np.ndarray, "P 3"]] | None:
    """Return static points in the world of the cameras: the fused ones where there are any."""
    if workspace.fused_path.is_file():
        fused = read_npz(workspace.fused_path, ("static_points", "static_rgbs"))
        xyz, rgb = fused["static_points"], np.rint(fused["static_rgbs"]).astype(np.uint8)
    elif workspace.points_path.is_file() and not workspace.adjusted_cameras_path.is_file():
        points = workspace.points()
        xyz, rgb = points.xyz, points.rgb
    else:
        return None
    if len(xyz) > _MAX_POINTS:
        chosen = np.random.default_rng(0).choice(len(xyz), _MAX_POINTS, replace=False)
        xyz, rgb = xyz[chosen], rgb[chosen]
    return (xyz, rgb) if len(xyz) else None
