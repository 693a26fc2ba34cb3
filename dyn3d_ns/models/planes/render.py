"""Whole images of a volumetric scene at any time: colour and depth, velocity, divergence, segments."""

from collections.abc import Callable
from typing import Any, Literal

import torch
from jaxtyping import Float
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.cameras.rays import RayBundle
from torch import Tensor

from dyn3d_ns.losses.physics import divergence
from dyn3d_ns.models.faces import cast
from dyn3d_ns.models.planes.observed import ObservedMatter
from dyn3d_ns.models.planes.scene import MatterOverTime, PlanesScene, Samples, accumulate

Kind = Literal["image", "velocity", "divergence", "segment"]
"""What a picture shows; ``image`` is colour, accumulation and planar depth times accumulation."""
KEPT_BYTES = 2**28
"""Memory for the occupancy of moments shown before: an evaluation sees each from many cameras."""


class PlanesPictures:
    """Renders cameras in chunks of rays; the occupancy of the last times is kept."""

    def __init__(
        self, scene: PlanesScene, observed: ObservedMatter, rays_per_chunk: int, samples_per_ray: int
    ) -> None:
        """Render a scene, with ``samples_per_ray`` samples at the most."""
        self.scene, self.observed = scene, observed
        self.rays_per_chunk, self.samples_per_ray = rays_per_chunk, samples_per_ray
        self._matter: dict[float, MatterOverTime] = {}

    def forget(self) -> None:
        """Drop the occupancies kept, which are out of date once the scene has changed."""
        self._matter = {}

    def view(self, camera: Cameras, obb_box: Any = None) -> Callable[[Kind], Float[Tensor, "H W D"]]:
        """Return what renders the pictures of a camera at its time."""
        time = 0.0 if camera.times is None else float(camera.times.flatten()[0])
        bundle = cast(camera, obb_box)
        shape, rays = bundle.origins.shape[:2], bundle.flatten()
        return lambda kind: self.render(rays, time, kind).view(*shape, -1)

    @torch.no_grad()
    def render(self, rays: RayBundle, time: float, kind: Kind) -> Float[Tensor, "R D"]:
        """Render rays of one time."""
        matter, scene = self._matter_at(time), self.scene
        parts = []
        for start in range(0, len(rays), self.rays_per_chunk):
            chunk = rays[start : start + self.rays_per_chunk]
            count, device = len(chunk), chunk.origins.device
            samples = scene.sample(
                chunk.origins,
                chunk.directions,
                scene.exact(chunk.origins.new_full((count, 1), time)),
                torch.zeros(count, dtype=torch.int32, device=device),
                matter,
                torch.full((count,), 0.5, device=device),
                self.samples_per_ray,
            )
            parts.append(accumulate(self._values(samples, chunk, kind), samples.weights, samples.rays, count))
        return torch.cat(parts)

    def _values(self, samples: Samples, rays: RayBundle, kind: Kind) -> Float[Tensor, "S D"]:
        s = self.scene
        if kind == "velocity":
            return s.velocity(samples.points, samples.times) * s.half_width
        if kind == "segment":
            return s.slots_of(samples.points, samples.times)
        if kind == "divergence":
            return divergence(s.velocity.kinematics(samples.points, samples.times).jacobian)[:, None]
        slant = rays.metadata["directions_norm"][samples.rays]
        ones = torch.ones_like(samples.distances[:, None])
        return torch.cat([samples.colors, ones, samples.distances[:, None] / slant], dim=-1)

    @torch.no_grad()
    def _matter_at(self, time: float) -> MatterOverTime:
        if time not in self._matter:
            codes, shifts = self.observed.cube(time)
            if (len(self._matter) + 1) * (codes.nbytes + shifts.nbytes) > KEPT_BYTES and self._matter:
                self._matter.pop(next(iter(self._matter)))
            self._matter[time] = MatterOverTime(codes[None], shifts[None])
        return self._matter[time]
