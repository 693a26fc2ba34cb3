"""``dyn3d-freegave``: FreeGave's networks and schedule, for comparison."""

from dyn3d_ns.engine.presets import preset
from dyn3d_ns.models.freegave import FreeGaveModelConfig

dyn3d_freegave = preset(
    "dyn3d-freegave",
    "FreeGave's networks and schedule, for comparison (GPU).",
    40_000,
    FreeGaveModelConfig(max_gaussians=50_000),
    {
        "means": 1.6e-4,
        "scales": 5e-3,
        "quats": 1e-3,
        "opacities": 5e-2,
        "features_dc": 2.5e-3,
        "features_rest": 1.25e-4,
        "networks": 8e-4,
    },
    final=0.002,
    cpu="dyn3d-velocity-fast",
)
