"""``dyn3d-streamrf`` for a GPU, and ``dyn3d-streamrf-fast`` for two CPU cores."""

from dataclasses import replace

from nerfstudio.plugins.types import MethodSpecification

from dyn3d_ns.data.datamanager import DynamicDataManagerConfig
from dyn3d_ns.dataparsers.n3dv import N3DVDataParserConfig  # pyright: ignore[reportMissingImports]
from dyn3d_ns.engine.optimizers import HoldThenDecayConfig, PhaseDecayConfig
from dyn3d_ns.engine.presets import preset
from dyn3d_ns.engine.rmsprop import TouchedRMSpropConfig
from dyn3d_ns.models.stream.grid import StreamRFModelConfig
from dyn3d_ns.models.stream.grid_fit import PassConfig
from dyn3d_ns.models.stream.method import StreamSettings

FIRST = {"density": (30.0, 0.02), "sh": (1e-2, 0.02)}
"""Learning rate and its factor at the end, of frame 0's groups."""
FAST = {"density": (2.0, 0.1), "sh": (1e-2, 0.1)}
"""The same where frame 0 starts near surfaces."""
LATER = {
    "pilot_density": (1.0, 1.0),
    "pilot_sh": (1e-2, 0.1),
    "full_density": (1.0, 1.0),
    "full_sh": (1e-2, 0.3),
}
"""The same of later frames."""


def _streamed(
    name: str,
    description: str,
    model: StreamRFModelConfig,
    rates: dict[str, tuple[float, float]],
    cpu: str = "",
) -> MethodSpecification:
    data = DynamicDataManagerConfig(dataparser=N3DVDataParserConfig())
    starts = {group: rate for group, (rate, _) in rates.items()}
    made = preset(name, description, 1_000_000, model, starts, data=data, cpu=cpu)
    del made.config.optimizers["camera_opt"]
    for group, (rate, final) in rates.items():
        first = HoldThenDecayConfig(hold=0.0, max_steps=model.stream.first_steps, final=final)
        made.config.optimizers[group] = {
            "optimizer": TouchedRMSpropConfig(lr=rate),
            "scheduler": first if group in FIRST else PhaseDecayConfig(final=final),
        }
    return made


dyn3d_streamrf = _streamed(
    "dyn3d-streamrf",
    "StreamRF: multi-view video frame by frame as sparse voxels, in deltas of those that change (GPU).",
    StreamRFModelConfig(stream=StreamSettings(first_steps=20_000)),
    FIRST | LATER,
    cpu="dyn3d-streamrf-fast",
)
dyn3d_streamrf_fast = _streamed(
    "dyn3d-streamrf-fast",
    "dyn3d-streamrf with a smaller grid: two CPU cores, ten minutes for 40 frames of 320x240.",
    StreamRFModelConfig(
        stream=StreamSettings(first_steps=1_000),
        reso=((160, 96, 64), (320, 192, 96)),
        upsamp_parts=(0.35,),
        surface_points=60_000,
        batch_size=4096,
        pilot=replace(StreamRFModelConfig().pilot, n_iters=30, batch_size=2048),
        full=PassConfig(n_iters=60, batch_size=4096, dilate_rate_after=1),
    ),
    FAST | LATER,
)
