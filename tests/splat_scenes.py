"""Gaussians that move in a known way, as the exporters take them and readers should find them."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from dyn3d_ns.io.splats import About, Splats, StoredSequence, View

FPS = 20.0


def views() -> tuple[View, ...]:
    """Return two cameras, one of them looking along x."""
    straight, aside = np.eye(4), np.eye(4)
    straight[:3, 3] = 0, 1, 4
    aside[:3, :3] = Rotation.from_euler("y", -90, degrees=True).as_matrix()
    aside[:3, 3] = -4, 1, 0
    return View(straight, 40.0, (200, 100)), View(aside, 60.0, (100, 100))


def swarm(
    count: int = 120, degree: int = 1, frames: int = 12, shift: tuple[float, float, float] = (0, 0, 0)
) -> StoredSequence:
    """Return a cloud of which a third rests and the rest turns about y and rises; colours follow the turn's
    time.

    Args:
        count: Gaussians.
        degree: Of the colours.
        frames: Times, at ``FPS``.
        shift: Added to all places, in double precision where it is far.
    """
    random = np.random.default_rng(7)
    places = random.uniform(-1, 1, (count, 3))
    quats = random.normal(size=(count, 4))
    quats = (quats / np.linalg.norm(quats, axis=1, keepdims=True)).astype(np.float32)
    scales = np.exp(random.uniform(-5, -2.5, (count, 3))).astype(np.float32)
    opacities = random.uniform(0.05, 0.999, count).astype(np.float32)
    sh = random.normal(0, 0.3, (count, (degree + 1) ** 2, 3)).astype(np.float32)
    moves = np.arange(count) >= count // 3
    far = bool(np.abs(shift).max() > 1000)
    instants = []
    for index in range(frames):
        second = index / FPS
        turn = Rotation.from_rotvec([0, 2.0 * second, 0])
        here = np.where(moves[:, None], turn.apply(places) + [0, 0.3 * second, 0], places)
        whole = turn * Rotation.from_quat(quats[:, [1, 2, 3, 0]])
        turned = np.where(moves[:, None], whole.as_quat()[:, [3, 0, 1, 2]], quats)
        colors = sh.copy()
        colors[moves, 0] += np.float32(0.4 * second)
        rise = np.cross([0, 2.0, 0], turn.apply(places)) + [0, 0.3, 0]
        instants.append(
            Splats(
                (here + shift).astype(np.float64 if far else np.float32),
                turned.astype(np.float32),
                scales,
                opacities,
                colors,
                np.where(moves[:, None], rise, 0).astype(np.float32),
            )
        )
    about = About("dyn3d-test", "dyn3d_ns 0", "y", 0.5, FPS, (0.0, (frames - 4) / FPS), views=views())
    return StoredSequence(instants, [index / FPS for index in range(frames)], about)


def angles(found: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return the angles between orientations (wxyz), radians."""
    cosine = np.abs((np.asarray(found, np.float64) * wanted).sum(1))
    return 2 * np.arccos(np.clip(cosine, 0, 1))
