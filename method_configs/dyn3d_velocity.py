"""``dyn3d-velocity`` for a GPU and ``dyn3d-velocity-fast`` for two CPU cores and minutes."""

from dyn3d_ns.engine.presets import preset
from dyn3d_ns.models.velocity import Dyn3DVelocityModelConfig

RATES = {
    "means": 1.6e-3,
    "scales": 8e-3,
    "quats": 3e-3,
    "opacities": 3e-2,
    "features_dc": 6e-3,
    "features_rest": 1.2e-3,
    "motion_codes": 5e-2,
    "bends": 7.5e-5,
    "color_changes": 3e-3,
    "motions": 4e-3,
}
"""Starting learning rates, one per parameter group."""
FINAL = 0.003
"""Factor of the rates at the end, by when no single image sways what was learned."""
FINALS: dict[str, float] = dict.fromkeys(("opacities", "scales", "quats"), 0.1)
"""That of the shapes, which 3DGS lets learn at full rate to the end: those that come late have to find
theirs."""

dyn3d_velocity = preset(
    "dyn3d-velocity",
    "Gaussians carried by a keyframe network and a velocity field; predicts the future (GPU).",
    30_000,
    Dyn3DVelocityModelConfig(
        max_gaussians=100_000, num_motions=24, keyframes=8, sh_degree=3, ssim_weight=0.2
    ),
    RATES,
    final=FINAL,
    finals=FINALS,
    cpu="dyn3d-velocity-fast",
)
dyn3d_velocity_fast = preset(
    "dyn3d-velocity-fast",
    "dyn3d-velocity with 18k Gaussians: two CPU cores, minutes.",
    11_000,
    Dyn3DVelocityModelConfig(max_gaussians=18_000),
    RATES,
    final=FINAL,
    finals=FINALS,
)
