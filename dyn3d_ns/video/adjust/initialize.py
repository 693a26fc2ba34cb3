"""Cameras from tracks and depth alone: frame by frame, in a sliding window."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from dyn3d_ns.geometry.cameras import from_pixels, seen_from, to_pixels
from dyn3d_ns.geometry.rotations import so3_exp
from dyn3d_ns.video.adjust.descent import Descent, descend
from dyn3d_ns.video.adjust.energies import NEAREST, rotation_smoothness, translation_smoothness
from dyn3d_ns.video.adjust.settings import EnergyWeights
from dyn3d_ns.video.adjust.static import CameraState, Samples

WINDOW = 5
"""Frames that are adjusted against each other."""


def initialize_cameras(
    samples: Samples,
    num_frames: int,
    focal: Float[Tensor, "F 2"],
    center: Float[Tensor, "F 2"],
    weights: EnergyWeights,
    iterations: int = 600,
    first_rate: float = 1e-2,
    rate: float = 1e-3,
    step: Callable[[], None] = lambda: None,
) -> CameraState:
    """Return poses that carry each frame's points, at their depth, to where its neighbours see them.

    Each new frame starts at the pose of the last one; all ordered pairs of the last five frames count, and
    the frames that have left the window are fixed (Uni4D, camera initialisation). `step` is called after
    each frame.
    """
    turns = torch.zeros(num_frames, 3, dtype=samples.pixels.dtype)
    centers = torch.zeros_like(turns)
    table = _Table(samples, num_frames, focal, center)
    for last in range(1, num_frames):
        turns[last], centers[last] = turns[last - 1], centers[last - 1]
        window = np.arange(max(0, last - WINDOW + 1), last + 1)
        pairs = table.pairs(window)
        if pairs is not None:
            speed = first_rate if last < WINDOW else rate
            _adjust_window(
                turns, centers, window, pairs, focal, center, weights, Descent(iterations, 20), speed
            )
        step()
    return CameraState(so3_exp(turns), centers, focal, center)


class _Pairs:
    """Points of one frame, in its camera's axes, and where another frame of the window sees them."""

    def __init__(self, source: Tensor, target: Tensor, local: Tensor, pixels: Tensor) -> None:
        self.source, self.target, self.local, self.pixels = source, target, local, pixels
        kind = source * WINDOW + target
        self.kind = torch.unique(kind, return_inverse=True)[1]
        self.count = torch.bincount(self.kind)


class _Table:
    def __init__(
        self, samples: Samples, num_frames: int, focal: Float[Tensor, "F 2"], center: Float[Tensor, "F 2"]
    ) -> None:
        count = int(samples.points.max()) + 1
        self.index = torch.full((num_frames, count), -1, dtype=torch.long)
        self.index[samples.frames, samples.points] = torch.arange(len(samples.frames))
        frames = samples.frames
        self.local = from_pixels(samples.pixels, samples.depth, focal[frames], center[frames])
        self.samples = samples

    def pairs(self, window: Int[np.ndarray, "K"]) -> _Pairs | None:
        source, target, here, there = [], [], [], []
        for a, frame_a in enumerate(window):
            known = (self.index[frame_a] >= 0).clone()
            known[known.clone()] &= self.samples.depth[self.index[frame_a][known]] > 0
            for b, frame_b in enumerate(window):
                common = known & (self.index[frame_b] >= 0)
                if a != b and common.any():
                    here.append(self.index[frame_a][common])
                    there.append(self.index[frame_b][common])
                    source.append(torch.full_like(here[-1], a))
                    target.append(torch.full_like(here[-1], b))
        if not here:
            return None
        return _Pairs(
            torch.cat(source),
            torch.cat(target),
            self.local[torch.cat(here)],
            self.samples.pixels[torch.cat(there)],
        )


def _adjust_window(
    turns: Float[Tensor, "F 3"],
    centers: Float[Tensor, "F 3"],
    window: Int[np.ndarray, "K"],
    pairs: _Pairs,
    focal: Float[Tensor, "F 2"],
    center: Float[Tensor, "F 2"],
    weights: EnergyWeights,
    descent: Descent,
    rate: float,
) -> None:
    """Adjust the poses of a window in place; its first frame stays."""
    ids = torch.from_numpy(window)
    turn, place = turns[ids].clone().requires_grad_(), centers[ids].clone().requires_grad_()
    held = torch.ones(len(window), 1, dtype=turns.dtype)
    held[0] = 0.0
    focal, center = focal[ids][pairs.target], center[ids][pairs.target]
    start_turn, start_place = turns[ids].clone(), centers[ids].clone()

    smooth_translation, smooth_rotation = weights.smoothness(1.0)

    def energy() -> Tensor:
        now_turn = start_turn + (turn - start_turn) * held
        now_place = start_place + (place - start_place) * held
        rotations = so3_exp(now_turn)
        world = torch.einsum("sij,sj->si", rotations[pairs.source], pairs.local) + now_place[pairs.source]
        at = seen_from(world, rotations[pairs.target], now_place[pairs.target])
        miss = (to_pixels(at, focal, center, NEAREST) - pairs.pixels).square().sum(-1).add(1e-12).sqrt()
        total = miss.new_zeros(len(pairs.count)).index_add(0, pairs.kind, miss) / pairs.count
        value = weights.reprojection * total.mean()
        value = value + smooth_translation * translation_smoothness(now_place)
        return value + smooth_rotation * rotation_smoothness(rotations)

    descend(energy, [([turn, place], rate)], descent)
    turns[ids[1:]], centers[ids[1:]] = turn.detach()[1:], place.detach()[1:]
