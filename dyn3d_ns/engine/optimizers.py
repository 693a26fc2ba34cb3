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
    hold_steps: int = 0
    """Steps at the full rate."""
    max_steps: int = 10_000
    """Step at which the decay ends."""
    final: float = 0.02
    """Factor of the rate at the end."""


class HoldThenDecay(Scheduler):
    """Factor 1 for ``hold_steps``, then ``final`` to the power of the part of the decay gone by."""

    config: HoldThenDecayConfig

    def get_scheduler(self, optimizer: Optimizer, lr_init: float) -> LRScheduler:
        """Make the schedule; it yields Python floats, so a checkpoint of it loads safely."""
        c = self.config

        def factor(step: int) -> float:
            part = (step - c.hold_steps) / max(c.max_steps - c.hold_steps, 1)
            return float(c.final ** min(max(part, 0.0), 1.0))

        return LambdaLR(optimizer, lr_lambda=factor)
