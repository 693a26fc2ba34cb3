"""RMSprop that touches only what a step has touched, as grids of voxels are trained."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from nerfstudio.engine.optimizers import OptimizerConfig
from torch.nn import Parameter

from dyn3d_ns.kernels.pool import pieces_of, run
from dyn3d_ns.rendering.voxel_kernels import rms_step


class TouchedRMSprop(torch.optim.Optimizer):
    """Numbers whose gradient is 0 keep their value and mean square; the first square is taken whole."""

    def __init__(
        self,
        params: Iterable[Parameter],
        lr: float,
        beta: float = 0.95,
        eps: float = 1e-8,
    ) -> None:
        """Take the parameters, the learning rate and the decay of the mean square."""
        super().__init__(params, {"lr": lr, "beta": beta, "eps": eps})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["squares"] = torch.zeros_like(parameter)
                _update(parameter, state["squares"], group["lr"], group["beta"], group["eps"])


def _update(parameter: Parameter, squares: torch.Tensor, rate: float, beta: float, eps: float) -> None:
    gradient = parameter.grad
    assert gradient is not None
    if parameter.is_cuda:
        touched = gradient != 0
        mean = torch.where(squares == 0, gradient**2, beta * squares + (1 - beta) * gradient**2)
        squares.copy_(torch.where(touched, mean, squares))
        parameter.sub_(
            torch.where(touched, rate * gradient / (squares.sqrt() + eps), torch.zeros_like(squares))
        )
        return
    arrays = [x.detach().view(-1).numpy() for x in (parameter, gradient.contiguous(), squares)]
    bounds = pieces_of(len(arrays[0]), smallest=65536)

    def work(piece: int) -> None:
        rms_step(
            bounds[piece], bounds[piece + 1], *arrays, np.float32(rate), np.float32(beta), np.float32(eps)
        )

    run(work, len(bounds) - 1, "rmsprop")


@dataclass
class TouchedRMSpropConfig(OptimizerConfig):
    """RMSprop of grids of voxels."""

    _target: type = TouchedRMSprop
    """Class to instantiate."""
    beta: float = 0.95
    """Decay of the mean square."""
