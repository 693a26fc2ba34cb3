"""``dyn3d-velocity-paper``: FreeGave's networks, curriculum and losses on our rasteriser (CVPR 2025)."""

from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dyn3d_ns.fields.freegave import CodeNetwork, DeformationNetwork, NeckVelocityField
from dyn3d_ns.gaussians.carried import CarriedGaussians, MotionState, initial_parameters
from dyn3d_ns.gaussians.seeds.points import SeedPoints
from dyn3d_ns.models.velocity import Dyn3DVelocityModel, Dyn3DVelocityModelConfig


@dataclass
class Dyn3DVelocityPaperModelConfig(Dyn3DVelocityModelConfig):
    """Settings of FreeGave."""

    _target: type = field(default_factory=lambda: Dyn3DVelocityPaperModel)
    """Target class to instantiate."""
    code_size: int = 16
    """Numbers in a motion code: 16 for objects, 32 for rooms in the paper."""
    num_motions: int = 16
    """Motion modes that a code mixes."""
    color_modes: int = 0
    """Colours do not follow time in the paper."""
    turn_colors: bool = False
    """View dependence stays in the world's frame in the paper."""
    opacity_weight: float = 0.0
    """The paper's only loss is that of the images."""
    canonical_part: float = 0.075
    """Part of the training that sees only the first frame (3,000 of 40,000 steps)."""
    curriculum_part: float = 0.25
    """Part of the training by the end of which all observed times are seen (10,000 of 40,000 steps)."""
    advect_probability: float = 1.0
    """Every step deforms to a neighbouring time and advects from there."""
    deform_frames: int = 3
    """Frames before the last observed one at which the deformation ends and the velocity field takes over."""
    freeze_distance: float = 0.01
    """Gaussians that stay within this distance, world units, are frozen."""


class NetworkDeformation(nn.Module):
    """The auxiliary deformation network as a deformation of :class:`CarriedGaussians`."""

    def __init__(self, code_size: int) -> None:
        """Build the network for codes of ``code_size`` numbers."""
        super().__init__()
        self.network = DeformationNetwork(code_size)

    def forward(self, params: nn.ParameterDict, codes: Float[Tensor, "N L"], t: float) -> MotionState:
        """Carry the canonical Gaussians to the time ``t``; scales change too."""
        shift, turn, growth = self.network(params["means"], codes, t)
        return MotionState(params["means"] + shift, params["quats"] + turn, 1.0 + growth)


class Dyn3DVelocityPaperModel(Dyn3DVelocityModel):
    """FreeGave: codes predicted from positions, a deformation network, and a velocity field of time
    networks."""

    config: Dyn3DVelocityPaperModelConfig

    def _canonical_index(self, observed: int) -> int:
        return 0

    def _build_scene(self, seeds: SeedPoints) -> None:
        c = self.config
        extent = float((self.scene_box.aabb[1] - self.scene_box.aabb[0]).norm())
        params = initial_parameters(
            seeds, seeds.positions[:1], c.sh_degree, color_modes=0, opacity=0.1, max_scale=0.03 * extent
        )
        del params["motion_codes"], params["color_changes"]
        horizon = self.observed_times[max(len(self.observed_times) - 1 - c.deform_frames, 0)]
        self.scene = CarriedGaussians(
            params,
            CodeNetwork(c.code_size),
            NetworkDeformation(c.code_size),
            NeckVelocityField(c.code_size, c.num_motions),
            horizon,
            self.timeline.dt,
        )

    def get_param_groups(self) -> dict[str, list[nn.Parameter]]:
        """Return one group per Gaussian tensor, and one of all networks."""
        groups = {name: [parameter] for name, parameter in self.scene.params.items()}
        parts = (self.scene.code_source, self.scene.deformation, self.scene.velocity)
        return groups | {"networks": [p for part in parts for p in part.parameters()]}

    def _training_state(self, t: float, codes: Tensor) -> MotionState:
        """Deform to a neighbouring time and advect to ``t``; past the horizon, deform to it and take one
        step."""
        first, horizon, dt = self.observed_times[0], self.scene.t_obs, self.timeline.dt
        if self.step < self.config.canonical_part * self.total_steps:
            params = self.scene.params
            return MotionState(params["means"], params["quats"])
        if t > horizon:
            return self.scene.advect(
                self.scene.deform(horizon, codes), horizon, t, codes, max_step=t - horizon
            )
        start = min(max(t + (dt if torch.rand(()) < 0.5 else -dt), first), horizon)
        return self.scene.advect(self.scene.deform(start, codes), start, t, codes)

    def get_loss_dict(
        self, outputs: dict[str, Any], batch: dict[str, Any], metrics_dict: dict[str, Any] | None = None
    ) -> dict[str, Tensor]:
        """Return FreeGave's only loss, ``0.8 L1 + 0.2 (1 - SSIM)``."""
        return {"image": self.image_loss(outputs, batch)}

    def _settle_motion(self) -> list[str]:
        """Nothing is fitted after training: the velocity field was learned from the images."""
        return []
