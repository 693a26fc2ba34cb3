"""Write small scenes in the Dynamic Object layout, for the tests of dataparser, datamanager and pipeline."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

ANGLE_X = 0.8


def camera_pose(index: int, count: int = 5, radius: float = 4.0) -> np.ndarray:
    """Return the OpenGL camera-to-world matrix of one of `count` cameras on a ring, looking at the origin."""
    angle = 2 * np.pi * index / count
    position = radius * np.array([np.cos(angle), np.sin(angle), 0.5])
    back = position / np.linalg.norm(position)
    right = np.cross([0.0, 0.0, 1.0], back)
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3, 0], pose[:3, 1], pose[:3, 2], pose[:3, 3] = right, np.cross(back, right), back, position
    return pose


def frame(file_path: str, pose: np.ndarray, time: float | None) -> dict[str, Any]:
    """Return one entry of `frames`."""
    entry: dict[str, Any] = {"file_path": file_path, "transform_matrix": np.asarray(pose).tolist()}
    return entry if time is None else {**entry, "time": time}


def write_image(path: Path, size: tuple[int, int] = (16, 12), mode: str = "RGBA", seed: int = 0) -> None:
    """Write random pixels; an RGBA image gets transparent ones."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (size[1], size[0], len(mode)), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def write_json(path: Path, content: Any) -> None:
    """Write JSON, NaN included."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def write_scene(
    root: Path,
    cameras: int = 5,
    frames: int = 12,
    observed: int = 9,
    mode: str = "RGBA",
    merged: bool = False,
) -> Path:
    """Write a scene whose last camera is held out and whose last frames lie in the future.

    With ``merged`` the held-out and the future frames stand together in transforms_test.json, as in
    NVFi's first release; otherwise in transforms_val.json and transforms_test.json.
    """
    splits: dict[str, list[dict[str, Any]]] = {"train": [], "val": [], "test": []}
    for c in range(cameras):
        for f in range(frames):
            name = "test" if f >= observed else ("val" if c == cameras - 1 else "train")
            name = "test" if merged and name == "val" else name
            file_path = f"{name}/c{c:02d}_f{f:03d}"
            write_image(root / f"{file_path}.png", mode=mode, seed=100 * c + f)
            splits[name].append(frame(file_path, camera_pose(c, cameras), f / frames))
    for name, entries in splits.items():
        if entries:
            write_json(root / f"transforms_{name}.json", {"camera_angle_x": ANGLE_X, "frames": entries})
    return root


def write_masks(root: Path, name: str = "train") -> None:
    """Give every image of a transforms file a mask that leaves its left half out."""
    path = root / f"transforms_{name}.json"
    content = json.loads(path.read_text())
    for i, entry in enumerate(content["frames"]):
        with Image.open(root / f"{entry['file_path']}.png") as image:
            keep = np.full(image.size[::-1], 255, np.uint8)
        keep[:, : keep.shape[1] // 2] = 0
        entry["mask_path"] = f"masks/{name}_{i:03d}.png"
        (root / "masks").mkdir(exist_ok=True)
        Image.fromarray(keep).save(root / entry["mask_path"])
    write_json(path, content)
