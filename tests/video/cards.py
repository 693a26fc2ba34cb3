"""A clip with known cameras, depth, flow and masks: textured cards before a wall, seen by a moving camera."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from dyn3d_ns.io.clip.types import Cameras, Clip, Flow, Tracks
from dyn3d_ns.io.clip.workspace import Workspace
from tests.video.clips import texture


@dataclass(frozen=True)
class Card:
    """A textured rectangle that faces the camera."""

    center: tuple[float, float, float]
    size: tuple[float, float]
    step: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Motion a frame, in world units."""
    label: int = 0
    seed: int = 0


WALL = Card((0, 0, 6), (30, 30))
PILLAR = Card((-0.9, 0, 3), (0.5, 4), seed=1)
"""Stands still and near: it has strong parallax."""
MOVER = Card((0.5, -0.3, 4), (0.9, 0.9), (0.01, 0.05, 0), label=1, seed=2)


class CardClip:
    """Renders the cards, and knows the truth of them."""

    def __init__(
        self,
        cards: tuple[Card, ...] = (WALL, PILLAR, MOVER),
        frames: int = 8,
        camera_step: tuple[float, float, float] = (0.05, 0.0, 0.01),
        width: int = 128,
        height: int = 96,
    ) -> None:
        self.cards, self.num_frames, self.width, self.height = cards, frames, width, height
        self.K = np.array([[110.0, 0, (width - 1) / 2], [0, 110.0, (height - 1) / 2], [0, 0, 1]])
        self.poses = np.tile(np.eye(4), (frames, 1, 1))
        self.poses[:, :3, 3] = np.arange(frames)[:, None] * np.array(camera_step)
        self._textures = [texture(256, 256, seed=10 + card.seed) for card in cards]
        rendered = [self._render(i) for i in range(frames)]
        self.images = [item[0] for item in rendered]
        self.depths = [item[1] for item in rendered]
        self.labels = [item[2] for item in rendered]
        self._owners = [item[3] for item in rendered]

    def _pixels(self) -> np.ndarray:
        y, x = np.mgrid[: self.height, : self.width].astype(np.float64)
        return np.stack((x, y), axis=-1)

    def _center(self, card: Card, i: int) -> np.ndarray:
        return np.array(card.center) + i * np.array(card.step)

    def _render(self, i: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        rays = np.concatenate((self._pixels(), np.ones((self.height, self.width, 1))), axis=-1)
        rays = rays @ np.linalg.inv(self.K).T
        image = np.zeros((self.height, self.width, 3), np.uint8)
        depth = np.full((self.height, self.width), np.inf)
        label, owner = np.zeros(depth.shape, np.int32), np.zeros(depth.shape, np.int32)
        for k, (card, paint) in enumerate(zip(self.cards, self._textures, strict=True)):
            center, eye = self._center(card, i), self.poses[i, :3, 3]
            z = center[2] - eye[2]
            at = (eye[:2] + rays[..., :2] * z - center[:2]) / np.array(card.size) + 0.5
            hit = (at >= 0).all(-1) & (at < 1).all(-1) & (z < depth)
            # Repeated, so that a wide card has detail too.
            repeat = max(1.0, card.size[0] / 4)
            u, v = ((at[..., k] * repeat * 255).astype(np.intp) % 256 for k in (0, 1))
            image[hit], depth[hit] = paint[v, u][hit], z
            label[hit], owner[hit] = card.label, k
        return image, depth.astype(np.float32), label, owner

    def flow(self, i: int, j: int) -> Flow:
        """Return the exact flow from frame i to frame j; valid where the same card is seen there."""
        pixels, owner = self._pixels(), self._owners[i]
        rays = np.concatenate((pixels, np.ones((self.height, self.width, 1))), axis=-1)
        points = rays @ np.linalg.inv(self.K).T * self.depths[i][..., None] + self.poses[i, :3, 3]
        steps = np.array([card.step for card in self.cards])[owner] * (j - i)
        there = points + steps - self.poses[j, :3, 3]
        projected = there @ self.K.T
        end = projected[..., :2] / projected[..., 2:]
        at = np.rint(end).astype(np.intp)
        inside = (end >= 0).all(-1) & (end[..., 0] <= self.width - 1) & (end[..., 1] <= self.height - 1)
        at = np.clip(at, 0, [self.width - 1, self.height - 1])
        same = self._owners[j][at[..., 1], at[..., 0]] == owner
        return Flow((end - pixels).astype(np.float32), inside & same)

    def tracks(self, every: int = 6) -> Tracks:
        """Follow a grid of points of the first frame by the exact flow."""
        grid = self._pixels()[every // 2 :: every, every // 2 :: every].reshape(-1, 2).astype(int)
        xy = np.zeros((self.num_frames, len(grid), 2), np.float32)
        visible = np.zeros((self.num_frames, len(grid)), bool)
        for j in range(self.num_frames):
            flow = self.flow(0, j)
            xy[j] = grid + flow.flow[grid[:, 1], grid[:, 0]]
            visible[j] = flow.valid[grid[:, 1], grid[:, 0]]
        start = np.zeros(len(grid), np.int64)
        return Tracks(xy, visible, visible.astype(np.float32), start, self.height, self.width)

    def write(self, root: Path, parts: str = "frames flow tracks cameras depth masks") -> Workspace:
        """Write the clip as the stages would have."""
        workspace = Workspace(root)
        wanted = parts.split()
        workspace.rgb_dir.mkdir(parents=True)
        for i, image in enumerate(self.images):
            Image.fromarray(image).save(workspace.frame_path(i))
            if "masks" in wanted:
                workspace.write_labels(i, self.labels[i])
        times = tuple(i / 10 for i in range(self.num_frames))
        workspace.write_clip(Clip(times, tuple(range(self.num_frames)), self.width, self.height, 10.0))
        if "flow" in wanted:
            for i in range(self.num_frames - 1):
                workspace.write_flow(i, i + 1, self.flow(i, i + 1))
                workspace.write_flow(i + 1, i, self.flow(i + 1, i))
        if "tracks" in wanted:
            workspace.write_tracks(self.tracks(), 10, 50)
        if "cameras" in wanted:
            Ks = np.repeat(self.K[None], self.num_frames, axis=0)
            workspace.write_cameras(Cameras(Ks, self.poses, np.ones(self.num_frames, bool)))
        if "depth" in wanted:
            workspace.write_depths(iter(self.depths), self.num_frames)
        return workspace


class QuietReport:
    """Keeps notes, shows nothing."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def progress(self, total: int, text: str):
        from contextlib import nullcontext

        return nullcontext(lambda: None)

    def track(self, items, text: str, total: int | None = None):
        return items

    def note(self, text: str) -> None:
        self.notes.append(text)
