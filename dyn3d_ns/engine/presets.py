"""Presets of methods: what all have in common stands here, a preset says what is its own."""

from __future__ import annotations

from collections.abc import Mapping

from nerfstudio.plugins.types import MethodSpecification

from dyn3d_ns.data.datamanager import DynamicDataManagerConfig
from dyn3d_ns.engine.method import DynamicMethodConfig
from dyn3d_ns.engine.optimizers import FusedAdamConfig, HoldThenDecayConfig
from dyn3d_ns.engine.pipeline import DynamicPipelineConfig
from dyn3d_ns.engine.trainer import DynamicTrainerConfig

CAMERA_RATE = 1e-4
"""Learning rate of camera poses, where they are optimised."""


def preset(
    name: str,
    description: str,
    steps: int,
    model: DynamicMethodConfig,
    rates: dict[str, float],
    *,
    data: DynamicDataManagerConfig | None = None,
    final: float = 0.02,
    finals: Mapping[str, float] | None = None,
    hold: float | None = None,
    betas: tuple[float, float] = (0.9, 0.999),
    cpu: str = "",
) -> MethodSpecification:
    """Put a preset together.

    Args:
        name: As ``ns-train`` lists it.
        description: One sentence for that list.
        steps: Steps of a training.
        model: The method's settings.
        rates: Starting learning rate of each parameter group.
        data: Datamanager; whole images by default.
        final: Factor of the rates at the end.
        finals: That of some parameter groups, where theirs is another.
        hold: Part of the training at the full rates; None until the last phase of the schedule begins.
        betas: Adam's decay of first and second moment.
        cpu: Method to recommend where there is no GPU; empty where this one is made for a CPU.

    Raises:
        ValueError: ``finals`` names a group without a rate.
    """
    if unknown := set(finals or {}) - set(rates):
        raise ValueError(f"{name}: no learning rate is set for {', '.join(sorted(unknown))}")
    return MethodSpecification(
        config=DynamicTrainerConfig(
            method_name=name,
            max_num_iterations=steps,
            steps_per_save=2000,
            steps_per_eval_image=0,
            steps_per_eval_batch=0,
            steps_per_eval_all_images=0,
            pipeline=DynamicPipelineConfig(datamanager=data or DynamicDataManagerConfig(), model=model),
            cpu_alternative=cpu,
            optimizers={
                group: {
                    "optimizer": FusedAdamConfig(lr=rate, eps=1e-15, betas=betas),
                    "scheduler": HoldThenDecayConfig(hold=hold, final=(finals or {}).get(group, final)),
                }
                for group, rate in {"camera_opt": CAMERA_RATE, **rates}.items()
            },
        ),
        description=description,
    )
