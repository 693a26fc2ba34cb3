"""Unsupervised segmentation of a trained scene: which matter moves as one rigid body."""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from scipy.spatial import KDTree
from torch import Tensor

from dyn3d_ns.fields.slots import SlotNetwork
from dyn3d_ns.losses.segmentation import neighbour_disagreement, rigid_residual
from dyn3d_ns.models.planes.scene import PlanesScene

NEIGHBOURS = 8
SOLID = 10.0
"""How many times the occupancy's threshold a point's alpha has to be, as in NVFi."""
BATCH = 4096
"""Points of a training step."""


@torch.no_grad()
def solid_points(scene: PlanesScene, generator: torch.Generator, rounds: int = 4) -> Float[Tensor, "N 3"]:
    """Draw normalised points inside the matter of the first keyframe, evenly."""
    occupancy, found = scene.occupancy, []
    cells = occupancy.centers((occupancy.codes[0] > 0).nonzero())
    for _ in range(rounds):
        jitter = torch.rand(cells.shape, generator=generator).to(cells) - 0.5
        points = cells + occupancy.size * jitter
        rows = torch.zeros(len(points), dtype=torch.long, device=points.device)
        alpha = 1 - torch.exp(-scene.density(points, rows) * occupancy.size)
        found.append(points[alpha > SOLID * occupancy.threshold])
    return torch.cat(found)


@torch.no_grad()
def paths(scene: PlanesScene, points: Float[Tensor, "N 3"], times: list[float]) -> Float[Tensor, "T N 3"]:
    """Carry points of the first keyframe to ascending times."""
    now, t, out = points, scene.key_times[0], []
    for goal in times:
        now, t = scene.carry(now, t, goal), goal
        out.append(now)
    return torch.stack(out)


def train_slots(
    scene: PlanesScene,
    slots: int,
    steps: int,
    generator: torch.Generator,
    rate: float = 5e-3,
    smoothness: float = 0.1,
    report: Callable[[int, float], None] | None = None,
) -> SlotNetwork:
    """Sort the matter of the first keyframe into slots that each move rigidly.

    Args:
        scene: A trained scene; it is not changed.
        slots: Most parts to find.
        steps: Optimizer steps.
        generator: Source of the points; the network starts from torch's own generator.
        rate: Learning rate.
        smoothness: Weight of the neighbours' disagreement, relative to the mean squared motion.
        report: Called with each step and its loss.

    Raises:
        ValueError: the scene has no solid matter at its first keyframe.
    """
    points = solid_points(scene, generator)
    if len(points) < BATCH // 8:
        raise ValueError(f"only {len(points)} points of the first keyframe are solid; train the scene longer")
    order = torch.randperm(len(points), generator=generator)[: 8 * BATCH].to(points.device)
    points = points[order]
    last, first = scene.key_times[-1], scene.key_times[0]
    times = [first + (last - first) * (0.67 + 0.33 * i / 7) for i in range(8)]
    moved = paths(scene, points, times)
    scale = (moved - points).square().sum(-1).mean().clamp_min(1e-9)
    found = np.asarray(KDTree(points.cpu().numpy()).query(points.cpu().numpy(), k=NEIGHBOURS + 1)[1])
    neighbours = torch.from_numpy(found[:, 1:]).to(points.device)
    network = SlotNetwork(slots).to(points.device)
    optimizer = torch.optim.Adam(network.parameters(), lr=rate)
    for step in range(steps):
        pick = torch.randint(len(points), (BATCH,), generator=generator).to(points.device)
        instant = int(torch.randint(len(times), (), generator=generator))
        weights = network(points[pick])
        loss = rigid_residual(points[pick], moved[instant][pick], weights) / scale
        few = pick[: BATCH // NEIGHBOURS]
        around = network(points[neighbours[few]].flatten(0, 1)).unflatten(0, (len(few), NEIGHBOURS))
        loss = loss + smoothness * neighbour_disagreement(weights[: len(few)], around)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if report is not None:
            report(step, float(loss.detach()))
    return network
