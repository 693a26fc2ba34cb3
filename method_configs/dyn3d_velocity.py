"""``dyn3d-velocity`` and its presets.

``dyn3d-velocity`` is for a GPU, ``dyn3d-velocity-fast`` for two CPU cores and minutes,
``dyn3d-velocity-paper`` keeps FreeGave's networks and schedule.
"""

from nerfstudio.plugins.types import MethodSpecification

from dyn3d_ns.data.datamanager import DynamicDataManagerConfig
from dyn3d_ns.engine.optimizers import FusedAdamConfig, HoldThenDecayConfig
from dyn3d_ns.engine.pipeline import DynamicPipelineConfig
from dyn3d_ns.engine.trainer import DynamicTrainerConfig
from dyn3d_ns.models.freegave import Dyn3DVelocityPaperModelConfig
from dyn3d_ns.models.velocity import Dyn3DVelocityModelConfig

LEARNING_RATES = {
    "means": 1.6e-3,
    "scales": 8e-3,
    "quats": 3e-3,
    "opacities": 3e-2,
    "features_dc": 6e-3,
    "features_rest": 1.2e-3,
    "motion_codes": 5e-2,
    "color_changes": 3e-3,
    "motions": 4e-3,
    "velocity": 1e-3,
}
"""Starting learning rates of the fast preset, one per parameter group."""


def optimizers(rates: dict[str, float], hold: float, final: float) -> dict[str, dict]:
    """Give every group its Adam, held for a part of the steps and then decaying to ``final`` of its rate."""
    return {
        name: {
            "optimizer": FusedAdamConfig(lr=rate, eps=1e-15),
            "scheduler": HoldThenDecayConfig(hold=hold, final=final),
        }
        for name, rate in rates.items()
    }


def trainer(name: str, steps: int, model: Dyn3DVelocityModelConfig, rates: dict[str, float], final: float):
    """Put a preset together: the same data, pipeline and viewer for each."""
    return DynamicTrainerConfig(
        method_name=name,
        max_num_iterations=steps,
        steps_per_save=2000,
        steps_per_eval_image=0,
        steps_per_eval_batch=0,
        steps_per_eval_all_images=0,
        pipeline=DynamicPipelineConfig(datamanager=DynamicDataManagerConfig(), model=model),
        cpu_alternative="" if name.endswith("-fast") else "dyn3d-velocity-fast",
        optimizers=optimizers(rates, model.curriculum_part, final),
    )


dyn3d_velocity = MethodSpecification(
    config=trainer(
        "dyn3d-velocity",
        30_000,
        Dyn3DVelocityModelConfig(
            max_gaussians=100_000, num_motions=24, keyframes=8, sh_degree=3, ssim_weight=0.2
        ),
        LEARNING_RATES,
        final=0.02,
    ),
    description="Gaussians carried by a keyframe network and a velocity field; predicts the future (GPU).",
)
dyn3d_velocity_fast = MethodSpecification(
    config=trainer(
        "dyn3d-velocity-fast",
        12_000,
        Dyn3DVelocityModelConfig(max_gaussians=18_000),
        LEARNING_RATES,
        final=0.02,
    ),
    description="dyn3d-velocity with 18k Gaussians: two CPU cores, minutes.",
)

PAPER_RATES = {
    "means": 1.6e-4,
    "scales": 5e-3,
    "quats": 1e-3,
    "opacities": 5e-2,
    "features_dc": 2.5e-3,
    "features_rest": 1.25e-4,
    "networks": 8e-4,
}
"""FreeGave's learning rates."""

dyn3d_velocity_paper = MethodSpecification(
    config=trainer(
        "dyn3d-velocity-paper",
        40_000,
        Dyn3DVelocityPaperModelConfig(
            max_gaussians=50_000, sh_degree=3, ssim_weight=0.2, densify="default", half_resolution_part=0.0
        ),
        PAPER_RATES,
        final=0.002,
    ),
    description="FreeGave's networks and schedule, for comparison (GPU).",
)
