"""A small recording with something to see, a textured ball that rolls before a textured wall, drawn
exactly; and short trainings on it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
from nerfstudio.configs.method_configs import all_methods
from PIL import Image
from run_training import run_training

from dyn3d_ns.engine.optimizers import HoldThenDecayConfig
from dyn3d_ns.engine.trainer import DynamicTrainer, DynamicTrainerConfig
from dyn3d_ns.models.stream.splat import StreamSplatModel, StreamSplatModelConfig

SIZE, FOCAL, FRAMES, CAMERAS, RADIUS = 64, 70.0, 6, 5, 0.45
FIRST, MOTION, RESIDUALS = 150, 12, 12
"""Steps of frame 0, and of the stages of later frames."""
WALL = 1.0
"""Depth of the wall, world units; the ball rolls in the plane of depth 0."""


def pose(camera: int) -> np.ndarray:
    """Return a camera-to-world pose, OpenCV axes: an arc of cameras that look at the origin."""
    angle = np.radians(14.0 * (camera - CAMERAS // 2))
    ahead = np.array([-np.sin(angle), 0.05 * (camera % 2), np.cos(angle)])
    ahead /= np.linalg.norm(ahead)
    right = np.cross([0.0, 1.0, 0.0], ahead)
    right /= np.linalg.norm(right)
    found = np.eye(4)
    found[:3, :3] = np.stack([right, np.cross(ahead, right), ahead], axis=1)
    found[:3, 3] = -2.6 * ahead
    return found


def center(frame: int) -> np.ndarray:
    """Return where the ball's middle is."""
    return np.array([-0.4 + 0.07 * frame, 0.1, 0.0])


def draw(camera: int, frame: int, light: float = 1.0) -> np.ndarray:
    """Return the image of a camera at a frame, 8-bit RGB; ``light`` multiplies the wall's brightness."""
    c2w = pose(camera)
    v, u = np.meshgrid(np.arange(SIZE) + 0.5, np.arange(SIZE) + 0.5, indexing="ij")
    rays = np.stack([(u - SIZE / 2) / FOCAL, (v - SIZE / 2) / FOCAL, np.ones_like(u)], -1) @ c2w[:3, :3].T
    eye = c2w[:3, 3]
    wall = eye + (WALL - eye[2]) / rays[..., 2:] * rays
    stripes = (
        0.5 + 0.22 * np.sin(5 * wall[..., :1] + [0, 2, 4]) + 0.2 * np.sin(6 * wall[..., 1:2] + [1, 0, 3])
    )
    image = light * stripes
    offset, direction = eye - center(frame), rays / np.linalg.norm(rays, axis=-1, keepdims=True)
    b = direction @ offset
    under = b**2 - offset @ offset + RADIUS**2
    hit = under > 0
    normal = (offset + (-b - np.sqrt(np.where(hit, under, 0)))[..., None] * direction) / RADIUS
    # The texture turns as a ball's that rolls along x.
    angle = (center(frame)[0] - center(0)[0]) / RADIUS
    turned = np.stack(
        [
            np.cos(angle) * normal[..., 0] + np.sin(angle) * normal[..., 1],
            -np.sin(angle) * normal[..., 0] + np.cos(angle) * normal[..., 1],
            normal[..., 2],
        ],
        -1,
    )
    color = 0.5 + 0.45 * np.sin(3.5 * turned)
    return np.rint(255 * np.clip(np.where(hit[..., None], color, image), 0, 1)).astype(np.uint8)


def write_recording(root: Path, frames: int = FRAMES, first: int = 0) -> Path:
    """Write the frames ``first`` … in the layout `camNN/images/%04d.png` with poses_bounds.npy."""
    rows = []
    for camera in range(CAMERAS):
        right, down, ahead, position = pose(camera)[:3].T
        size = np.array([SIZE, SIZE, FOCAL])
        rows.append([*np.stack([down, right, -ahead, position, size], axis=1).ravel(), 1.4, 4.2])
        folder = root / f"cam{camera:02d}" / "images"
        folder.mkdir(parents=True, exist_ok=True)
        for frame in range(first, frames):
            Image.fromarray(draw(camera, frame)).save(folder / f"{frame:04d}.png")
    np.save(root / "poses_bounds.npy", np.array(rows))
    return root


class Streaming:
    """Builds configurations and runs them as `ns-train` does."""

    def __init__(self, data: Path, output: Path) -> None:
        self.data, self.output = data, output

    def config(self, name: str, **changes: object) -> DynamicTrainerConfig:
        """Return the fast preset, small enough for a test; ``changes`` are of the model."""
        config = copy.deepcopy(all_methods["dyn3d-stream-splat-fast"])
        assert isinstance(config, DynamicTrainerConfig)
        config.machine.device_type = "cpu"
        config.pipeline.datamanager.data = self.data
        config.pipeline.datamanager.dataparser.test_camera = str(CAMERAS // 2)  # type: ignore[attr-defined]
        model = config.pipeline.model
        assert isinstance(model, StreamSplatModelConfig)
        model.max_gaussians, model.motion_steps, model.residual_steps = 1200, MOTION, RESIDUALS
        model.stream.first_steps, model.stream.keyframe_every = FIRST, 2
        for key, value in changes.items():
            setattr(model, key, value)
        for group in config.optimizers.values():
            if isinstance(group["scheduler"], HoldThenDecayConfig):
                group["scheduler"].max_steps = FIRST
        config.output_dir, config.timestamp, config.vis = self.output, name, "tensorboard"
        config.logging.local_writer.enable = False
        return config

    def run(
        self, config: DynamicTrainerConfig, at_step: int = -1, action: Callable[[], None] | None = None
    ) -> DynamicTrainer:
        """Train; after ``at_step`` call ``action``. What is raised passes through."""
        return run_training(config, at_step, action)

    @staticmethod
    def model(trainer: DynamicTrainer) -> StreamSplatModel:
        """Return the trained model."""
        model = trainer.pipeline.model
        assert isinstance(model, StreamSplatModel)
        return model
