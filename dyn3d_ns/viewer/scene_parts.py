"""What the page of a fused scene is drawn from: trails, sizes, thumbnails."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Float32, Float64, Int, UInt8

from dyn3d_ns.geometry.world import training_world
from dyn3d_ns.io.fused_4d import FusedScene

_PIECES = 4
"""Points that a step of a trail is drawn with."""


def trail_points(
    scene: FusedScene, tracks: np.ndarray, frame: int, length: int
) -> tuple[Float32[np.ndarray, "n 3"], UInt8[np.ndarray, "n 3"]]:
    """Return the last steps of tracks as points along them, in their objects' colours, darker with age."""
    first = max(0, frame - length)
    path, seen = scene.traj[tracks, first : frame + 1], scene.traj_vis[tracks, first : frame + 1]
    # A track is drawn where it is seen now, so that nothing trails behind what has left.
    steps = seen[:, :-1] & seen[:, 1:] & seen[:, -1:]
    which, at = np.nonzero(steps)
    if not len(which):
        return np.zeros((0, 3), np.float32), np.zeros((0, 3), np.uint8)
    share = (np.arange(_PIECES) / _PIECES).astype(np.float32)[None, :, None]
    begin, end = path[which, at][:, None], path[which, at + 1][:, None]
    points = begin + share * (end - begin)
    colors = scene.instance_colors[scene.traj_instance[tracks[which]]].astype(np.float32)
    age = (at + 1) / max(path.shape[1] - 1, 1)
    colors = np.repeat(colors * (0.35 + 0.65 * age[:, None]), _PIECES, axis=0)
    return points.reshape(-1, 3).astype(np.float32), np.rint(colors).astype(np.uint8)


def shown_scene(scene: FusedScene) -> FusedScene:
    """Return a scene as a browser can draw it: near the origin, of usual size; ordinary ones as is."""
    points = scene.static_points if len(scene.static_points) else scene.dyn_points
    places = np.concatenate([scene.c2w[:, :3, 3], points])
    world = training_world(np.percentile(places, [1, 99], axis=0))
    if world.same:
        return scene
    traj = world.points(scene.traj.astype(np.float64)).astype(np.float32)
    return replace(
        scene,
        static_points=world.points(scene.static_points),
        dyn_points=world.points(scene.dyn_points),
        c2w=world.poses(scene.c2w),
        traj=np.where(scene.traj_vis[..., None], traj, 0),
    )


def typical_size(scene: FusedScene) -> float:
    """Return the median distance of the points from the first camera."""
    points = scene.static_points if len(scene.static_points) else scene.dyn_points
    if not len(points):
        return 1.0
    return float(np.median(np.linalg.norm(points[::10] - scene.c2w[0, :3, 3], axis=1))) or 1.0


def some_of(count: int, most: int, rng: np.random.Generator) -> Int[np.ndarray, "n"]:
    """Return the indices 0 to count, or `most` of them drawn evenly where there are more."""
    return np.arange(count) if count <= most else np.sort(rng.choice(count, most, replace=False))


def thumbnail(image: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "h w 3"]:
    """Return a picture of at most 320 pixels in width, by leaving out rows and columns."""
    step = -(-image.shape[1] // 320)
    return np.ascontiguousarray(image[::step, ::step])


def quaternion(rotation: Float64[np.ndarray, "3 3"]) -> Float64[np.ndarray, "4"]:
    """Return a rotation as a quaternion w, x, y, z."""
    from scipy.spatial.transform import Rotation

    x, y, z, w = Rotation.from_matrix(rotation).as_quat()
    return np.array([w, x, y, z])
