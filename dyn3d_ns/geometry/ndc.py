"""The space in which a grid of voxels lies: a plain box, or what forward-facing cameras see, by disparity."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from dyn3d_ns.geometry.cameras import from_camera, project, to_camera

MAX_TURN = 0.6
"""Largest angle between a camera's axis and the mean of all in a forward-facing rig, radians."""


@dataclass(frozen=True)
class GridSpace:
    """Maps the world to the cube [-1, 1]^3 of a grid.

    With ``near`` = 0 the cube is a box of the world. Otherwise points are brought into the frame of a
    reference camera first (x right, y down, z ahead), and then to normalised device coordinates x/z, y/z,
    1 - 2 near/z, in which straight lines stay straight.
    """

    viewmat: Float[Tensor, "4 4"]
    """World to the reference camera; the identity for a box."""
    low: Float[Tensor, "3"]
    """Least coordinates of the grid."""
    high: Float[Tensor, "3"]
    """Largest coordinates of the grid."""
    near: float = 0.0
    """Depth of the near plane, world units; 0 for a box."""

    @property
    def is_ndc(self) -> bool:
        """Whether space is seen by disparity."""
        return self.near > 0

    def to_tensor(self) -> Float[Tensor, "23"]:
        """Return all numbers in a row, for checkpoints and headers."""
        near = self.low.new_tensor([self.near])
        return torch.cat([near, self.low, self.high, self.viewmat.flatten()])

    @classmethod
    def from_tensor(cls, row: Float[Tensor, "23"]) -> GridSpace:
        """Take the numbers of :meth:`to_tensor`."""
        return cls(row[7:].reshape(4, 4), row[1:4], row[4:7], float(row[0]))

    def to(self, device: torch.device) -> GridSpace:
        """Return the same on a device."""
        return GridSpace(self.viewmat.to(device), self.low.to(device), self.high.to(device), self.near)

    def of_world(self, points: Float[Tensor, "N 3"]) -> Float[Tensor, "N 3"]:
        """Map points of the world into the cube; of NDC those ahead of the reference camera only."""
        if self.is_ndc:
            points = disparity_of(to_camera(points, self.viewmat), self.near)
        return (points - self.low) / (self.high - self.low) * 2 - 1

    def to_world(self, points: Float[Tensor, "N 3"]) -> Float[Tensor, "N 3"]:
        """Map points of the cube into the world; the inverse of :meth:`of_world`."""
        points = (points + 1) / 2 * (self.high - self.low) + self.low
        if not self.is_ndc:
            return points
        depth = 2 * self.near / (1 - points[:, 2:])
        return from_camera(torch.cat([points[:, :2] * depth, depth], 1), self.viewmat)

    def rays(
        self, origins: Float[Tensor, "R 3"], directions: Float[Tensor, "R 3"]
    ) -> tuple[Float[Tensor, "R 3"], Float[Tensor, "R 3"]]:
        """Map rays into the cube; a ray of NDC starts on the near plane and goes from 0 to 1 (infinity).

        Args:
            origins: Places in the world.
            directions: Of any length; of NDC the reference camera must see them go away from it.
        """
        scale = 2 / (self.high - self.low)
        if not self.is_ndc:
            return (origins - self.low) * scale - 1, directions * scale
        o, d = to_camera(origins, self.viewmat), directions @ self.viewmat[:3, :3].T
        _, _, oz = o.split(1, 1)
        _, _, dz = d.split(1, 1)
        o = o + (self.near - oz) / dz * d
        unit = torch.eye(3, dtype=o.dtype, device=o.device)
        slopes = project(d, unit) - project(o, unit)
        bent = torch.cat([slopes, torch.full_like(slopes[:, :1], 2.0)], 1)
        return (disparity_of(o, self.near) - self.low) * scale - 1, bent * scale

    def distances(
        self, origins: Float[Tensor, "R 3"], directions: Float[Tensor, "R 3"], along: Float[Tensor, "R"]
    ) -> Float[Tensor, "R"]:
        """Return how far along rays, in lengths of their directions, places along :meth:`rays` are."""
        if not self.is_ndc:
            return along
        o, d = to_camera(origins, self.viewmat), directions @ self.viewmat[:3, :3].T
        return (self.near / (1 - along).clamp_min(1e-6) - o[:, 2]) / d[:, 2]


def disparity_of(points: Float[Tensor, "N 3"], near: float) -> Float[Tensor, "N 3"]:
    """Return normalised device coordinates x/z, y/z, 1 - 2 near/z of points in a camera's frame."""
    _, _, z = points.split(1, 1)
    unit = torch.eye(3, dtype=points.dtype, device=points.device)
    return torch.cat([project(points, unit), 1 - 2 * near / z], 1)


def is_forward_facing(camera_to_worlds: Float[Tensor, "C 3 4"]) -> bool:
    """Return whether all cameras look about the same way."""
    axes = camera_to_worlds[:, :, 2]
    mean = torch.nn.functional.normalize(axes.mean(0), dim=0)
    return bool((axes @ mean).clamp(-1, 1).arccos().max() < MAX_TURN)


def mean_viewmat(camera_to_worlds: Float[Tensor, "C 3 4"]) -> Float[Tensor, "4 4"]:
    """Return world to a camera in the middle of others that looks the mean way (x right, y down, z ahead)."""
    poses = camera_to_worlds.double()
    ahead = torch.nn.functional.normalize(-poses[:, :, 2].mean(0), dim=0)
    down = -poses[:, :, 1].mean(0)
    right = torch.nn.functional.normalize(torch.linalg.cross(down, ahead), dim=0)
    rotation = torch.stack([right, torch.linalg.cross(ahead, right), ahead])
    viewmat = torch.eye(4, dtype=torch.float64)
    viewmat[:3, :3], viewmat[:3, 3] = rotation, -rotation @ poses[:, :, 3].mean(0)
    return viewmat.to(camera_to_worlds)
