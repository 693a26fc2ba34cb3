"""A sphere that moves steadily, drawn exactly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image

SIZE, ANGLE, FRAMES, OBSERVED, RADIUS = 32, 0.8, 20, 15, 0.45


class MovingSphere(NamedTuple):
    """A scene on disk and the motion it shows."""

    folder: Path
    radius: float = RADIUS

    def center(self, t: float) -> torch.Tensor:
        """Return where the sphere's centre is."""
        return torch.tensor([-0.7 + 1.4 * t, 0.3, 0.4 - 0.8 * t])


def _pose(index: int) -> np.ndarray:
    angle = 2 * np.pi * index / 7
    back = np.array([np.cos(angle), np.sin(angle), 0.4 * (-1) ** index])
    back /= np.linalg.norm(back)
    right = np.cross([0.0, 0.0, 1.0], back)
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3, :3] = np.stack([right, np.cross(back, right), back], axis=1)
    pose[:3, 3] = 4 * back
    return pose


def _draw(pose: np.ndarray, center: np.ndarray) -> np.ndarray:
    """Return an RGBA image of the sphere, coloured by its normals."""
    focal = 0.5 * SIZE / np.tan(0.5 * ANGLE)
    rows, columns = np.meshgrid(np.arange(SIZE) + 0.5, np.arange(SIZE) + 0.5, indexing="ij")
    local = np.stack([(columns - SIZE / 2) / focal, -(rows - SIZE / 2) / focal, -np.ones_like(rows)], -1)
    directions = local @ pose[:3, :3].T
    directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
    offset = pose[:3, 3] - center
    b = directions @ offset
    under = b**2 - offset @ offset + RADIUS**2
    hit = under > 0
    points = pose[:3, 3] + (-b - np.sqrt(np.where(hit, under, 0)))[..., None] * directions
    color = 0.5 + 0.5 * np.sin(4 * (points - center) / RADIUS)
    image = np.concatenate([color, hit[..., None].astype(float)], axis=-1)
    return np.rint(255 * np.where(hit[..., None], image, 0)).astype(np.uint8)


@pytest.fixture(scope="session")
def moving_sphere(tmp_path_factory: pytest.TempPathFactory) -> MovingSphere:
    """Return a scene of 20 times, 15 of them observed, six training cameras and a held-out one, 32 px."""
    sphere = MovingSphere(tmp_path_factory.mktemp("sphere"))
    entries: dict[str, list] = {"train": [], "val": [], "test": []}
    for c in range(7):
        for f in range(FRAMES):
            split = "test" if f >= OBSERVED else ("val" if c == 6 else "train")
            name = f"{split}/c{c}_f{f:02d}"
            (sphere.folder / split).mkdir(exist_ok=True)
            image = _draw(_pose(c), sphere.center(f / FRAMES).double().numpy())
            Image.fromarray(image).save(sphere.folder / f"{name}.png")
            entry = {"file_path": name, "time": f / FRAMES, "transform_matrix": _pose(c).tolist()}
            entries[split].append(entry)
    for split, frames in entries.items():
        content = {"camera_angle_x": ANGLE, "frames": frames}
        (sphere.folder / f"transforms_{split}.json").write_text(json.dumps(content))
    return sphere
