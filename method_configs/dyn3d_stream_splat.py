"""``dyn3d-stream-splat`` for a GPU, and ``dyn3d-stream-splat-fast`` for two CPU cores."""

from nerfstudio.plugins.types import MethodSpecification

from dyn3d_ns.data.datamanager import DynamicDataManagerConfig
from dyn3d_ns.dataparsers.n3dv import N3DVDataParserConfig  # pyright: ignore[reportMissingImports]
from dyn3d_ns.engine.optimizers import HoldThenDecayConfig, PhaseDecayConfig
from dyn3d_ns.engine.presets import preset
from dyn3d_ns.models.stream.method import StreamSettings
from dyn3d_ns.models.stream.splat import StreamSplatModelConfig

FIRST = {
    "means": 3e-4,
    "scales": 5e-3,
    "quats": 2e-3,
    "opacities": 5e-2,
    "features_dc": 5e-3,
    "features_rest": 2.5e-4,
}
"""Starting learning rates of frame 0, one per parameter group."""
LATER = {
    "grid": 0.25,
    "shift": 0.125,
    "turn": 1e-2,
    "scales_now": 5e-3,
    "opacities_now": 3e-2,
    "features_dc_now": 5e-3,
}
"""Those of later frames; shifts count in footprints, turns in radians."""


def _streamed(
    name: str, description: str, model: StreamSplatModelConfig, cpu: str = ""
) -> MethodSpecification:
    data = DynamicDataManagerConfig(dataparser=N3DVDataParserConfig())
    made = preset(name, description, 1_000_000, model, FIRST | LATER, data=data, cpu=cpu)
    for group in made.config.optimizers:
        of_frame = PhaseDecayConfig(final=0.1)
        first = HoldThenDecayConfig(hold=0.5, max_steps=model.stream.first_steps, final=0.02)
        made.config.optimizers[group]["scheduler"] = of_frame if group in LATER else first
    return made


dyn3d_stream_splat = _streamed(
    "dyn3d-stream-splat",
    "Multi-view video frame by frame as Gaussians, in small deltas that play back bit for bit (GPU).",
    StreamSplatModelConfig(
        max_gaussians=150_000, sh_degree=2, ssim_weight=0.2, stream=StreamSettings(first_steps=6_000)
    ),
    cpu="dyn3d-stream-splat-fast",
)
dyn3d_stream_splat_fast = _streamed(
    "dyn3d-stream-splat-fast",
    "dyn3d-stream-splat with 30k Gaussians: two CPU cores, 1 to 2 seconds a frame of 320x240.",
    StreamSplatModelConfig(max_gaussians=30_000, ssim_weight=0.2),
)
