"""What Gaussian methods share that carry a canonical scene through time and go on along a velocity field."""

from dataclasses import dataclass, field, replace

import numpy as np
import torch
from jaxtyping import Float
from nerfstudio.utils.rich_utils import CONSOLE
from torch import Tensor

from dyn3d_ns.engine.schedule import Phase, fixed_window, widening_window
from dyn3d_ns.gaussians.carried import CarriedScene
from dyn3d_ns.models.gaussian_model import GaussianModel, GaussianModelConfig


@dataclass
class CarriedModelConfig(GaussianModelConfig):
    """Settings of methods that carry a canonical scene."""

    _target: type = field(default_factory=lambda: CarriedModel)
    """Target class to instantiate."""
    canonical_part: float = 0.08
    """Part of the training that sees only the canonical time."""
    curriculum_part: float = 0.35
    """Part of the training by the end of which the allowed times have widened to all observed ones."""
    freeze_distance: float = 0.001
    """Gaussians that stay within this fraction of the scene's extent are frozen at the end."""


class CarriedModel(GaussianModel):
    """Gaussians of a canonical time, carried to any other."""

    config: CarriedModelConfig
    scene: CarriedScene

    def phases(self) -> list[Phase]:
        """Return the curriculum: the canonical time, then wider and wider around it, then all times."""
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
        return kept

    @staticmethod
    def split_at(phases: list[Phase], part: float) -> list[Phase]:
        """Return phases that render at half resolution up to a part of the training."""
        halved: list[Phase] = []
        start = 0.0
        for phase in phases:
            if start < part < phase.until:
                halved.append(replace(phase, name=f"{phase.name}, half size", until=part, downscale=2))
                halved.append(phase)
            else:
                halved.append(replace(phase, downscale=2) if phase.until <= part else phase)
            start = phase.until
        return halved

    def neighbouring_time(self, t: float, last: float) -> float:
        """Return the time of the frame before or after, drawn evenly, within the observed time."""
        step = self.timeline.dt if torch.rand(()).item() < 0.5 else -self.timeline.dt
        return min(max(t + step, self.observed_times[0]), last)

    def settle_motion(self) -> None:
        """Do what sets the motion's continuation at the end; nothing by default."""

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
