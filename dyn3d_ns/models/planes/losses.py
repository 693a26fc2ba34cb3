"""The volumetric method's regularisers and physics losses, weighted as its settings say."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from dyn3d_ns.fields.keyframe_planes import KeyframePlanes
from dyn3d_ns.losses.physics import divergence_loss, material_rate, steady_motion_loss, transport_loss
from dyn3d_ns.losses.planes import space_sparsity, time_sparsity, total_variation
from dyn3d_ns.models.planes.scene import PlanesScene, Samples


@dataclass
class PlanesLosses:
    """Weights of the regularisers and physics losses, and where they are taken."""

    collocation_points: int = 65_536
    """Points of a step at which the physics losses are taken; the paper has 262,144 for objects."""
    collocation_period: int = 1
    """Steps between two evaluations of the physics losses, whose weight grows accordingly."""
    divergence_weight: float = 5.0
    """Weight of the squared divergence."""
    transport_weight: float = 0.1
    """Weight of the squared difference of material and learned acceleration."""
    physics_ramp: float = 0.0
    """Part of the training over which the velocity comes to feel the physics losses, with its square."""
    steady_weight: float = 0.0
    """Weight of the relative rates of what a free body keeps, from half of the ramp on; not in the paper."""
    sparsity_weight: float = 8e-4
    """Weight of the density planes' distance from empty and unchanging."""
    variation_weight: float = 1e-2
    """Weight of the planes' total variation."""
    planes_per_step: int = 0
    """Planes that the regularisers see in a step, in turn and weighted accordingly; 0 for all."""


def plane_losses(planes: KeyframePlanes, settings: PlanesLosses, step: int) -> dict[str, Tensor]:
    """Return sparsity and total variation, of all planes or of some in turn."""
    terms: list[tuple[str, Tensor]] = [("space", p) for p in planes.density_planes.space]
    terms += [("time", p) for p in planes.density_planes.time]
    terms += [("appearance", p) for p in planes.appearance_planes.space]
    count = min(settings.planes_per_step or len(terms), len(terms))
    chosen = [terms[(step * count + i) % len(terms)] for i in range(count)]
    sparsity = variation = planes.density_planes.space[0].new_zeros(())
    for kind, plane in chosen:
        if kind == "space":
            sparsity = sparsity + space_sparsity(plane)
        elif kind == "time":
            sparsity = sparsity + time_sparsity(plane)
        variation = variation + total_variation(plane, 3.0 if kind == "time" else 1.0)
    scale = len(terms) / count
    return {
        "sparsity": settings.sparsity_weight * scale * sparsity,
        "variation": settings.variation_weight * scale * variation,
    }


@torch.no_grad()
def collocation(
    scene: PlanesScene, samples: Samples, count: int
) -> tuple[Float[Tensor, "P 3"], Float[Tensor, "P 1"]]:
    """Draw points with matter and their times: half seen by the step's rays, half at any time from 0 to 1.

    The latter start in occupied cells of keyframes and are carried to times of the whole recording, the
    unobserved future included.
    """
    device, half = scene.center.device, count // 2 if len(samples.rays) else 0
    pick = torch.randint(max(len(samples.rays), 1), (half,), device=device)
    seen, seen_times = samples.points[pick], samples.times[pick]
    times = torch.rand(count - half, 1, device=device)
    rows = scene.keyframes[None].sub(times).abs().argmin(-1)
    starts = torch.zeros(len(times), 3, device=device)
    for k in range(len(scene.key_times)):
        mine, cells = (rows == k).nonzero()[:, 0], (scene.occupancy.codes[k] > 0).nonzero()
        if len(cells):
            drawn = scene.occupancy.centers(cells[torch.randint(len(cells), (len(mine),), device=device)])
            starts[mine] = drawn + scene.occupancy.size * (torch.rand_like(drawn) - 0.5)
    carried = scene.carry(starts, scene.keyframes[rows][:, None], times)
    return torch.cat([seen, carried]), torch.cat([seen_times, times])


def physics_losses(
    scene: PlanesScene, samples: Samples, settings: PlanesLosses, part: float
) -> dict[str, Tensor]:
    """Return divergence, transport and steadiness at collocation points.

    Args:
        scene: Fields and occupancy.
        samples: Samples of the step's rays.
        settings: Weights and the number of points.
        part: Part of the training gone by, 0 to 1.
    """
    if not settings.collocation_points:
        return {}
    points, times = collocation(scene, samples, settings.collocation_points)
    # In the shell the velocity fades over a thirtieth of the box: a divergence that no motion is to blame
    # for, and a thousand times the images' say.
    inside = scene.velocity.gate(points)[:, 0] == 1
    if not bool(inside.any()):
        return {}
    motion = scene.velocity.kinematics(points[inside], times[inside])
    ramp = min(part / settings.physics_ramp, 1.0) if settings.physics_ramp else 1.0
    scale = ramp**2 * settings.collocation_period
    rate = material_rate(motion.velocity, motion.jacobian)
    # The acceleration follows the velocity from the start. The velocity follows it as the ramp says, or it
    # could grow no faster than the acceleration learns: what that lacks outweighs the images a hundredfold.
    follow = settings.collocation_period * transport_loss(rate.detach(), motion.acceleration)
    losses = {
        "divergence": settings.divergence_weight * scale * divergence_loss(motion.jacobian),
        "transport": settings.transport_weight
        * (follow + scale * transport_loss(rate, motion.acceleration.detach())),
    }
    if settings.steady_weight:
        # It waits until the images have said how things move.
        late = max(2 * ramp - 1, 0.0) * settings.collocation_period
        losses["steady"] = settings.steady_weight * late * steady_motion_loss(motion)
    return losses
