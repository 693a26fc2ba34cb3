"""``dyn3d-velocity-planes`` (the paper's settings, for a GPU) and ``dyn3d-velocity-planes-fast``."""

from dyn3d_ns.data.rays import RayDataManagerConfig
from dyn3d_ns.engine.presets import preset
from dyn3d_ns.models.planes.losses import PlanesLosses
from dyn3d_ns.models.planes.model import Dyn3DVelocityPlanesModelConfig

dyn3d_velocity_planes = preset(
    "dyn3d-velocity-planes",
    "Dyn3D / NVFi: a radiance field on keyframe planes, carried by a velocity field (GPU).",
    30_000,
    Dyn3DVelocityPlanesModelConfig(),
    {"planes": 2e-2, "networks": 1e-3, "velocity": 1e-3},
    data=RayDataManagerConfig(rays_per_batch=4096),
    hold=1 / 3,
    final=0.1,
    betas=(0.9, 0.99),
    cpu="dyn3d-velocity-planes-fast",
)
dyn3d_velocity_planes_fast = preset(
    "dyn3d-velocity-planes-fast",
    "dyn3d-velocity-planes with smaller planes and networks: two CPU cores, half an hour.",
    10_000,
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
        losses=PlanesLosses(
            collocation_points=1024,
            collocation_period=2,
            divergence_weight=0.2,
            transport_weight=0.01,
            physics_ramp=0.6,
            steady_weight=1e-3,
            planes_per_step=1,
        ),
    ),
    {"planes": 2e-2, "networks": 2e-3, "velocity": 5e-3},
    data=RayDataManagerConfig(rays_per_batch=768),
    hold=0.35,
    final=0.05,
    betas=(0.9, 0.99),
)
