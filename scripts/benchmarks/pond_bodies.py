"""The bodies of `make_pond.py`: their surfaces, how they move and how they are painted."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator
from scipy.spatial import KDTree
from torch import Tensor

Paint = Callable[[Float64[np.ndarray, "P 3"]], Float64[np.ndarray, "P 3"]]
"""Points of the body at rest to colours in [0, 1]."""


@dataclass(frozen=True)
class Body:
    """A closed surface of triangles that moves; its place and velocity at any time are exact."""

    name: str
    rest: Float[Tensor, "V 3"]
    faces: Int64[np.ndarray, "F 3"]
    paint: Paint
    pose: Callable[[Tensor], Float[Tensor, "4 4"]]
    """Time to the frame that carries the body; of one that bends, the frame in which it does."""
    bend: Callable[[Tensor], Float[Tensor, "V 3"]] | None = None
    """Time to vertices in the world, of a body that is not rigid."""

    def place(self, t: float) -> tuple[Float64[np.ndarray, "V 3"], Float64[np.ndarray, "V 3"]]:
        """Return the vertices in the world and their velocities."""

        def at(time: Tensor) -> Tensor:
            pose = self.pose(time)
            return self.rest @ pose[:3, :3].T + pose[:3, 3] if self.bend is None else self.bend(time)

        return _with_rate(at, t)

    def frame(self, t: float) -> tuple[Float64[np.ndarray, "4 4"], Float64[np.ndarray, "4 4"]]:
        """Return the pose, and the matrix V with which a point x carried by it moves: (V [x, 1])[:3]."""
        pose, rate = _with_rate(self.pose, t)
        return pose, rate @ np.linalg.inv(pose)


def _with_rate(function: Callable[[Tensor], Tensor], t: float) -> tuple[NDArray, NDArray]:
    time = torch.tensor(t, dtype=torch.float64)
    value, rate = torch.func.jvp(function, (time,), (torch.ones_like(time),))
    return value.numpy(), rate.numpy()


def pond(seed: int, fish_beats: float, bird_beats: float) -> list[Body]:
    """Return a fish that swims around a rock, a bird that flaps above it, and a reed; numbers by the seed.

    Args:
        seed: Chooses where the ways lie, the phases, the rock's shape and the paint.
        fish_beats: Waves that pass through the fish from time 0 to 1.
        bird_beats: Strokes of the wings from time 0 to 1.
    """
    rng = np.random.default_rng(seed)
    start = float(rng.uniform(0, 2 * math.pi))
    middle = start + 0.5 * SWEEP
    bodies = [_fish(rng, start, fish_beats), *_bird(rng, middle, bird_beats)]
    return [*bodies, _rock(rng, middle), _reed(rng, middle)]


LENGTH, RADIUS, SWEEP = 1.05, 0.78, 2.7
"""Of the fish, world units; of the circle that it swims on; and the angle that it swims in all."""


def _fish(rng: np.random.Generator, start: float, beats: float) -> Body:
    """Swim on a rising circle about the z axis with a wave from head to tail that grows towards the tail."""
    s = np.linspace(0, 1, 52)
    width = _profile(s, [0, 0.06, 0.3, 0.6, 0.82, 0.9, 1], [0.03, 0.08, 0.12, 0.07, 0.026, 0.018, 0.01])
    height = _profile(s, [0, 0.06, 0.3, 0.6, 0.82, 0.9, 1], [0.03, 0.1, 0.18, 0.1, 0.04, 0.12, 0.22])
    rest, faces = loft(-LENGTH * s, width, height, around=20)
    back = np.clip(rest[:, 2] / 0.18, 0, 1) ** 3 * np.exp(-(((rest[:, 0] / LENGTH + 0.42) / 0.12) ** 2))
    rest[:, 2] += 0.1 * back  # the fin on its back
    phase = float(rng.uniform(0, 2 * math.pi))
    along = torch.from_numpy(-rest[:, 0] / LENGTH)
    aside, up = torch.from_numpy(rest[:, 1]), torch.from_numpy(rest[:, 2])

    def bend(t: Tensor) -> Tensor:
        angle = start + SWEEP * t - along * (LENGTH / RADIUS)
        out = torch.stack((torch.cos(angle), torch.sin(angle)), 1)
        ahead = torch.stack((-out[:, 1], out[:, 0]), 1)
        size, growth = 0.02 + 0.18 * along**2, 0.36 * along
        wave = 2 * math.pi * (beats * t - along) + phase
        sway = size * torch.sin(wave)
        slope = growth * torch.sin(wave) - 2 * math.pi * size * torch.cos(wave)
        away = (RADIUS + sway)[:, None]
        tangent = away * (LENGTH / RADIUS) * ahead - slope[:, None] * out
        tangent = tangent / tangent.norm(dim=1, keepdim=True)
        left = torch.stack((-tangent[:, 1], tangent[:, 0]), 1)
        level = -0.5 + 0.25 * t - 0.06 * along
        return torch.cat((away * out + aside[:, None] * left, (level + up)[:, None]), 1)

    def pose(t: Tensor) -> Tensor:
        angle = start + SWEEP * t
        turn = turned(2, angle + 0.5 * math.pi)
        head = torch.stack((RADIUS * torch.cos(angle), RADIUS * torch.sin(angle), -0.5 + 0.25 * t))
        return moved(turn[:3, :3], head)

    scales = cells(rng, rest, 130, ((0.95, 0.45, 0.1), (0.2, 0.35, 0.75), (0.95, 0.9, 0.8), (0.1, 0.55, 0.5)))
    return Body("fish", torch.from_numpy(rest), faces, scales, pose, bend)


def _bird(rng: np.random.Generator, middle: float, beats: float) -> list[Body]:
    """Fly along a line over the middle of the fish's way, with wings of two parts, the outer one lagging."""
    course = middle + float(rng.uniform(0.25, 0.5)) * math.pi
    ahead = torch.tensor([1.8 * math.cos(course), 1.8 * math.sin(course), 0.3], dtype=torch.float64)
    over = torch.tensor([0.1 * math.cos(middle), 0.1 * math.sin(middle), 0.52], dtype=torch.float64)
    phase = float(rng.uniform(0, 2 * math.pi))

    def flight(t: Tensor) -> Tensor:
        stroke = 2 * math.pi * beats * t + phase
        lift = torch.stack((0 * t, 0 * t, -0.05 * torch.sin(stroke)))
        return moved(turned(2, course + 0 * t)[:3, :3], over + ahead * (t - 0.5) + lift)

    def wing(side: float, outer: bool) -> Callable[[Tensor], Tensor]:
        def pose(t: Tensor) -> Tensor:
            stroke = 2 * math.pi * beats * t + phase
            shoulder = flight(t) @ shifted(0.02, 0.06 * side, 0.03)
            inner = shoulder @ turned(0, side * (0.15 + 0.7 * torch.sin(stroke)))
            if not outer:
                return inner
            elbow = inner @ shifted(0.0, 0.32 * side, 0.0)
            return elbow @ turned(0, side * 0.6 * torch.sin(stroke - 1.2))

        return pose

    x = np.linspace(0.38, -0.42, 32)
    places = [-0.42, -0.3, -0.15, 0.04, 0.18, 0.26, 0.33, 0.38]
    thick = _profile(x, places, [0.014, 0.025, 0.06, 0.11, 0.07, 0.085, 0.025, 0.008])
    wide = _profile(x, places, [0.18, 0.12, 0.07, 0.11, 0.07, 0.085, 0.025, 0.008])
    rest, faces = loft(x, wide, thick, around=20)
    feathers = cells(rng, rest, 60, ((0.85, 0.15, 0.15), (0.95, 0.75, 0.15), (0.3, 0.15, 0.3)))
    bodies = [Body("bird_body", torch.from_numpy(rest), faces, feathers, flight)]
    for name, side in (("left", 1.0), ("right", -1.0)):
        for part, chord, colors in (
            ("inner", (0.19, 0.17), ((0.15, 0.45, 0.8), (0.95, 0.9, 0.75))),
            ("outer", (0.17, 0.07), ((0.1, 0.6, 0.25), (0.95, 0.85, 0.3))),
        ):
            span = np.linspace(0, 0.34, 18)
            plate, faces = loft(span, np.linspace(*chord, 18), np.full(18, 0.012), around=16)
            plate = np.stack((plate[:, 1], side * plate[:, 0], plate[:, 2]), 1)
            faces = faces if side < 0 else faces[:, ::-1].copy()
            paint = checks(float(rng.uniform(0.05, 0.07)), colors)
            pose = wing(side, part == "outer")
            bodies.append(Body(f"wing_{name}_{part}", torch.from_numpy(plate), faces, paint, pose))
    return bodies


def _rock(rng: np.random.Generator, middle: float) -> Body:
    """Lie inside the bend of the fish's way and below the bird's."""
    z = np.cos(np.linspace(0.04, math.pi - 0.04, 26))
    rest, faces = loft(z, np.sqrt(1 - z**2), np.sqrt(1 - z**2), around=36)
    for _ in range(14):
        axis = rng.normal(size=3)
        rest *= (1 + 0.035 * np.sin(rest @ (2.2 * axis) + rng.uniform(0, 6)))[:, None]
    rest *= [0.26, 0.24, 0.22]
    at = torch.eye(4, dtype=torch.float64)
    at[:3, 3] = torch.tensor([0.29 * math.cos(middle), 0.29 * math.sin(middle), -0.36])
    moss = cells(rng, rest, 160, ((0.45, 0.42, 0.4), (0.6, 0.57, 0.52), (0.3, 0.4, 0.25), (0.35, 0.33, 0.33)))
    return Body("rock", torch.from_numpy(rest), faces, moss, lambda t: at + 0 * t)


def _reed(rng: np.random.Generator, middle: float) -> Body:
    """Stand thin and bowed on the far side of the rock."""
    height = np.linspace(-0.85, 0.4, 40)
    thin, faces = loft(height, np.full(40, 0.018), np.full(40, 0.018), around=10)
    rest = np.stack((thin[:, 1] + 0.12 * (thin[:, 0] + 0.85) ** 2, thin[:, 2], thin[:, 0]), 1)
    turn = turned(2, torch.tensor(float(rng.uniform(0, 2 * math.pi)), dtype=torch.float64))
    foot = torch.tensor([-0.3 * math.cos(middle), -0.3 * math.sin(middle), 0.0], dtype=torch.float64)
    at = moved(turn[:3, :3], foot)
    rings = checks(0.11, ((0.35, 0.5, 0.15), (0.75, 0.7, 0.35)))
    return Body("reed", torch.from_numpy(rest), faces, rings, lambda t: at + 0 * t)


def loft(
    along: Float64[np.ndarray, "S"],
    width: Float64[np.ndarray, "S"],
    height: Float64[np.ndarray, "S"],
    around: int,
) -> tuple[Float64[np.ndarray, "V 3"], Int64[np.ndarray, "F 3"]]:
    """Return a closed surface of elliptic rings about the x axis, with half widths (y) and heights (z)."""
    angle = 2 * math.pi * np.arange(around) / around
    ring = np.stack((np.ones(around), np.cos(angle), np.sin(angle)), 1)
    rings = ring * np.stack((along, width, height), 1)[:, None]
    ends = np.array([[along[0], 0, 0], [along[-1], 0, 0]])
    grid = np.arange(len(along) * around).reshape(len(along), around)
    a, b = grid[:-1].ravel(), np.roll(grid, -1, 1)[:-1].ravel()
    c, d = grid[1:].ravel(), np.roll(grid, -1, 1)[1:].ravel()
    first, last = grid.size, grid.size + 1
    caps = [(grid[0], np.roll(grid[0], -1), first), (np.roll(grid[-1], -1), grid[-1], last)]
    faces = [np.stack((a, c, b), 1), np.stack((b, c, d), 1)]
    faces += [np.stack((one, other, np.full(around, end)), 1) for one, other, end in caps]
    outward = np.concatenate(faces)[:, :: 1 if along[0] > along[-1] else -1]
    return np.concatenate((rings.reshape(-1, 3), ends)), np.ascontiguousarray(outward)


def _profile(at: NDArray, places: Sequence[float], values: Sequence[float]) -> NDArray:
    return PchipInterpolator(places, values)(at)


def cells(
    rng: np.random.Generator, rest: Float64[np.ndarray, "V 3"], count: int, colors: Sequence[Sequence[float]]
) -> Paint:
    """Paint patches about random points of the surface, each in one of the colours, a little varied."""
    seeds = KDTree(rest[rng.choice(len(rest), count, replace=False)])
    palette = np.array(colors)[rng.integers(0, len(colors), count)] + rng.uniform(-0.08, 0.08, (count, 1))
    return lambda points: palette.clip(0, 1)[seeds.query(points)[1]]


def checks(size: float, colors: Sequence[Sequence[float]]) -> Paint:
    """Paint a chequered pattern of two colours."""
    palette = np.array(colors)
    return lambda points: palette[(np.floor(points / [size, size, 4 * size] + 0.5).sum(1) % 2).astype(int)]


def turned(axis: int, angle: Float[Tensor, ""]) -> Float[Tensor, "4 4"]:
    """Return the rotation about an axis."""
    zero, one = 0 * angle, 1 + 0 * angle
    cos, sin = torch.cos(angle), torch.sin(angle)
    rows = {
        0: (one, zero, zero, zero, cos, -sin, zero, sin, cos),
        2: (cos, -sin, zero, sin, cos, zero, zero, zero, one),
    }[axis]
    return moved(torch.stack(rows).reshape(3, 3), torch.stack((zero, zero, zero)))


def shifted(x: float, y: float, z: float) -> Float[Tensor, "4 4"]:
    """Return a shift."""
    return moved(torch.eye(3, dtype=torch.float64), torch.tensor([x, y, z], dtype=torch.float64))


def moved(rotation: Float[Tensor, "3 3"], shift: Float[Tensor, "3"]) -> Float[Tensor, "4 4"]:
    """Return a rigid motion."""
    bottom = torch.tensor([[0, 0, 0, 1]], dtype=torch.float64)
    return torch.cat((torch.cat((rotation, shift[:, None]), 1), bottom))
