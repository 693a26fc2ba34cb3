"""``dyn3d-mononerf`` and ``dyn3d-mononerf-paper`` for a GPU, ``dyn3d-mononerf-fast`` for two CPU cores."""

from nerfstudio.plugins.types import MethodSpecification

from dyn3d_ns.data.rays import RayDataManagerConfig
from dyn3d_ns.dataparsers.dynamic_scene import DynamicSceneDataParserConfig  # pyright: ignore
from dyn3d_ns.engine.optimizers import PhaseDecayConfig
from dyn3d_ns.engine.presets import preset
from dyn3d_ns.models.mononerf.losses import MonoNerfLosses
from dyn3d_ns.models.mononerf.model import MonoNerfModelConfig


def _two_parts(
    name: str, description: str, steps: int, model: MonoNerfModelConfig, rate: float, rays: int, images: int,
    final: float = 0.1, cpu: str = "",
) -> MethodSpecification:  # fmt: skip
    data = RayDataManagerConfig(
        dataparser=DynamicSceneDataParserConfig(),
        rays_per_batch=rays,
        images_per_batch=images,
        pixels="mask-halves",
        priors=("dynamic_mask", "flow", "flow_back", "depth"),
    )
    rates = {"static": rate, "dynamic": rate}
    made = preset(name, description, steps, model, rates, data=data, cpu=cpu)
    del made.config.optimizers["camera_opt"]
    for group in rates:
        made.config.optimizers[group]["scheduler"] = PhaseDecayConfig(final=final)
        made.config.optimizers[group]["optimizer"].max_norm = 10.0
    return made


dyn3d_mononerf = _two_parts(
    "dyn3d-mononerf",
    "MonoNeRF: one dynamic radiance field for many monocular videos (GPU).",
    60_000,
    MonoNerfModelConfig(),
    5e-4,
    rays=4096,
    images=32,
    cpu="dyn3d-mononerf-fast",
)
dyn3d_mononerf_paper = _two_parts(
    "dyn3d-mononerf-paper",
    "dyn3d-mononerf as published: pretrained encoders from files, 300,000 steps (GPU).",
    300_000,
    MonoNerfModelConfig(
        temporal_encoder="slowonly",
        spatial_encoder="resnet18",
        colors_from_frames=False,
        depth_cues=False,
        reach=1,
        losses=MonoNerfLosses(behind=0.0, depth=0.04, warp_period=1, warp_share=1.0),
    ),
    5e-4,
    rays=1024,
    images=2,
    final=0.1**0.5,
    cpu="dyn3d-mononerf-fast",
)
dyn3d_mononerf_fast = _two_parts(
    "dyn3d-mononerf-fast",
    "dyn3d-mononerf with smaller networks and few samples a ray: two CPU cores, minutes.",
    2_700,
    MonoNerfModelConfig(
        static_part=1 / 3,
        flow_steps=1,
        encoder_period=8,
        channels=16,
        code=32,
        width=64,
        static_blocks=3,
        octaves=8,
        samples=16,
        eval_samples=32,
        cells=(64, 36, 64),
    ),
    3e-3,
    rays=1024,
    images=8,
)
