"""A radiance field at keyframes, carried to other times by a velocity field, and its volume rendering."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Float16, Int, UInt8
from torch import Tensor, nn

from dyn3d_ns.fields.integrate import integrate
from dyn3d_ns.fields.keyframe_bridge import KeyframeBridge
from dyn3d_ns.fields.keyframe_planes import KeyframePlanes, nearest_keyframe
from dyn3d_ns.fields.occupancy import KeyframeOccupancy
from dyn3d_ns.fields.point_velocity import PointVelocityField
from dyn3d_ns.fields.slots import SlotNetwork
from dyn3d_ns.rendering.ray_march import march, packed_weights

VISIBLE = 1e-4
"""Weight below which a sample's colour is not evaluated."""
PROMINENT = 50.0
"""Inverse of the weight from which on the proposal always keeps a sample."""


@dataclass(frozen=True)
class MatterOverTime:
    """Occupancy of some moments, as :meth:`KeyframeOccupancy.at` gives it for one."""

    codes: UInt8[Tensor, "T G G G"]
    shifts: Float16[Tensor, "T G G G 3"]


@dataclass(frozen=True)
class Samples:
    """Samples of a batch of rays, packed ray by ray; positions are normalised."""

    rays: Int[Tensor, "S"]
    points: Float[Tensor, "S 3"]
    times: Float[Tensor, "S 1"]
    distances: Float[Tensor, "S"]
    weights: Float[Tensor, "S"]
    colors: Float[Tensor, "S 3"]
    bridge: Float[Tensor, ""]
    """Mean square of the bridge's displacement."""


class PlanesScene(nn.Module):
    """Keyframe planes, velocity field, keyframe bridge and occupancy in one normalised cube.

    Normalised coordinates divide by half of the longest side of the scene box, the same along each axis, so
    that a rotation stays one.
    """

    def __init__(
        self,
        planes: KeyframePlanes,
        velocity: PointVelocityField,
        bridge: KeyframeBridge | None,
        occupancy: KeyframeOccupancy,
        keyframes: list[float],
        aabb: Float[Tensor, "2 3"],
        density_scale: float,
        samples_per_voxel: float = 2.0,
        explore: float = 1.0,
    ) -> None:
        """Put the parts together.

        Args:
            planes: Radiance field at the keyframes.
            velocity: Carries points between times.
            bridge: Adds to it between keyframes; None for the velocity alone (NVFi).
            occupancy: Where there is matter.
            keyframes: Times of the keyframes, ascending.
            aabb: Scene box in world units.
            density_scale: Density per unit of normalised length of a field value of one.
            samples_per_voxel: Samples along a ray per spacing of the planes.
            explore: Part of the samples without weight that the networks see all the same; 1 for no proposal.
        """
        super().__init__()
        self.planes, self.velocity, self.bridge, self.occupancy = planes, velocity, bridge, occupancy
        self.density_scale, self.samples_per_voxel, self.explore = density_scale, samples_per_voxel, explore
        self.register_buffer("keyframes", torch.tensor(keyframes))
        self.register_buffer("center", aabb.float().mean(0))
        self.register_buffer("half_width", 0.5 * (aabb[1] - aabb[0]).float().max())
        self.register_buffer("only_keyframe", torch.tensor(-1))
        self.slots: SlotNetwork | None = None
        self.key_times = [float(t) for t in self.keyframes]

    keyframes: Tensor
    center: Tensor
    half_width: Tensor
    only_keyframe: Tensor
    """Keyframe that all times are carried to, for a motion of another scene; -1 for the nearest."""

    @property
    def step(self) -> float:
        """Distance of the samples along a ray, normalised."""
        return 2.0 / (self.planes.resolution - 1) / self.samples_per_voxel

    @property
    def max_step(self) -> float:
        """Longest time step of the advection: half a keyframe's spacing."""
        times = self.key_times
        return 0.5 * (times[-1] - times[0]) / (len(times) - 1) if len(times) > 1 else 0.025

    @torch.no_grad()
    def fit_cube(self, hulls: list[Bool[Tensor, "G G G"]], margin: float = 0.15) -> None:
        """Shrink the normalised cube to cells that may hold matter, plus a margin for where motion leads."""
        cells = torch.stack(hulls).any(0)
        if not bool(cells.any()):
            return
        size = 2.0 / len(cells)
        index = cells.nonzero().flip(-1).float()
        low, high = index.amin(0) * size - 1, (index.amax(0) + 1) * size - 1
        width = (0.5 * (high - low).max() * (1 + margin)).clamp(max=1)
        self.center += self.half_width * (0.5 * (low + high)).clamp(-(1 - width), 1 - width)
        self.half_width *= width

    def nearest(self, t: float) -> int:
        """Return the keyframe that a time is carried to."""
        if self.only_keyframe >= 0:
            return int(self.only_keyframe)
        return int(nearest_keyframe(torch.tensor([t]), self.keyframes.cpu())[0])

    def exact(self, t: Float[Tensor, "R 1"]) -> Float[Tensor, "R 1"]:
        """Put times on the keyframe's exact value that are there but for rounding."""
        nearest = self.keyframes[(t - self.keyframes).abs().argmin(-1)][:, None]
        return torch.where((nearest - t).abs() < 1e-5, nearest, t)

    def _rows(self, t: Float[Tensor, "N 1"]) -> Int[Tensor, "N"]:
        if self.only_keyframe >= 0:
            return torch.zeros_like(t[:, 0], dtype=torch.long) + self.only_keyframe
        return nearest_keyframe(t[:, 0], self.keyframes)

    def carry(self, x: Float[Tensor, "N 3"], t0: float | Tensor, t1: float | Tensor) -> Float[Tensor, "N 3"]:
        """Move points along the velocity field by midpoint steps."""
        return integrate(self.velocity, x, t0, t1, self.max_step)

    def to_keyframe(
        self, x: Float[Tensor, "N 3"], t: Float[Tensor, "N 1"]
    ) -> tuple[Float[Tensor, "N 3"], Int[Tensor, "N"], Float[Tensor, ""]]:
        """Carry points to their nearest keyframes.

        Returns:
            The points there, the keyframes, and the mean square of the bridge's displacement.
        """
        rows = self._rows(t)
        goal = self.keyframes[rows][:, None]
        index = ((goal - t).abs()[:, 0] > 1e-6).nonzero()[:, 0]
        penalty = x.new_zeros(())
        if len(index) == 0:
            return x, rows, penalty
        away, start = x[index], t[index]
        moved = self.carry(away, start, goal[index])
        if self.bridge is not None and self.only_keyframe < 0:
            shift = self.bridge(away, start, self.keyframes, self.planes.density_planes)
            penalty = shift.square().sum(-1).mean()
            moved = moved + shift
        return x.index_copy(0, index, moved), rows, penalty

    def slots_of(self, x: Float[Tensor, "N 3"], t: Float[Tensor, "N 1"]) -> Float[Tensor, "N K"]:
        """Return the slot probabilities of matter, which are known at the first keyframe."""
        if self.slots is None:
            raise ValueError("the scene has not been segmented; run dyn3d segment first")
        return self.slots(self.carry(x, t, torch.full_like(t, self.key_times[0])))

    def density(self, x: Float[Tensor, "N 3"], rows: Int[Tensor, "N"]) -> Float[Tensor, "N"]:
        """Return the density at points of keyframes per unit of normalised length."""
        return self.density_scale * self.planes.density(x, rows)

    def sample(
        self,
        origins: Float[Tensor, "R 3"],
        directions: Float[Tensor, "R 3"],
        times: Float[Tensor, "R 1"],
        cubes: Int[Tensor, "R"],
        matter: MatterOverTime,
        offsets: Float[Tensor, "R"],
        most: int,
    ) -> Samples:
        """March rays of the world and evaluate the field at the samples that the proposal keeps.

        Args:
            origins: Ray origins, world units.
            directions: Unit directions.
            times: Time of each ray.
            cubes: Moment of each ray, an index into ``matter``.
            matter: Occupancy of some moments.
            offsets: Shift of each ray's samples, in steps.
            most: Most samples of a ray.
        """
        origins = (origins - self.center) / self.half_width
        rays, distances = march(origins, directions, offsets, cubes, matter.codes, self.step, most)
        lengths = distances.new_tensor(self.step).expand(len(distances))
        if self.explore < 1:
            points = origins[rays] + distances[:, None] * directions[rays]
            kept, share = self._propose(points, times, rays, cubes, matter, len(origins))
            rays, distances, lengths = rays[kept], distances[kept], self.step / share
        way = directions[rays]
        points, t = origins[rays] + distances[:, None] * way, times[rays]
        x, rows, bridge = self.to_keyframe(points, t)
        weights = packed_weights(self.density(x, rows) * lengths, rays, len(origins))
        seen = (weights.detach() > VISIBLE).nonzero()[:, 0]
        colors = self.planes.color(x[seen], rows[seen], way[seen])
        return Samples(
            rays[seen],
            points[seen],
            t[seen],
            distances[seen] * self.half_width,
            weights[seen],
            colors,
            bridge,
        )

    @torch.no_grad()
    def _propose(
        self,
        points: Float[Tensor, "S 3"],
        times: Float[Tensor, "R 1"],
        rays: Int[Tensor, "S"],
        cubes: Int[Tensor, "R"],
        matter: MatterOverTime,
        num_rays: int,
    ) -> tuple[Int[Tensor, "P"], Float[Tensor, "P"]]:
        """Choose the samples worth the networks, from a density reached by each cell's own shift.

        A sample that is to get less than ``1 / PROMINENT`` of its ray's colour is kept with a probability in
        proportion, at least ``explore``; what it stands for grows accordingly, so that the expected optical
        depth stays. In evaluation samples below that are left out.

        Returns:
            The samples kept, and the probability of each.
        """
        cells = self.occupancy.index_of(points)
        shifts = matter.shifts[(cubes[rays].long(), *cells)].to(points.dtype)
        rows = self._rows(times)[rays]
        weights = packed_weights(self.density(points + shifts, rows) * self.step, rays, num_rays)
        if not self.training:
            kept = (PROMINENT * weights > self.explore).nonzero()[:, 0]
            return kept, torch.ones_like(weights[kept])
        share = (PROMINENT * weights).clamp(self.explore, 1)
        kept = (torch.rand_like(share) < share).nonzero()[:, 0]
        return kept, share[kept]


def accumulate(
    values: Float[Tensor, "S D"], weights: Float[Tensor, "S"], rays: Int[Tensor, "S"], num_rays: int
) -> Float[Tensor, "R D"]:
    """Sum weighted values over the samples of each ray."""
    out = values.new_zeros(num_rays, values.shape[-1])
    return out.index_add(0, rays, weights[:, None] * values)
