"""What a training tells Nerfstudio's writers: terminal, TensorBoard and the like."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import torch
from nerfstudio.utils import writer
from nerfstudio.utils.writer import EventName
from torch.optim.lr_scheduler import LRScheduler


class StepLog:
    """Hands times, losses and learning rates to Nerfstudio's writers every ``steps_per_log`` steps.

    Nerfstudio does so at every step, which costs more than a millisecond.
    """

    def __init__(
        self, start_step: int, rays_per_step: int, schedulers: Mapping[str, LRScheduler], device: str
    ) -> None:
        """Take what is written beside the losses.

        Args:
            start_step: Step that the training starts or goes on with.
            rays_per_step: Rays of a step, of all processes together.
            schedulers: Learning rates by parameter group.
            device: Where the training runs.
        """
        self.start_step, self.rays_per_step = start_step, rays_per_step
        self.schedulers, self.device = schedulers, device
        # What the terminal prints at the end of a training too short for a line of its own.
        writer.GLOBAL_BUFFER["step"] = start_step
        self.restart(start_step)

    def restart(self, step: int) -> None:
        """Measure the time per step from here."""
        self.first_step, self.start = step, time.perf_counter()

    def write(self, step: int, loss: Any, loss_dict: dict[str, Any], metrics_dict: dict[str, Any]) -> None:
        """Write the mean time per step since the last call, and the figures of this step.

        The first step compiles and loads; its time would spoil the forecast of the end.
        """
        if step == self.start_step:
            self.restart(step + 1)
            return
        seconds = (time.perf_counter() - self.start) / (step + 1 - self.first_step)
        writer.put_time(EventName.ITER_TRAIN_TIME, seconds, step, update_eta=True)
        writer.put_time(EventName.TRAIN_RAYS_PER_SEC, self.rays_per_step / max(seconds, 1e-6), step)  # type: ignore[arg-type]
        writer.put_scalar("Train Loss", loss, step)
        writer.put_dict("Train Loss Dict", {name: part.detach() for name, part in loss_dict.items()}, step)
        writer.put_dict("Train Metrics Dict", metrics_dict, step)
        rates = {name: s.get_last_lr()[0] for name, s in self.schedulers.items()}
        writer.put_dict("learning_rate", rates, step)
        if self.device.startswith("cuda"):
            writer.put_scalar("GPU Memory (MB)", torch.cuda.max_memory_allocated() / 1024**2, step)
        writer.write_out_storage()
        self.restart(step + 1)
