"""Optimizers and schedules as Nerfstudio configs."""

from dataclasses import dataclass, field

import torch
from nerfstudio.engine.optimizers import OptimizerConfig
from nerfstudio.engine.schedulers import Scheduler, SchedulerConfig
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler


@dataclass
class FusedAdamConfig(OptimizerConfig):
    """Adam in one kernel a tensor, on the CPU as well as on CUDA."""

    _target: type = torch.optim.Adam
    """Class to instantiate."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Decay of the first and second moment."""
    weight_decay: float = 0.0
    """L2 penalty."""
    fused: bool = True
    """Use the fused kernel."""


@dataclass
class HoldThenDecayConfig(SchedulerConfig):
    """Hold the learning rate, then let it decay exponentially."""

    _target: type = field(default_factory=lambda: HoldThenDecay)
    """Class to instantiate."""
    hold: float = 0.35
    """Part of the training at the full rate."""
    max_steps: int | None = None
    """Step at which the decay ends; the trainer fills in the length of the training."""
    final: float = 0.02
    """Factor of the rate at the end."""


class HoldThenDecay(Scheduler):
    """Factor 1 for the part ``hold``, then ``final`` to the power of the part of the decay gone by."""

    config: HoldThenDecayConfig

    def get_scheduler(self, optimizer: Optimizer, lr_init: float) -> LRScheduler:
        """Make the schedule; it yields Python floats, so a checkpoint of it loads safely."""
        c = self.config
        if c.max_steps is None:
            raise ValueError("max_steps of HoldThenDecayConfig is None; DynamicTrainer sets it, or give it")
        held = c.hold * c.max_steps
        decay = max(c.max_steps - held, 1)

        def factor(step: int) -> float:
            return float(c.final ** min(max((step - held) / decay, 0.0), 1.0))

        return LambdaLR(optimizer, lr_lambda=factor)
