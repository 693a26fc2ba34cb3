"""``dyn3d-das3r`` for a GPU and ``dyn3d-das3r-fast`` for two CPU cores and minutes."""

from dyn3d_ns.data.datamanager import DynamicDataManagerConfig
from dyn3d_ns.dataparsers.video import VideoDataParserConfig  # pyright: ignore[reportMissingImports]
from dyn3d_ns.engine.presets import preset
from dyn3d_ns.models.das3r.model import Das3rModelConfig

RATES = {
    "means": 3e-4,
    "scales": 5e-3,
    "quats": 2e-3,
    "opacities": 5e-2,
    "features_dc": 5e-3,
    "features_rest": 2.5e-4,
    "static": 3e-2,
    "shadows": 2e-2,
    "focal": 1e-4,
    "camera_opt": 3e-4,
}
"""Starting learning rates, one per parameter group."""


def _video() -> DynamicDataManagerConfig:
    return DynamicDataManagerConfig(dataparser=VideoDataParserConfig())


dyn3d_das3r = preset(
    "dyn3d-das3r",
    "The static scene behind everything that moves, from one video, poses and masks refined (GPU).",
    4_000,
    Das3rModelConfig(max_gaussians=500_000, sh_degree=3),
    RATES,
    data=_video(),
    cpu="dyn3d-das3r-fast",
)
dyn3d_das3r_fast = preset(
    "dyn3d-das3r-fast",
    "dyn3d-das3r with 40k Gaussians: two CPU cores, minutes.",
    3_000,
    Das3rModelConfig(max_gaussians=40_000),
    RATES,
    data=_video(),
)
