"""``dyn3d-das3r`` for a GPU, ``dyn3d-das3r-fast`` for two CPU cores and minutes, ``dyn3d-das3r-paper``."""

from dyn3d_ns.data.datamanager import DynamicDataManagerConfig
from dyn3d_ns.dataparsers.video import VideoDataParserConfig  # pyright: ignore[reportMissingImports]
from dyn3d_ns.engine.optimizers import HoldThenDecayConfig
from dyn3d_ns.engine.presets import preset
from dyn3d_ns.models.das3r.model import Das3rModelConfig
from dyn3d_ns.models.das3r.paper import Das3rPaperModelConfig

RATES = {
    "means": 3e-4,
    "scales": 5e-3,
    "quats": 2e-3,
    "opacities": 5e-2,
    "features_dc": 5e-3,
    "features_rest": 2.5e-4,
    "static": 3e-2,
    "shadows": 2e-2,
    "focal": 1e-5,
    "camera_opt": 3e-5,
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
    4_000,
    Das3rModelConfig(max_gaussians=40_000),
    RATES,
    data=_video(),
)

dyn3d_das3r_paper = preset(
    "dyn3d-das3r-paper",
    "DAS3R as released: a Gaussian a pixel, one staticness for opacity and loss (GPU).",
    4_000,
    Das3rPaperModelConfig(),
    {
        "means": 1.6e-4,
        "scales": 5e-3,
        "quats": 1e-3,
        "opacities": 5e-2,
        "features_dc": 2.5e-3,
        "features_rest": 1.25e-4,
        "static": 3e-3,
        "camera_opt": 3e-5,
    },
    data=_video(),
    hold=0.0,
    final=1.0,
    cpu="dyn3d-das3r-fast",
)
# Positions slow down to a hundredth over 30,000 steps, of which 4,000 are taken; poses within 1,000.
for _group, _steps, _final in (("means", 30_000, 0.01), ("static", 4_000, 0.1), ("camera_opt", 1_000, 0.1)):
    dyn3d_das3r_paper.config.optimizers[_group]["scheduler"] = HoldThenDecayConfig(
        hold=0.0, max_steps=_steps, final=_final
    )
