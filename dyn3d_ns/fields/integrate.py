"""Integration of a velocity field over time, the same for every method of the toolkit."""

import math
from collections.abc import Callable
from typing import Any, Literal

from jaxtyping import Float
from torch import Tensor

Method = Literal["euler", "midpoint", "rk4"]
Velocity = Callable[[Tensor, Any], Tensor]


def step_count(t0: float, t1: float, max_step: float) -> int:
    """Count the equal steps of at most ``max_step`` that lead from ``t0`` to ``t1``; 0 where they
    coincide."""
    if max_step <= 0:
        raise ValueError(f"max_step is {max_step}; a positive time step is needed")
    return math.ceil(abs(t1 - t0) / max_step - 1e-6)


def integrate(
    field: Velocity,
    x: Float[Tensor, "*B D"],
    t0: float | Float[Tensor, "*B 1"],
    t1: float | Float[Tensor, "*B 1"],
    max_step: float,
    method: Method = "midpoint",
) -> Float[Tensor, "*B D"]:
    """Carry ``x`` along ``dx/dt = field(x, t)`` from time ``t0`` to ``t1``, forwards or backwards.

    The state may hold anything that the field returns the rate of. Gradients flow through every step. The
    number of steps is fixed by the times alone.

    Args:
        field: Rate of change of the state, called as ``field(x, t)``.
        x: State at ``t0``.
        t0: Start time, one for all or one for each row of ``x``.
        t1: End time, likewise. All rows take the same number of steps, which the longest way needs; a row
            whose times coincide does not move at all.
        max_step: Longest time step taken.
        method: ``euler``, ``midpoint`` (second order, NVFi's choice) or ``rk4``.

    Raises:
        ValueError: ``max_step`` is not positive or the method is unknown.
    """
    if method not in ("euler", "midpoint", "rk4"):
        raise ValueError(f"integration method {method!r} is unknown; use euler, midpoint or rk4")
    span = t1 - t0
    if isinstance(span, Tensor) and not span.numel():
        return x
    longest = float(span.abs().amax()) if isinstance(span, Tensor) else span
    n = step_count(0.0, longest, max_step)
    if n == 0:
        return x
    h = span / n
    for i in range(n):
        t = t0 + i * h
        k1 = field(x, t)
        if method == "euler":
            x = x + h * k1
            continue
        k2 = field(x + 0.5 * h * k1, t + 0.5 * h)
        if method == "midpoint":
            x = x + h * k2
            continue
        k3 = field(x + 0.5 * h * k2, t + 0.5 * h)
        k4 = field(x + h * k3, t + h)
        x = x + (h / 6.0) * (k1 + 2 * k2 + 2 * k3 + k4)
    return x
