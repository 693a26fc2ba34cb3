"""Write a small scene in the layout of NVIDIA's Dynamic Scene: a disc rises before a wall and a pillar."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

WALL, PILLAR, DISC, RADIUS = 4.0, 3.2, 2.5, 0.45
"""Planar depths, and the disc's radius, in the scene's own units; the disc alone moves."""


@dataclass(frozen=True)
class ToyScene:
    """Cameras in a row that look along -z; frame i is taken by camera i at time i."""

    frames: int = 6
    width: int = 96
    height: int = 54
    focal: float = 80.0
    speed: float = 0.35
    """Rise of the disc from frame to frame."""

    def position(self, camera: int) -> np.ndarray:
        """Return where a camera stands."""
        return np.array([0.15 * (camera - (self.frames - 1) / 2), 0.02 * camera, 0.0])

    def pose(self, camera: int) -> np.ndarray:
        """Return a camera's pose, OpenGL's axes."""
        pose = np.eye(4)
        pose[:3, 3] = self.position(camera)
        return pose

    def disc(self, time: int) -> np.ndarray:
        """Return the middle of the disc."""
        return np.array([0.1, self.speed * (time - (self.frames - 1) / 2)])

    def look(self, camera: int, time: int, scale: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return colours, depth, and the world's places [H, W, 3] that a camera sees at a time."""
        ys, xs = np.mgrid[: self.height * scale, : self.width * scale] + 0.5
        rays = np.stack(
            [xs / scale - self.width / 2, self.height / 2 - ys / scale, np.full_like(xs, -self.focal)], -1
        ) / self.focal  # fmt: skip
        origin = self.position(camera)
        on_disc = origin + rays * DISC
        moves = np.linalg.norm(on_disc[..., :2] - self.disc(time), axis=-1) < RADIUS
        stands = np.abs((origin + rays * PILLAR)[..., 0] + 1.0) < 0.35
        depth = np.where(moves, DISC, np.where(stands, PILLAR, WALL))
        places = origin + rays * depth[..., None]
        wall = _texture(places[..., :2], np.array([0.8, 0.9, 0.7]))
        disc = _texture(3 * (places[..., :2] - self.disc(time)), np.array([0.6, 0.1, 0.2]))
        return np.where(moves[..., None], disc, wall).astype(np.uint8), depth, places

    def flow(self, source: int, target: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the flow from a frame to another, and where its end is seen there."""
        _, depth, places = self.look(source, source)
        moves = depth == DISC
        moved = places.copy()
        moved[..., :2] += np.where(moves[..., None], self.disc(target) - self.disc(source), 0)
        seen = moved - self.position(target)
        x = self.focal * seen[..., 0] / -seen[..., 2] + self.width / 2
        y = -self.focal * seen[..., 1] / -seen[..., 2] + self.height / 2
        ys, xs = np.mgrid[: self.height, : self.width] + 0.5
        inside = (x > 0) & (x < self.width) & (y > 0) & (y < self.height)
        other = self.look(target, target)[1]
        rows, columns = np.clip(y.astype(int), 0, self.height - 1), np.clip(x.astype(int), 0, self.width - 1)
        visible = inside & (np.abs(other[rows, columns] - depth) < 0.1)
        return np.stack([x - xs, y - ys], -1).astype(np.float32), visible

    def write(self, root: Path, parts: str = "disp flow motion_masks multiview_GT") -> Path:
        """Write the scene; disparity is relative and of half the size, other views are twice as large."""
        (root / "images").mkdir(parents=True)
        for i in range(self.frames):
            colors, depth, _ = self.look(i, i)
            Image.fromarray(colors).save(root / f"images/{i:03d}.png")
            if "disp" in parts:
                (root / "disp").mkdir(exist_ok=True)
                np.save(root / f"disp/{i:03d}.npy", (700 / depth[::2, ::2] - 50).astype(np.float32))
            if "motion_masks" in parts:
                (root / "motion_masks").mkdir(exist_ok=True)
                mask = Image.fromarray(np.where(depth == DISC, 255, 0).astype(np.uint8))
                mask.save(root / f"motion_masks/{i:03d}.png")
            for j, way in ((i + 1, "fwd"), (i - 1, "bwd")):
                if "flow" in parts and 0 <= j < self.frames:
                    (root / "flow").mkdir(exist_ok=True)
                    flow, mask = self.flow(i, j)
                    np.savez(root / f"flow/{i:03d}_{way}.npz", flow=flow, mask=mask)
        if "multiview_GT" in parts:
            for t in range(self.frames):
                for c in range(self.frames):
                    path = root / f"multiview_GT/{t + 1:08d}/cam{c + 1:02d}.jpg"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    Image.fromarray(self.look(c, t, 2)[0]).save(path, quality=95)
        np.save(root / "poses_bounds.npy", self.poses_bounds())
        return root

    def write_dycheck(self, root: Path, held_out: int = 0, depth: bool = True) -> Path:
        """Write the same video in DyCheck's layout; camera 1 stands at one frame's place at all times."""
        ids: dict[str, tuple[int, int, int]] = {f"0_{i:05d}": (0, i, i) for i in range(self.frames)}
        ids |= {f"1_{t:05d}": (1, t, held_out) for t in range(self.frames)}
        for name, (camera, time, place) in ids.items():
            colors, planar, _ = self.look(place, time)
            for folder in ("rgb/1x", "camera", "depth/1x"):
                (root / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(colors).save(root / f"rgb/1x/{name}.png")
            if camera == 0 and depth:
                np.save(root / f"depth/1x/{name}.npy", planar[..., None].astype(np.float32))
            content = {
                # Rows are the camera's right, down and ahead in the world.
                "orientation": [[1, 0, 0], [0, -1, 0], [0, 0, -1]],
                "position": self.position(place).tolist(),
                "focal_length": self.focal,
                "principal_point": [self.width / 2, self.height / 2],
                "image_size": [self.width, self.height],
                "skew": 0.0,
                "pixel_aspect_ratio": 1.0,
                "radial_distortion": [0.0, 0.0, 0.0],
                "tangential_distortion": [0.0, 0.0],
            }
            (root / f"camera/{name}.json").write_text(json.dumps(content))
        scale = 0.25
        scene = {"scale": scale, "center": [0, 0, -3], "near": DISC * scale, "far": WALL * scale}
        about = {name: {"warp_id": t, "appearance_id": t, "camera_id": c} for name, (c, t, _) in ids.items()}
        files = {"scene": scene, "dataset": {"ids": list(ids)}, "metadata": about, "extra": {"fps": 30}}
        for name, value in files.items():
            (root / f"{name}.json").write_text(json.dumps(value))
        np.save(root / "points.npy", np.array([[0.0, 0.0, -WALL], [0.5, 0.2, -WALL]], np.float32))
        return root

    def poses_bounds(self) -> np.ndarray:
        """Return LLFF's rows: down, right, back, position, size; near and far."""
        rows = []
        for i in range(self.frames):
            pose = self.pose(i)
            right, up, back, position = pose[:3, :4].T
            size = np.array([self.height, self.width, self.focal])
            matrix = np.stack([-up, right, back, position, size], axis=1)
            rows.append(np.concatenate([matrix.ravel(), [DISC, WALL]]))
        return np.array(rows)


def _texture(places: np.ndarray, color: np.ndarray) -> np.ndarray:
    """Return colours that vary over centimetres as well as over metres."""
    x, y = places[..., 0], places[..., 1]
    waves = [np.sin(f * x + p) * np.cos(f * 1.3 * y - p) for f, p in ((2.0, 0.3), (5.0, 1.7), (11.0, 4.0))]
    value = 0.5 + 0.3 * waves[0] + 0.2 * waves[1] + 0.2 * waves[2]
    return np.clip(255 * value[..., None] * color, 0, 255)
