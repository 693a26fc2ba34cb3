"""Pictures of an imported scene from an orbit of cameras: the dataset that viewers and renderers ask for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float64

from dyn3d_ns.cli.camera_paths import look_at
from dyn3d_ns.cli.rig import horizontal_axes
from dyn3d_ns.geometry.bounds import bounds_of_points
from dyn3d_ns.io.atomic import write_json
from dyn3d_ns.io.splats import StoredSequence

if TYPE_CHECKING:
    from dyn3d_ns.gaussians.imported import ImportedScene
    from dyn3d_ns.geometry.world import World

CAMERAS, HELD_OUT = 12, 2
"""Cameras of the training pictures, and those of a check beside them."""
SIZE = 400
"""Width and height of the pictures."""
FOV = 45.0
"""Field of view, degrees."""
_ELEVATIONS = (20.0, 40.0)
"""Of the two kinds of cameras, degrees."""
_SAMPLES = 200_000
"""Gaussians that are looked at for the size of a scene."""


def up_vector(up: str) -> Float64[np.ndarray, "3"]:
    """Return the direction of an axis, such as "z" or "neg-y"."""
    axis = np.zeros(3)
    axis["xyz".index(up[-1])] = -1.0 if up.startswith("neg") else 1.0
    return axis


@dataclass(frozen=True)
class Room:
    """Where a scene is, over all its times."""

    box: Float64[np.ndarray, "2 3"]
    center: Float64[np.ndarray, "3"]
    radius: float
    """Distance from the centre within which nine tenths of it lie."""


def room_of(sequence: StoredSequence) -> Room:
    """Find out where a scene is; what is hardly visible does not count."""
    shown = [splats.means[splats.opacities > 0.02] for splats in sequence.instants]
    shown = [means for means in shown if len(means)] or [sequence.at(0).means]
    step = max(1, sum(map(len, shown)) // _SAMPLES)
    points = np.concatenate([means[::step] for means in shown]).astype(np.float64)
    center = np.median(points, axis=0)
    reach = float(np.percentile(np.linalg.norm(points - center, axis=1), 90))
    size = float(np.median(np.concatenate([splats.scales.max(1) for splats in sequence.instants[:1]])))
    radius = max(reach + 2 * size, 1e-9 * float(np.abs(center).max() + 1), 1e-12)
    if not np.ptp(points, axis=0).any():
        points = center + radius * np.array([[-1.0], [1.0]])
    return Room(bounds_of_points(points), center, radius)


def orbit(room: Room, up: str) -> Float64[np.ndarray, "C 4 4"]:
    """Return cameras all round the scene, those held out behind the others, in the data's world."""
    axis = up_vector(up)
    x, y = horizontal_axes(axis)
    distance = 1.1 * room.radius / np.sin(np.radians(FOV / 2))
    poses = []
    for count, elevation in zip((CAMERAS, HELD_OUT), np.radians(_ELEVATIONS), strict=True):
        turns = 2 * np.pi * (np.arange(count) + (0.25 if count == HELD_OUT else 0.0)) / count
        flat = np.cos(turns)[:, None] * x + np.sin(turns)[:, None] * y
        eyes = room.center + distance * (np.cos(elevation) * flat + np.sin(elevation) * axis)
        poses.append(look_at(eyes, room.center, axis))
    return np.concatenate(poses)


def write_views(
    folder: Path, scene: ImportedScene, world: World, poses: Float64[np.ndarray, "C 4 4"], fps: float
) -> int:
    """Write the pictures and transforms files of a dataset; return the number of pictures.

    All cameras see the first time, and each later time one of them, so that every time of the file is one of
    the recording.

    Args:
        folder: New folder of the dataset.
        scene: In the world of training.
        world: The data's world in that of training.
        poses: Cameras in the data's world, those held out last.
        fps: Frames a second of the recording.
    """
    from rich.progress import track

    times = scene.times.tolist()
    train = [(camera, 0) for camera in range(CAMERAS)]
    train += [(i % CAMERAS, i) for i in range(1, len(times))]
    checked = sorted({0, len(times) // 2, len(times) - 1})
    val = [(camera, i) for camera in range(CAMERAS, CAMERAS + HELD_OUT) for i in checked]
    moved = world.poses(poses)
    listed: dict[str, list[dict[str, object]]] = {"train": [], "val": []}
    work = [("train", *view) for view in train] + [("val", *view) for view in val]
    for split, camera, i in track(work, "Rendering", transient=True):
        name = f"{split}/c{camera:02d}_f{i:05d}.webp"
        (folder / split).mkdir(parents=True, exist_ok=True)
        _picture(scene, times[i], moved[camera]).save(folder / name, quality=90, method=2)
        pose = poses[camera].tolist()
        listed[split].append({"file_path": name, "time": times[i], "transform_matrix": pose})
    for split, frames in listed.items():
        content = {"camera_angle_x": float(np.radians(FOV)), "fps": fps, "frames": frames}
        write_json(folder / f"transforms_{split}.json", content)
    return len(work)


def _picture(scene: ImportedScene, time: float, pose: Float64[np.ndarray, "4 4"]):
    """Render the scene without a background."""
    import torch
    from PIL import Image

    from dyn3d_ns.geometry.cameras import viewmats_of
    from dyn3d_ns.rendering import rasterize

    focal = SIZE / (2 * np.tan(np.radians(FOV / 2)))
    Ks = torch.tensor([[[focal, 0, SIZE / 2], [0, focal, SIZE / 2], [0, 0, 1]]], dtype=torch.float32)
    with torch.no_grad():
        gaussians = scene.at(time)
        render, alpha, _ = rasterize(
            gaussians.means,
            gaussians.quats,
            gaussians.scales,
            gaussians.opacities,
            gaussians.colors,
            viewmats_of(torch.from_numpy(pose[None, :3]).float()),
            Ks,
            SIZE,
            SIZE,
            sh_degree=round(gaussians.colors.shape[1] ** 0.5) - 1,
        )
    color = (render[0] / alpha[0].clamp_min(1e-6)).clamp(0, 1)
    rgba = torch.cat([torch.where(alpha[0] > 1e-3, color, torch.zeros_like(color)), alpha[0]], dim=-1)
    return Image.fromarray((255 * rgba.clamp(0, 1)).round().byte().numpy())
