"""Which training image comes next: uniform over the images of a window of time, and resumable."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from dyn3d_ns.io.errors import UserError
from dyn3d_ns.timeline import TIME_EPS

TimeWindow = Callable[[float], tuple[float, float]]
"""First and last normalised time to draw from, given the part of the training gone by."""
FrameWeights = Callable[[float], Float[Tensor, "*S F"]]
"""How often each recorded time is drawn, of each scene if they differ, given the part of the training gone
by."""


class Sampling(NamedTuple):
    """What a training step may draw."""

    window: tuple[float, float] | None = None
    """First and last normalised time; None for all."""
    frame_weights: Float[Tensor, "*S F"] | None = None
    """How often a datamanager of rays draws each recorded time, of each scene; None for equally often."""
    image: int | None = None
    """The training image itself, by its number; None to draw one."""


class TimeWindowSampler:
    """Draw image indices in shuffled rounds, without replacement, from the images of a time window.

    It owns its random generator: nothing else that draws random numbers changes the order, and
    :meth:`get_state` is all that an exact resume needs.
    """

    def __init__(self, times: Float[Tensor, "N"], seed: int) -> None:
        if len(times) == 0:
            raise ValueError("cannot sample from no images")
        self._times = times.detach().to("cpu", torch.float64)
        self._generator = torch.Generator().manual_seed(seed % 2**63)
        self._time_range = (0.0, 1.0)
        self._allowed = torch.arange(len(times))
        self._round: list[int] = []
        self._position = 0

    @property
    def time_range(self) -> tuple[float, float]:
        """First and last normalised time to draw from, both included."""
        return self._time_range

    @time_range.setter
    def time_range(self, limits: tuple[float, float]) -> None:
        limits = (float(limits[0]), float(limits[1]))
        if limits == self._time_range:
            return
        # float32 times are up to 6e-8 off; a frame at the limit belongs to the window.
        inside = (self._times >= limits[0] - TIME_EPS) & (self._times <= limits[1] + TIME_EPS)
        allowed = inside.nonzero().flatten()
        if len(allowed) == 0:
            raise ValueError(
                f"no training image lies in the time range {limits}; "
                f"they span {self._times.min():.4f} to {self._times.max():.4f}"
            )
        self._time_range = limits
        if not torch.equal(allowed, self._allowed):
            self._allowed, self._round, self._position = allowed, [], 0

    def next(self) -> int:
        """Return the next image index."""
        if self._position >= len(self._round):
            order = torch.randperm(len(self._allowed), generator=self._generator)
            self._round, self._position = self._allowed[order].tolist(), 0
        self._position += 1
        return self._round[self._position - 1]

    def get_state(self) -> dict[str, Any]:
        """Return everything that determines the coming draws, as tensors and numbers."""
        return {
            "generator": self._generator.get_state(),
            "time_range": list(self._time_range),
            "round": list(self._round),
            "position": self._position,
            "num_images": len(self._times),
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Continue from a state of :meth:`get_state` of a sampler over the same images."""
        if state["num_images"] != len(self._times):
            raise UserError(
                f"the saved state samples {state['num_images']} training images, this dataset has "
                f"{len(self._times)}; resume with the data that the training started with, and as "
                "many frames of it (--frame-start and --frame-end of a recording)"
            )
        self.time_range = tuple(state["time_range"])
        self._generator.set_state(state["generator"].to("cpu", torch.uint8))
        self._round, self._position = [int(i) for i in state["round"]], int(state["position"])
