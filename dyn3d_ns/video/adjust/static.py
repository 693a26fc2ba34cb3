"""Adjust cameras and static points together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dyn3d_ns.geometry.cameras import from_pixels, seen_from, to_pixels
from dyn3d_ns.geometry.rotations import so3_exp
from dyn3d_ns.video.adjust.descent import Descent, DescentResult, descend
from dyn3d_ns.video.adjust.energies import NEAREST, rotation_smoothness, translation_smoothness
from dyn3d_ns.video.adjust.sample_energies import reprojection_and_depth, seen_by
from dyn3d_ns.video.adjust.settings import EnergyWeights


@dataclass(frozen=True)
class Samples:
    """Where points were seen: one entry a frame and point."""

    frames: Int[Tensor, "S"]
    points: Int[Tensor, "S"]
    pixels: Float[Tensor, "S 2"]
    depth: Float[Tensor, "S"]
    """Planar z of the depth map under the sample; 0 where not known."""


@dataclass(frozen=True)
class CameraState:
    """Cameras of the clip; principal points are fixed."""

    rotations: Float[Tensor, "F 3 3"]
    """Camera to world."""
    centers: Float[Tensor, "F 3"]
    focal: Float[Tensor, "F 2"]
    """Focal lengths x and y in pixels."""
    center: Float[Tensor, "F 2"]

    def project(
        self, points: Float[Tensor, "S 3"], frames: Int[Tensor, "S"]
    ) -> tuple[Float[Tensor, "S 2"], Float[Tensor, "S"]]:
        """Return the pixels and the planar z of world points in the cameras of their frames."""
        at = seen_from(points, self.rotations[frames], self.centers[frames])
        return to_pixels(at, self.focal[frames], self.center[frames], NEAREST), at[:, 2]


def back_project(cameras: CameraState, samples: Samples) -> Float[Tensor, "S 3"]:
    """Return the world positions of samples at the depth of their maps."""
    focal, center = cameras.focal[samples.frames], cameras.center[samples.frames]
    local = from_pixels(samples.pixels, samples.depth, focal, center)
    turned = torch.einsum("sij,sj->si", cameras.rotations[samples.frames], local)
    return turned + cameras.centers[samples.frames]


def mean_points(cameras: CameraState, samples: Samples, count: int) -> tuple[Tensor, Bool[Tensor, "N"]]:
    """Return each point's mean back-projection, and whether it has any sample with depth."""
    known = samples.depth > 0
    world = back_project(cameras, samples)[known]
    ids = samples.points[known]
    total = world.new_zeros(count, 3).index_add(0, ids, world)
    number = world.new_zeros(count).index_add(0, ids, torch.ones_like(world[:, 0]))
    return total / number.clamp_min(1.0)[:, None], number > 0


def adjust_static(
    cameras: CameraState,
    points: Float[Tensor, "N 3"],
    samples: Samples,
    weights: EnergyWeights,
    descent: Descent,
    pose_rate: float = 1e-2,
    focal_rate: float = 1e-4,
    free_focal: bool = True,
    smooth: float = 1.0,
) -> tuple[CameraState, Float[Tensor, "N 3"], DescentResult]:
    """Minimise reprojection, smoothness of the path and the depth prior over poses, points and focal lengths.

    The first camera stays. All focal lengths change by one factor; `focal_rate` is relative to them.
    `smooth` weighs the path's smoothness where the weights leave that open.
    """
    smooth_translation, smooth_rotation = weights.smoothness(smooth)
    turn = torch.zeros_like(cameras.centers).requires_grad_()
    shift = torch.zeros_like(cameras.centers).requires_grad_()
    moved = points.detach().clone().requires_grad_()
    zoom = torch.zeros_like(cameras.focal[0]).requires_grad_()
    held = torch.ones(len(turn), 1).to(points)
    held[0] = 0.0

    def state() -> CameraState:
        rotations = cameras.rotations @ so3_exp(turn * held)
        return CameraState(
            rotations, cameras.centers + shift * held, cameras.focal * zoom.exp(), cameras.center
        )

    seen = seen_by(
        samples.frames, samples.points, samples.pixels, weights.reprojection, samples.depth, weights.depth
    )

    def energy() -> Tensor:
        now = state()
        total = reprojection_and_depth(moved, now.rotations, now.centers, now.focal, now.center, seen)
        if smooth_translation:
            total = total + smooth_translation * translation_smoothness(now.centers)
        return total + smooth_rotation * rotation_smoothness(now.rotations) if smooth_rotation else total

    groups = [([turn, shift, moved], pose_rate)]
    if free_focal:
        groups.append(([zoom], focal_rate))
    result = descend(energy, groups, descent)
    with torch.no_grad():
        final = state()
    return final, moved.detach(), result


def isolated(
    points: Float[np.ndarray, "N 3"], neighbours: int = 5, part: float = 0.02
) -> Bool[np.ndarray, "N"]:
    """Return the given part of the points that lies furthest from its nearest neighbours."""
    from scipy.spatial import KDTree

    if len(points) <= neighbours + 1:
        return np.zeros(len(points), bool)
    distance, _ = KDTree(points).query(points, k=neighbours + 1)
    spread = (distance[:, 1:] ** 2).mean(1)
    return spread > np.quantile(spread, 1.0 - part)
