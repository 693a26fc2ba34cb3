"""``dyn3d-velocity-planes`` (the paper's settings, for a GPU) and ``dyn3d-velocity-planes-fast``."""

from nerfstudio.plugins.types import MethodSpecification

from dyn3d_ns.data.rays import RayDataManagerConfig
from dyn3d_ns.engine.optimizers import FusedAdamConfig, HoldThenDecayConfig
from dyn3d_ns.engine.pipeline import DynamicPipelineConfig
from dyn3d_ns.engine.trainer import DynamicTrainerConfig
from dyn3d_ns.models.planes.config import Dyn3DVelocityPlanesModelConfig


def trainer(
    name: str,
    steps: int,
    rays: int,
    model: Dyn3DVelocityPlanesModelConfig,
    rates: dict[str, float],
    hold: float,
    final: float,
) -> DynamicTrainerConfig:
    """Put a preset together; rates hold until the last refinement of the planes and decay after it."""
    return DynamicTrainerConfig(
        method_name=name,
        max_num_iterations=steps,
        steps_per_save=2000,
        steps_per_eval_image=0,
        steps_per_eval_batch=0,
        steps_per_eval_all_images=0,
        pipeline=DynamicPipelineConfig(datamanager=RayDataManagerConfig(rays_per_batch=rays), model=model),
        cpu_alternative="" if name.endswith("-fast") else "dyn3d-velocity-planes-fast",
        optimizers={
            group: {
                "optimizer": FusedAdamConfig(lr=rate, eps=1e-15, betas=(0.9, 0.99)),
                "scheduler": HoldThenDecayConfig(hold=hold, final=final),
            }
            for group, rate in rates.items()
        },
    )


dyn3d_velocity_planes = MethodSpecification(
    config=trainer(
        "dyn3d-velocity-planes",
        30_000,
        4096,
        Dyn3DVelocityPlanesModelConfig(),
        {"planes": 2e-2, "networks": 1e-3, "velocity": 1e-3},
        hold=1 / 3,
        final=0.1,
    ),
    description="Dyn3D / NVFi: a radiance field on keyframe planes, carried by a velocity field (GPU).",
)
dyn3d_velocity_planes_fast = MethodSpecification(
    config=trainer(
        "dyn3d-velocity-planes-fast",
        10_000,
        768,
        Dyn3DVelocityPlanesModelConfig(
            keyframes=6,
            resolution=128,
            upsample_parts=(0.1, 0.2, 0.3),
            density_channels=16,
            appearance_channels=32,
            color_width=64,
            color_octaves=1,
            density_shift=-6.0,
            velocity_width=64,
            velocity_layers=3,
            velocity_octaves=4,
            time_octaves=2,
            occupancy_cells=64,
            occupancy_period=6,
            occupancy_warmup=0.01,
            explore=0.1,
            keyframe_share=0.4,
            reach_part=0.02,
            collocation_points=1024,
            collocation_period=2,
            divergence_weight=0.2,
            transport_weight=0.01,
            physics_ramp=0.6,
            steady_weight=1e-3,
            planes_per_step=1,
        ),
        {"planes": 2e-2, "networks": 2e-3, "velocity": 5e-3},
        hold=0.35,
        final=0.05,
    ),
    description="dyn3d-velocity-planes with smaller planes and networks: two CPU cores, half an hour.",
)
