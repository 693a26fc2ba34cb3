"""Optimizers and schedules as Nerfstudio configs."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from nerfstudio.engine.optimizers import OptimizerConfig
from nerfstudio.engine.schedulers import Scheduler, SchedulerConfig
from torch.nn import Parameter
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from dyn3d_ns.engine.schedule import Schedule


class FusedAdam(torch.optim.Adam):
    """Adam whose step is one call of torch's fused kernel a group.

    The same numbers and state as ``torch.optim.Adam(fused=True)``, whose bookkeeping around the kernel took
    as long as the kernel with a dozen small groups.
    """

    def __init__(self, params: Iterable[Parameter], **options: Any) -> None:
        """Take the parameters and the options of ``torch.optim.Adam``."""
        super().__init__(params, fused=True, **options)

    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        if torch.is_grad_enabled():
            with torch.no_grad():
                self._update()
        else:
            self._update()

    step.hooked = True  # type: ignore[attr-defined]  # no profiling wrapper around it

    def _update(self) -> None:
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            if not params:
                continue
            states = [self.state[p] or self._start(p) for p in params]
            steps = [s["step"] for s in states]
            for count in steps:
                count.add_(1)
            torch._fused_adam_(
                params,
                [p.grad for p in params],
                [s["exp_avg"] for s in states],
                [s["exp_avg_sq"] for s in states],
                [],
                steps,
                lr=group["lr"],
                beta1=group["betas"][0],
                beta2=group["betas"][1],
                weight_decay=group["weight_decay"],
                eps=group["eps"],
                amsgrad=False,
                maximize=False,
            )

    def _start(self, parameter: Parameter) -> dict[str, torch.Tensor]:
        state = self.state[parameter]
        state["step"] = torch.zeros((), dtype=torch.float32, device=parameter.device)
        state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        return state


@dataclass
class FusedAdamConfig(OptimizerConfig):
    """Adam in one kernel a tensor, on the CPU as well as on CUDA."""

    _target: type = FusedAdam
    """Class to instantiate."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Decay of the first and second moment."""
    weight_decay: float = 0.0
    """L2 penalty."""


@dataclass
class HoldThenDecayConfig(SchedulerConfig):
    """Hold the learning rate, then let it decay exponentially."""

    _target: type = field(default_factory=lambda: HoldThenDecay)
    """Class to instantiate."""
    hold: float | None = None
    """Part of the training at the full rate; None until the last phase of its schedule begins."""
    max_steps: int | None = None
    """Step at which the decay ends; None for the end of the training."""
    final: float = 0.02
    """Factor of the rate at the end."""


class HoldThenDecay(Scheduler):
    """Factor 1 for the part ``hold``, then ``final`` to the power of the part of the decay gone by."""

    config: HoldThenDecayConfig

    def get_scheduler(self, optimizer: Optimizer, lr_init: float) -> LRScheduler:
        """Make the schedule; it yields Python floats, so a checkpoint of it loads safely."""
        c = self.config
        if c.max_steps is None or c.hold is None:
            raise ValueError(
                "hold and max_steps of HoldThenDecayConfig must be given, or follow_schedule used"
            )
        held = c.hold * c.max_steps
        decay = max(c.max_steps - held, 1)

        def factor(step: int) -> float:
            return float(c.final ** min(max((step - held) / decay, 0.0), 1.0))

        return _LeanSchedule(optimizer, lr_lambda=factor)


@dataclass
class PhaseDecayConfig(SchedulerConfig):
    """Let the learning rate decay exponentially within each phase of the schedule, and begin anew with the
    next."""

    _target: type = field(default_factory=lambda: PhaseDecay)
    """Class to instantiate."""
    final: float = 0.1
    """Factor of the rate at the end of a phase."""


class PhaseDecay(Scheduler):
    """Factor ``final`` to the power of the part of the phase gone by; needs :func:`follow_schedule`."""

    config: PhaseDecayConfig
    schedule: Schedule | None = None

    def get_scheduler(self, optimizer: Optimizer, lr_init: float) -> LRScheduler:
        """Make the schedule."""
        final, schedule = self.config.final, self.schedule
        if schedule is None:
            raise ValueError("PhaseDecayConfig needs the phases of a schedule: use follow_schedule")
        return _LeanSchedule(optimizer, lr_lambda=lambda step: float(final ** schedule.part_of_phase(step)))


@dataclass
class _FollowedConfig(PhaseDecayConfig):
    """A decay within the phases of a schedule that is known."""

    schedule: Schedule | None = None
    """The training's schedule."""

    def setup(self, **kwargs: Any) -> PhaseDecay:
        """Make the scheduler."""
        made = PhaseDecay(self)
        made.schedule = self.schedule
        return made


class _LeanSchedule(LambdaLR):
    """LambdaLR without the bookkeeping of its step, which was the better part of ten small groups' time."""

    def step(self, epoch: int | None = None) -> None:
        """Go on by one step, or to ``epoch``."""
        if not self._step_count:  # the first is taken when the schedule is made
            super().step(epoch)
            return
        self._step_count += 1
        self.last_epoch = self.last_epoch + 1 if epoch is None else epoch
        groups, rates = self.optimizer.param_groups, []
        for group, start, factor in zip(groups, self.base_lrs, self.lr_lambdas, strict=True):
            group["lr"] = start * factor(self.last_epoch)
            rates.append(group["lr"])
        self._last_lr = rates


def follow_schedule(optimizers: dict[str, Any], schedule: Schedule) -> dict[str, Any]:
    """Return optimizer configs whose learning rates follow a training's schedule where they leave it open."""
    followed: dict[str, Any] = {}
    for name, group in optimizers.items():
        rates = group["scheduler"]
        if isinstance(rates, HoldThenDecayConfig):
            hold = schedule.last_begins if rates.hold is None else rates.hold
            last = schedule.steps if rates.max_steps is None else rates.max_steps
            rates = replace(rates, hold=hold, max_steps=last)
        elif isinstance(rates, PhaseDecayConfig):
            rates = _FollowedConfig(final=rates.final, schedule=schedule)
        followed[name] = {**group, "scheduler": rates}
    return followed
