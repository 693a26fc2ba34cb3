"""Gaussians carried through time by a keyframe network and a velocity field."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from dyn3d_ns.fields.integrate import integrate, oriented_rate
from dyn3d_ns.fields.keyframe_motions import KeyframeMotions
from dyn3d_ns.fields.velocity import VelocityField
from dyn3d_ns.gaussians.seeds.points import SH_C0, SeedPoints, farthest_points, neighbour_distance
from dyn3d_ns.gaussians.skinning import apply_motions
from dyn3d_ns.timeline import TIME_EPS

MAX_KEPT_FRAMES = 240
"""Frames of the future that are kept in memory."""


class MotionState(NamedTuple):
    """Where the Gaussians are at one time."""

    means: Float[Tensor, "N 3"]
    quats: Float[Tensor, "N 4"]
    scale_factors: Float[Tensor, "N 3"] | None = None
    """Change of the standard deviations, where the deformation has one."""


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
    n, num_motions = len(seeds.positions), len(pivots)
    scales = neighbour_distance(seeds.positions).clamp(1e-5, max_scale)
    distances = (
        torch.cdist(seeds.positions, pivots[1:]) if num_motions > 1 else seeds.positions.new_zeros(n, 0)
    )
    nearness = -2.0 * (distances / distances.mean().clamp_min(1e-6)).square()
    quats = torch.zeros(n, 4)
    quats[:, 0] = 1.0
    return {
        "means": seeds.positions.clone(),
        "scales": scales.log()[:, None].repeat(1, 3),
        "quats": quats,
        "opacities": torch.full((n, 1), math.log(opacity / (1 - opacity))),
        "features_dc": (seeds.colors - 0.5) / SH_C0,
        "features_rest": torch.zeros(n, (sh_degree + 1) ** 2 - 1, 3),
        "motion_codes": torch.cat([torch.zeros(n, 1), nearness], dim=1),
        "color_changes": torch.zeros(n, color_modes, 3),
    }


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


class CarriedGaussians(nn.Module):
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
    ) -> None:
        """Put the parts together.

        Args:
            params: Per-Gaussian tensors of :func:`initial_parameters`, each with N rows.
            codes: Maps the parameters to motion codes, ``codes(params) -> [N, K]``.
            deformation: Carries to observed times, ``deformation(params, codes, t) -> MotionState``.
            velocity: Velocity field with K twists.
            t_obs: Last time that the deformation is trusted at.
            dt: Spacing of the frames, the longest step of the integration.
        """
        super().__init__()
        self.params = nn.ParameterDict({name: nn.Parameter(value) for name, value in params.items()})
        self.code_source = codes
        self.deformation = deformation
        self.velocity = velocity
        self.t_obs = t_obs
        self.dt = dt
        self._future: list[MotionState] = []
        self.register_buffer("resting", torch.zeros(0, dtype=torch.bool))

    resting: Bool[Tensor, "N"]
    """Gaussians that were found to stay where they are; empty until that is known."""

    def __len__(self) -> int:
        return self.params["means"].shape[0]

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

        Without gradients the frames of the future are kept until :meth:`forget_future`, so that each is
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

    def forget_future(self) -> None:
        """Drop the kept frames of the future, as after a change of the parameters."""
        self._future.clear()
