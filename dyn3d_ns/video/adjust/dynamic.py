"""Positions of moving points at every frame that sees them, smooth over time and locally rigid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dyn3d_ns.video.adjust.descent import Descent, DescentResult, descend
from dyn3d_ns.video.adjust.energies import distance_changes, step_lengths
from dyn3d_ns.video.adjust.sample_energies import motion_terms, reprojection_and_depth, seen_by
from dyn3d_ns.video.adjust.settings import EnergyWeights
from dyn3d_ns.video.adjust.static import CameraState, Samples


@dataclass(frozen=True)
class MotionGraph:
    """Which samples belong together."""

    pairs: Int[Tensor, "P 2"]
    """Samples of one point in frames in a row."""
    quads: Int[Tensor, "L 4"]
    """Point and neighbour in a frame, point and neighbour in the next."""


def motion_graph(
    samples: Samples,
    positions: Float[np.ndarray, "S 3"],
    instances: Int[np.ndarray, "N"],
    neighbours: int = 4,
) -> MotionGraph:
    """Link samples of a point over time, and points with their neighbours of the same instance.

    A point's neighbours are the nearest in the first frame that sees it.
    """
    frames, points = samples.frames.cpu().numpy(), samples.points.cpu().numpy()
    count_f, count_n = int(frames.max()) + 1, len(instances)
    table = np.full((count_f + 1, count_n), -1, dtype=np.int64)
    table[frames, points] = np.arange(len(frames))
    here, there = table[:-1], table[1:]
    both = (here >= 0) & (there >= 0)
    pairs = np.stack((here[both], there[both]), axis=1)
    quads = []
    for a, b in _neighbours(table, positions, instances, neighbours):
        kept = both[:, a] & both[:, b]
        quads.append(np.stack((here[kept, a], here[kept, b], there[kept, a], there[kept, b]), axis=1))
    linked = np.concatenate(quads) if quads else np.empty((0, 4), np.int64)
    return MotionGraph(torch.from_numpy(pairs), torch.from_numpy(linked))


def _neighbours(
    table: Int[np.ndarray, "F1 N"],
    positions: Float[np.ndarray, "S 3"],
    instances: Int[np.ndarray, "N"],
    neighbours: int,
) -> list[tuple[int, int]]:
    from scipy.spatial import KDTree

    first = (table >= 0).argmax(0)
    found = []
    for frame in np.unique(first):
        for instance in np.unique(instances[first == frame]):
            asking = np.flatnonzero((first == frame) & (instances == instance) & (table[frame] >= 0))
            near = np.flatnonzero((table[frame] >= 0) & (instances == instance))
            if len(asking) == 0 or len(near) < 2:
                continue
            count = min(neighbours + 1, len(near))
            _, index = KDTree(positions[table[frame, near]]).query(positions[table[frame, asking]], k=count)
            rows = np.asarray(index).reshape(len(asking), count)
            found += [(int(asking[r]), int(near[j])) for r, row in enumerate(rows) for j in row]
    return [(a, b) for a, b in found if a != b]


def adjust_dynamic(
    cameras: CameraState,
    start: Float[Tensor, "S 3"],
    samples: Samples,
    graph: MotionGraph,
    weights: EnergyWeights,
    descent: Descent,
    rate: float = 1e-2,
) -> tuple[Float[Tensor, "S 3"], DescentResult]:
    """Minimise reprojection, steps between frames and changes of distance between neighbours."""
    moved = start.detach().clone().requires_grad_()
    seen = seen_by(samples.frames, torch.arange(len(moved)), samples.pixels, weights.reprojection)
    held = cameras.rotations, cameras.centers, cameras.focal, cameras.center

    def energy() -> Tensor:
        motion = motion_terms(moved, graph.pairs, graph.quads, weights.moving_smooth, weights.moving_rigid)
        return reprojection_and_depth(moved, *held, seen) + motion

    result = descend(energy, [([moved], rate)], descent)
    return moved.detach(), result


def erratic(
    positions: Float[Tensor, "S 3"], samples: Samples, graph: MotionGraph, count: int, weights: EnergyWeights
) -> Bool[Tensor, "N"]:
    """Return the points whose worst frame is far rougher than that of 98 % of the points."""
    worst = positions.new_zeros(count)
    if len(graph.pairs) == 0:
        return worst > 0
    step = weights.moving_smooth * step_lengths(positions, graph.pairs)
    first = graph.pairs[:, 0]
    by_sample = positions.new_zeros(len(positions)).index_add(0, first, step)
    if len(graph.quads):
        change = weights.moving_rigid * distance_changes(positions, graph.quads)
        total = positions.new_zeros(len(positions)).index_add(0, graph.quads[:, 0], change)
        number = positions.new_zeros(len(positions)).index_add(0, graph.quads[:, 0], torch.ones_like(change))
        by_sample = by_sample + total / number.clamp_min(1.0)
    worst = worst.scatter_reduce(0, samples.points, by_sample, "amax")
    return worst > torch.quantile(worst, 0.98) + 1.0
