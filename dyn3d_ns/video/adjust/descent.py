"""Minimise an energy with Adam, halving the rate on plateaus and stopping when nothing is gained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Descent:
    """How long and how fast to descend."""

    iterations: int
    patience: int = 100
    """Steps without a gain after which to stop."""
    plateau: int = 10
    """Steps without a gain after which the rates are halved."""
    min_delta: float = 1e-4
    """Smallest gain that counts, relative to the energy."""


@dataclass(frozen=True)
class DescentResult:
    """What became of the energy."""

    first: float
    best: float
    iterations: int


def descend(
    energy: Callable[[], Tensor], groups: Sequence[tuple[Sequence[Tensor], float]], descent: Descent
) -> DescentResult:
    """Minimise an energy in place over groups of (parameters, learning rate); leave them at the best found.

    Raises:
        FloatingPointError: the energy is not finite at the start.
    """
    parameters = [p for members, _ in groups for p in members]
    optimizer = torch.optim.Adam([{"params": list(m), "lr": rate} for m, rate in groups], amsgrad=True)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, factor=0.5, patience=descent.plateau, min_lr=[0.01 * rate for _, rate in groups]
    )
    first = best = float("inf")
    kept = [p.detach().clone() for p in parameters]
    waited = iteration = 0
    for iteration in range(descent.iterations + 1):
        optimizer.zero_grad()
        value = energy()
        current = float(value.detach())
        if iteration == 0:
            first = current
            if not torch.isfinite(value):
                raise FloatingPointError(f"the energy is {current} at the start; check depth and cameras")
        if current < best:
            waited = 0 if best - current > descent.min_delta * abs(best) or iteration == 0 else waited + 1
            best = current
            kept = [p.detach().clone() for p in parameters]
        else:
            waited += 1
        if waited > descent.patience or iteration == descent.iterations or not torch.isfinite(value):
            break
        value.backward()
        optimizer.step()
        scheduler.step(current)
    with torch.no_grad():
        for parameter, value in zip(parameters, kept, strict=True):
            parameter.copy_(value)
    return DescentResult(first, best, iteration)
