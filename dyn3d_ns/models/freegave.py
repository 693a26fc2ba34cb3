"""``dyn3d-freegave``: FreeGave's networks, curriculum and loss on our rasteriser (CVPR 2025)."""

from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Float
from torch import nn

from dyn3d_ns.fields.freegave import CodeNetwork, DeformationNetwork, NeckVelocityField
from dyn3d_ns.gaussians import Gaussians
from dyn3d_ns.gaussians.carried import CarriedScene, MotionState, initial_parameters
from dyn3d_ns.gaussians.seeds.points import SeedPoints
from dyn3d_ns.models.carried_model import CarriedModel, CarriedModelConfig


@dataclass
class FreeGaveModelConfig(CarriedModelConfig):
    """Settings of FreeGave; the defaults are the paper's."""

    _target: type = field(default_factory=lambda: FreeGaveModel)
    """Target class to instantiate."""
    sh_degree: int = 3
    """Degree of the view-dependent colour, 0 to 3."""
    densify: Literal["mcmc", "default", "none"] = "default"
    """Densification strategy of gsplat; the paper splits, clones and prunes by gradient."""
    ssim_weight: float = 0.2
    """Weight of structural dissimilarity beside the absolute error, 0..1."""
    code_size: int = 16
    """Numbers in a motion code: 16 for objects, 32 for rooms in the paper."""
    num_motions: int = 16
    """Motion modes that a code mixes."""
    canonical_part: float = 0.075
    """Part of the training that sees only the first frame (3,000 of 40,000 steps)."""
    curriculum_part: float = 0.25
    """Part of the training by the end of which all observed times are seen (10,000 of 40,000 steps)."""
    deform_frames: int = 3
    """Frames before the last observed one at which the deformation ends and the velocity field takes over."""


class NetworkDeformation(nn.Module):
    """The auxiliary deformation network as a deformation of :class:`CarriedScene`."""

    def __init__(self, code_size: int) -> None:
        """Build the network for codes of ``code_size`` numbers."""
        super().__init__()
        self.network = DeformationNetwork(code_size)

    def forward(self, params: nn.ParameterDict, codes: Float[torch.Tensor, "N L"], t: float) -> MotionState:
        """Carry the canonical Gaussians to the time ``t``; scales change too."""
        shift, turn, growth = self.network(params["means"], codes, t)
        return MotionState(params["means"] + shift, params["quats"] + turn, 1.0 + growth)


class FreeGaveModel(CarriedModel):
    """FreeGave: codes predicted from positions, a deformation network, and a velocity field of time
    networks."""

    config: FreeGaveModelConfig

    def choose_canonical_index(self) -> int:
        """Return the first frame, the paper's canonical time."""
        return 0

    def make_scene(self, seeds: SeedPoints) -> CarriedScene:
        """Build the networks; codes are predicted, colours follow no time."""
        c = self.config
        horizon = self.observed_times[max(len(self.observed_times) - 1 - c.deform_frames, 0)]
        return CarriedScene(
            initial_parameters(seeds, None, c.sh_degree, 0, opacity=0.1, max_scale=0.03 * self.extent),
            CodeNetwork(c.code_size),
            NetworkDeformation(c.code_size),
            NeckVelocityField(c.code_size, c.num_motions),
            horizon,
            self.timeline.dt,
        )

    def network_groups(self) -> dict[str, list[nn.Parameter]]:
        """Return one group of all networks."""
        parts = (self.scene.code_source, self.scene.deformation, self.scene.velocity)
        return {"networks": [p for part in parts for p in part.parameters()]}

    def training_gaussians(self, t: float) -> Gaussians:
        """Deform to a neighbouring time and advect to ``t``; past the horizon, deform to it and take one
        step."""
        scene, horizon = self.scene, self.scene.t_obs
        if self.schedule.at(self.step).name == "canonical":
            return scene.gaussians_of(MotionState(scene.params["means"], scene.params["quats"]), t)
        if t > horizon:
            return scene.training_at(t, horizon, max_step=t - horizon)
        return scene.training_at(t, self.neighbouring_time(t, horizon))
