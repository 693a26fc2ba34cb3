"""Gaussians carried through time by a keyframe network and a velocity field."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.spatial import KDTree
from torch import Tensor, nn

from dyn3d_ns.fields.integrate import integrate, oriented_rate
from dyn3d_ns.fields.keyframe_motions import KeyframeMotions
from dyn3d_ns.fields.velocity import VelocityField
from dyn3d_ns.gaussians.colors import ColorWaves, carried_colors
from dyn3d_ns.gaussians.gaussians import Gaussians
from dyn3d_ns.gaussians.scene import GaussianScene, point_parameters
from dyn3d_ns.gaussians.seeds.points import SeedPoints, farthest_points
from dyn3d_ns.gaussians.skinning import apply_motions
from dyn3d_ns.geometry.rotations import quat_apply, quat_conjugate
from dyn3d_ns.timeline import TIME_EPS

MAX_KEPT_FRAMES = 240
"""Frames of the future that are kept in memory."""
SOLID = 0.1
"""Opacity from which on a Gaussian counts as matter that moves."""
NEIGHBOURS = 8
"""Gaussians that a point's velocity is taken from."""


class MotionState(NamedTuple):
    """Where the Gaussians are at one time."""

    means: Float[Tensor, "N 3"]
    quats: Float[Tensor, "N 4"]


def initial_parameters(
    seeds: SeedPoints,
    pivots: Float[Tensor, "K 3"],
    sh_degree: int,
    color_modes: int,
    opacity: float,
    max_scale: float,
) -> dict[str, Tensor]:
    """Make the per-Gaussian tensors from seed points, all at rest in the canonical time.

    Args:
        seeds: Positions and colours.
        pivots: Pivots of the motions; Gaussians start with a preference for the motion whose pivot is near.
        sh_degree: Degree of the view-dependent colour.
        color_modes: Functions of time that the base colour may follow.
        opacity: Starting opacity, in 0..1.
        max_scale: Largest starting standard deviation, world units.
    """
    n = len(seeds.positions)
    params = point_parameters(seeds, sh_degree, opacity, max_scale)
    spare = seeds.positions.new_zeros(n, 0)
    distances = torch.cdist(seeds.positions, pivots[1:]) if len(pivots) > 1 else spare
    nearness = -2.0 * (distances / distances.mean().clamp_min(1e-6)).square()
    params["motion_codes"] = torch.cat([torch.zeros(n, 1), nearness], dim=1)
    if color_modes:
        params["color_changes"] = torch.zeros(n, color_modes, 3)
    return params


def spread_pivots(points: Float[Tensor, "N 3"], count: int) -> Float[Tensor, "K 3"]:
    """Place the pivots of ``count`` motions: the centre for rest, then points that lie far apart."""
    sample = points[:: max(len(points) // 4000, 1)]
    return torch.cat([sample.mean(0, keepdim=True), farthest_points(sample, count - 1)])


class StoredCodes(nn.Module):
    """Motion codes kept with every Gaussian: soft weights over the motions."""

    def forward(self, params: nn.ParameterDict) -> Float[Tensor, "N K"]:
        """Return the weights, which add up to one."""
        return torch.softmax(params["motion_codes"], dim=-1)


class SharedMotions(nn.Module):
    """Deformation by the keyframe network: every Gaussian mixes the same few rigid motions.

    Points are blended linearly as in skinning, orientations by mixed quaternions.
    """

    def __init__(self, motions: KeyframeMotions) -> None:
        """Take the motions."""
        super().__init__()
        self.motions = motions

    def forward(self, params: nn.ParameterDict, codes: Float[Tensor, "N K"], t: float) -> MotionState:
        """Carry the canonical Gaussians to the observed time ``t``."""
        return MotionState(*apply_motions(codes, self.motions.table(t), params["means"], params["quats"]))


class CarriedScene(GaussianScene):
    """Gaussians in a canonical time, and what carries them to any other time.

    Up to ``t_obs`` the deformation places the canonical Gaussians; beyond it the velocity field carries them
    on.
    """

    def __init__(
        self,
        params: dict[str, Tensor],
        codes: nn.Module,
        deformation: nn.Module,
        velocity: VelocityField,
        t_obs: float,
        dt: float,
        waves: ColorWaves | None = None,
        turn_colors: bool = False,
    ) -> None:
        """Put the parts together.

        Args:
            params: Per-Gaussian tensors of :func:`initial_parameters`, each with N rows.
            codes: Maps the parameters to motion codes, ``codes(params) -> [N, K]``.
            deformation: Carries to observed times, ``deformation(params, codes, t) -> MotionState``.
            velocity: Velocity field with K twists.
            t_obs: Last time that the deformation is trusted at.
            dt: Spacing of the frames, the longest step of the integration.
            waves: What ``color_changes`` follow; None where colours do not change.
            turn_colors: Turn the view dependence with the orientations.
        """
        super().__init__(params)
        self.code_source = codes
        self.deformation = deformation
        self.velocity = velocity
        self.t_obs = t_obs
        self.dt = dt
        self.waves, self.turn_colors = waves, turn_colors
        self._future: list[MotionState] = []
        self.register_buffer("resting", torch.zeros(0, dtype=torch.bool))

    resting: Bool[Tensor, "N"]
    """Gaussians that were found to stay where they are; empty until that is known."""

    def at(self, t: float) -> Gaussians:
        """Return the scene at any time, with velocities, orientations of length one and what moves."""
        codes = self.codes()
        state = self.state_at(t, codes)
        known = len(self.resting) == len(self)
        return replace(
            self.gaussians_of(state, t),
            quats=torch.nn.functional.normalize(state.quats, dim=-1),
            velocities=self.velocity_of(state.means, t, codes),
            dynamic=~self.resting if known else torch.ones_like(state.means[:, 0], dtype=torch.bool),
        )

    def training_at(self, t: float, start: float | None = None) -> Gaussians:
        """Return the scene at an observed time with gradients.

        Args:
            t: Observed time.
            start: Time to deform to; from there the velocity field carries on to ``t``. None to deform to
                ``t`` itself.
        """
        codes = self.codes()
        if start is None:
            return self.gaussians_of(self.deform(t, codes), t)
        return self.gaussians_of(self.advect(self.deform(start, codes), start, t, codes), t)

    def gaussians_of(self, state: MotionState, t: float) -> Gaussians:
        """Return the Gaussians that lie as a state says, with the colours of a time."""
        return Gaussians(
            means=state.means,
            quats=state.quats,
            scales=self.scales,
            opacities=self.opacities,
            colors=self.colors_at(t, state.quats),
        )

    def colors_at(self, t: float, quats: Float[Tensor, "N 4"]) -> Float[Tensor, "N K 3"]:
        """Return the SH coefficients at a time, when the Gaussians lie as in ``quats``."""
        base, rest = self.params["features_dc"], self.params["features_rest"]
        if self.waves is None:
            changes, waves = rest.new_zeros(rest.shape[0], 0, 3), rest.new_zeros(0)
        else:
            changes, waves = self.params["color_changes"], self.waves.at(t, rest)
        return carried_colors(
            base, changes, rest, waves, (quats, self.params["quats"]) if self.turn_colors else None
        )

    @torch.no_grad()
    def velocity_at(self, points: Float[Tensor, "P 3"], t: float) -> Float[Tensor, "P 3"]:
        """Return the velocity of the matter at points of the scene, world units per unit of time.

        A point moves with the Gaussians around it: the field is evaluated at the point with the codes of the
        nearest ones, weighted by their opacity and their density at the point.
        """
        codes, gaussians = self.codes(), self.at(t)
        solid = torch.nonzero(gaussians.opacities > SOLID)[:, 0]
        if len(solid) == 0:
            return torch.zeros_like(points)
        neighbours = min(NEIGHBOURS, len(solid))
        tree = KDTree(gaussians.means[solid].cpu().numpy())
        found = np.reshape(tree.query(points.cpu().numpy(), k=neighbours)[1], (len(points), -1))
        index = solid[torch.from_numpy(found).to(solid)]
        offsets = points[:, None] - gaussians.means[index]
        axes = gaussians.scales[index].clamp_min(1e-4)
        local = quat_apply(quat_conjugate(gaussians.quats[index]), offsets) / axes
        weights = torch.softmax(-0.5 * local.square().sum(-1) + gaussians.opacities[index].log(), dim=1)
        spread = points[:, None].expand_as(offsets).reshape(-1, 3)
        velocity = self.velocity(spread, t, codes[index].flatten(0, 1)).view_as(offsets)
        velocity = velocity * gaussians.moving[index][..., None]
        return (weights[..., None] * velocity).sum(1)

    def codes(self) -> Float[Tensor, "N K"]:
        """Return the motion code of every Gaussian."""
        return self.code_source(self.params)

    @torch.no_grad()
    def freeze_static(self, times: Sequence[float], threshold: float) -> int:
        """Keep every Gaussian for good that stays within ``threshold`` of its canonical place.

        Args:
            times: Observed times to look at.
            threshold: Distance in world units.

        Returns:
            The number of Gaussians at rest.
        """
        self.resting = torch.zeros(len(self), dtype=torch.bool, device=self.resting.device)
        codes, means = self.codes(), self.params["means"]
        reach = torch.stack([(self.deform(t, codes).means - means).norm(dim=-1) for t in times]).amax(0)
        self.resting = reach < threshold
        return int(self.resting.sum())

    def _hold_resting(self, state: MotionState) -> MotionState:
        """Put the Gaussians at rest back to their canonical place, once it is known which they are."""
        if len(self.resting) != len(self) or not bool(self.resting.any()):
            return state
        rest, params = self.resting[:, None], self.params
        means = torch.where(rest, params["means"], state.means)
        quats = torch.where(rest, params["quats"], state.quats)
        return state._replace(means=means, quats=quats)

    def velocity_of(
        self, x: Float[Tensor, "N 3"], t: float, codes: Float[Tensor, "N K"]
    ) -> Float[Tensor, "N 3"]:
        """Evaluate the velocity field at points that move with the Gaussians; 0 for those at rest."""
        velocity = self.velocity(x, t, codes)
        return velocity * ~self.resting[:, None] if len(self.resting) == len(self) else velocity

    def deform(self, t: float, codes: Float[Tensor, "N K"]) -> MotionState:
        """Carry the canonical Gaussians to the observed time ``t``."""
        return self._hold_resting(self.deformation(self.params, codes, t))

    def advect(
        self,
        state: MotionState,
        t0: float,
        t1: float,
        codes: Float[Tensor, "N K"],
        max_step: float | None = None,
    ) -> MotionState:
        """Carry Gaussians from ``t0`` to ``t1`` along the velocity field, orientations included (midpoint
        rule).

        Steps are at most ``max_step`` long, by default the spacing of the frames.
        """
        rate = oriented_rate(lambda t: self.velocity.coefficients(t, codes))
        moved = integrate(rate, torch.cat([state.means, state.quats], dim=1), t0, t1, max_step or self.dt)
        return self._hold_resting(state._replace(means=moved[:, :3], quats=moved[:, 3:]))

    def state_at(self, t: float, codes: Float[Tensor, "N K"]) -> MotionState:
        """Carry the Gaussians to any time: deformed up to ``t_obs``, advected from there frame by frame.

        Without gradients the frames of the future are kept until :meth:`forget`, so that each is
        integrated once.
        """
        if t <= self.t_obs + TIME_EPS:
            return self.deform(t, codes)
        if torch.is_grad_enabled():
            return self.advect(self.deform(self.t_obs, codes), self.t_obs, t, codes)
        frame = min(math.floor((t - self.t_obs) / self.dt + TIME_EPS), MAX_KEPT_FRAMES)
        if not self._future:
            self._future.append(self.deform(self.t_obs, codes))
        for i in range(len(self._future) - 1, frame):
            start = self.t_obs + i * self.dt
            self._future.append(self.advect(self._future[i], start, start + self.dt, codes))
        return self.advect(self._future[frame], self.t_obs + frame * self.dt, t, codes)

    def forget(self) -> None:
        """Drop the kept frames of the future, as after a change of the parameters."""
        self._future.clear()

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Resize what is known of the Gaussians at rest as well."""
        resting = state_dict.get(f"{prefix}resting")
        if resting is not None:
            self.resting = torch.zeros_like(resting, device=self.resting.device)
        super()._load_from_state_dict(state_dict, prefix, *args)
