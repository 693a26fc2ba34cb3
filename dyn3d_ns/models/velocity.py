"""``dyn3d-velocity``: Gaussians carried by a keyframe network and a velocity field.

Observed times are reached by deforming the canonical Gaussians with shared rigid motions of time (the
keyframe network), the future by integrating a velocity field of rigid twists. The field is trained by
FreeGave's deform-then-advect step, and set by least squares to the learned motions' rates, with the
continuation that back-testing prefers.
"""

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import cast

import numpy as np
import torch
from jaxtyping import Float
from nerfstudio.utils.rich_utils import CONSOLE
from torch import Tensor, nn

from dyn3d_ns.engine.schedule import Phase, fixed_window, halved_until, widening_window
from dyn3d_ns.fields.continuation import MAX_DEGREE
from dyn3d_ns.fields.keyframe_motions import KeyframeMotions
from dyn3d_ns.fields.time_basis import TimeBasis
from dyn3d_ns.fields.velocity import BasisVelocityField
from dyn3d_ns.fields.velocity_fit import fit_velocity
from dyn3d_ns.gaussians import Gaussians
from dyn3d_ns.gaussians.carried import (
    CarriedScene,
    SharedMotions,
    StoredCodes,
    initial_parameters,
    spread_pivots,
)
from dyn3d_ns.gaussians.colors import ColorWaves
from dyn3d_ns.gaussians.seeds.points import SeedPoints
from dyn3d_ns.models.gaussian_model import GaussianModel, GaussianModelConfig


@dataclass
class Dyn3DVelocityModelConfig(GaussianModelConfig):
    """Settings of the Gaussian method with shared rigid motions."""

    _target: type = field(default_factory=lambda: Dyn3DVelocityModel)
    """Target class to instantiate."""
    num_motions: int = 16
    """Rigid motions that the Gaussians share, rest included."""
    keyframes: int = 6
    """Spline intervals over the observed time, for what a cubic polynomial of time cannot follow."""
    color_modes: int = 3
    """Cosines of time that the base colour may follow; 0 for colours that do not change."""
    turn_colors: bool = True
    """Turn the view dependence with the matter, so that a side keeps its colour as it comes round."""
    canonical_part: float = 0.08
    """Part of the training that sees only the canonical time."""
    curriculum_part: float = 0.35
    """Part of the training by the end of which the allowed times have widened to all observed ones."""
    freeze_distance: float = 0.001
    """Gaussians that stay within this fraction of the scene's extent are frozen at the end."""
    half_resolution_part: float = 0.3
    """Part of the training that renders at half resolution."""
    advect_probability: float = 0.1
    """Share of the steps that deform to a neighbouring time and move on from there with the velocity
    field."""
    jerk_weight: float = 1e-2
    """Weight of the motions' third derivative (world units and radians, half of the observed time as the
    unit)."""
    opacity_weight: float = 3e-3
    """Weight of the mean opacity (3DGS-MCMC, equation 10); what no camera sees fades and is relocated."""
    holdout: float = 0.25
    """Part of the observed time that is predicted to choose each motion's continuation."""


class Dyn3DVelocityModel(GaussianModel):
    """Gaussians carried by shared rigid motions and a velocity field of twists."""

    config: Dyn3DVelocityModelConfig
    scene: CarriedScene

    def make_scene(self, seeds: SeedPoints) -> CarriedScene:
        """Build the motions around the seed points."""
        c, t_min, t_obs = self.config, self.observed_times[0], self.timeline.t_obs
        pivots = spread_pivots(seeds.positions, c.num_motions)
        params = initial_parameters(
            seeds, pivots, c.sh_degree, c.color_modes, opacity=0.3, max_scale=0.03 * self.extent
        )
        basis = TimeBasis(self.canonical_time, t_min, t_obs, degrees=(1, 2, 3), keyframes=c.keyframes)
        degrees = tuple(range(MAX_DEGREE + 1))
        rates = TimeBasis(
            self.canonical_time, t_min, t_obs, degrees, 2 * c.keyframes, anchored=False, vanishing=True
        )
        return CarriedScene(
            params,
            StoredCodes(),
            SharedMotions(KeyframeMotions(basis, pivots)),
            BasisVelocityField(rates, c.num_motions),
            t_obs,
            self.timeline.dt,
            ColorWaves(c.color_modes, t_min, t_obs) if c.color_modes else None,
            c.turn_colors,
        )

    @property
    def motions(self) -> KeyframeMotions:
        """The keyframe network."""
        return cast(SharedMotions, self.scene.deformation).motions

    def network_groups(self) -> dict[str, list[nn.Parameter]]:
        """Return the motions and the velocity field."""
        return {
            "motions": list(self.motions.parameters()),
            "velocity": list(self.scene.velocity.parameters()),
        }

    def phases(self) -> list[Phase]:
        """Return the curriculum: the canonical time, then wider and wider around it, then all times.

        Its first part renders at half resolution.
        """
        c, center = self.config, self.canonical_time
        first, last = self.observed_times[0], self.timeline.t_obs
        widening = widening_window(center, first, last, c.canonical_part, c.curriculum_part)
        phases = [
            Phase("canonical", c.canonical_part, fixed_window(center, center)),
            Phase("widening", c.curriculum_part, widening),
            Phase("all", 1.0, fixed_window(first, last)),
        ]
        kept: list[Phase] = []
        for phase in phases:
            until = min(phase.until, 1.0)
            if until > (kept[-1].until if kept else 0.0):
                kept.append(replace(phase, until=until))
        return halved_until(kept, c.half_resolution_part)

    def training_gaussians(self, t: float) -> Gaussians:
        """Deform to ``t``; in some steps deform to a neighbouring frame and advect from there (FreeGave,
        section 3.3)."""
        draw, canonical = torch.rand(()).item(), self.schedule.at(self.step).name.startswith("canonical")
        if draw >= self.config.advect_probability or canonical:
            return self.scene.training_at(t)
        return self.scene.training_at(t, self.neighbouring_time(t))

    def neighbouring_time(self, t: float) -> float:
        """Return the time of the frame before or after, drawn evenly, within the observed time."""
        step = self.timeline.dt if torch.rand(()).item() < 0.5 else -self.timeline.dt
        return min(max(t + step, self.observed_times[0]), self.timeline.t_obs)

    def regularizers(self, gaussians: Gaussians) -> dict[str, Float[Tensor, ""]]:
        """Return the motions' jerk and the mean opacity."""
        c, losses = self.config, {}
        if c.jerk_weight:
            losses["jerk"] = self.motions.jerk(c.jerk_weight)
        if c.opacity_weight:
            losses["opacity"] = c.opacity_weight * gaussians.opacities.mean()
        return losses

    @torch.no_grad()
    def finish(self) -> None:
        """Freeze what rests, settle the motion, and note the speed that fast parts have."""
        times = list(np.linspace(self.observed_times[0], self.timeline.t_obs, 13))
        resting = self.scene.freeze_static(times, self.config.freeze_distance * self.extent)
        CONSOLE.log(f"{resting} of {len(self.scene)} Gaussians are at rest")
        self.settle_motion()
        speeds = torch.stack([self.gaussians_at(t).motion.norm(dim=-1).quantile(0.98) for t in times[::4]])
        self.top_speed.fill_(speeds.max())

    def velocity_at(self, points: Float[Tensor, "P 3"], time: float) -> Float[Tensor, "P 3"]:
        """Return the velocity of the matter at points of the scene, world units per unit of time."""
        return self.scene.velocity_at(points, time)

    @torch.no_grad()
    def settle_motion(self) -> None:
        """Fit the velocity field to the motions by least squares, and say how each motion goes on."""
        points, mass = self.scene.params["means"], self.scene.opacities
        field = cast(BasisVelocityField, self.scene.velocity)
        chosen = fit_velocity(field, self.motions, points, self.scene.codes(), mass, self.config.holdout)
        kinds = Counter(c.candidate.describe() for c in chosen).most_common()
        worst = max((c.error for c in chosen), default=0.0) / self.world.scale
        CONSOLE.log(
            f"{len(chosen)} motions go on, back-tested to within {worst:.3g} units of the data:\n"
            + "\n".join(f"  {count} x {kind}" for kind, count in kinds)
        )
