"""Integration of a velocity field as a Neural ODE, with steps chosen by their error."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from dyn3d_ns.fields.integrate import Velocity, integrate, step_count

_FALLBACK_STEPS = 8
_MOST_STEPS = 1000


def integrate_ode(
    field: Velocity,
    x: Float[Tensor, "*B D"],
    t0: float | Float[Tensor, "*B 1"],
    t1: float | Float[Tensor, "*B 1"],
    *,
    rtol: float = 1e-2,
    atol: float = 1e-3,
    step_size: float | None = None,
    adjoint_params: Sequence[Tensor] | None = None,
) -> Float[Tensor, "*B D"]:
    """Carry ``x`` along ``dx/dt = field(x, t)`` from time ``t0`` to ``t1`` with torchdiffeq's dopri5.

    Takes what :func:`dyn3d_ns.fields.integrate.integrate` takes and moves points as far: over a time of one
    frame a field in units per frame moves them by itself. A step is accepted by the error of the point that
    errs most, so that points at rest do not hide one that moves. Without torchdiffeq, which the extra `ode`
    installs, it is our rk4, and that is said once.

    Args:
        field: Rate of change of the state, called as ``field(x, t)``.
        x: State at ``t0``.
        t0: Start time, one for all or one for each row of ``x``.
        t1: End time, likewise; a row whose times coincide does not move.
        rtol: Error allowed a step, relative to a point's coordinates.
        atol: Error allowed a step, in the units of ``x``, beside the relative one.
        step_size: Take equal steps of at most this time, the longest way counting, and look at no error.
            Otherwise the first step tried is a quarter of the way.
        adjoint_params: Tensors that the field depends on. If given, gradients reach these, ``x`` and nothing
            else, by the adjoint method: memory does not grow with the steps, time does. Without it they
            reach everything, through the steps.

    Raises:
        ValueError: ``step_size`` is not positive.
        ArithmeticError: No step is short enough, as where the field is not finite.
    """
    if step_size is not None and step_size <= 0:
        raise ValueError(f"step_size is {step_size}; a positive time step is needed")
    if not x.numel():
        return x
    span = t1 - t0
    longest = float(span.abs().amax()) if isinstance(span, Tensor) else abs(span)
    if longest == 0:
        return x
    solvers = _solvers()
    if solvers is None:
        return integrate(field, x, t0, t1, step_size or longest / _FALLBACK_STEPS, "rk4")
    odeint, odeint_adjoint = solvers
    solve = odeint
    if adjoint_params is not None:
        solve = functools.partial(odeint_adjoint, adjoint_params=tuple(adjoint_params))

    # One way from 0 to 1 for all rows, whatever their times.
    def rate(s: Tensor, x: Tensor) -> Tensor:
        at = s.to(x.dtype) if isinstance(span, Tensor) else float(s.detach())
        return span * field(x, t0 + at * span)

    way = torch.tensor([0.0, 1.0], device=x.device, dtype=x.dtype)
    # The field is not asked beyond the ends, as dopri5 does to interpolate back.
    options: dict[str, Any] = {"norm": worst_point, "step_t": way}
    options |= {"first_step": 0.25, "max_num_steps": _MOST_STEPS}
    if step_size is not None:
        n = step_count(0.0, longest, step_size)
        h = (1 + 1e-9) / n  # a little more, so that rounding adds no step at the end
        options |= {"first_step": h, "min_step": h, "max_step": h, "max_num_steps": n + 1}
    try:
        return solve(rate, x, way, rtol=rtol, atol=atol, method="dopri5", options=options)[-1]
    except AssertionError as error:  # torchdiffeq's way to say that it gives up
        reason = " ".join(str(error).split())
        raise ArithmeticError(
            f"dopri5 cannot integrate the field from {_ends(t0)} to {_ends(t1)} ({reason[:80]}): "
            "it is not finite or too steep; use equal steps (step_size) or larger tolerances"
        ) from error


def worst_point(error: Float[Tensor, "*B D"]) -> Float[Tensor, ""]:
    """Return the largest root mean square of a row; the norm by which dopri5 accepts a step."""
    return error.square().mean(dim=-1).amax().sqrt()


@functools.cache
def _solvers() -> tuple[Callable[..., Any], Callable[..., Any]] | None:
    """Return torchdiffeq's two solvers, or None, saying so, where it is not installed."""
    try:
        from torchdiffeq import odeint, odeint_adjoint  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        from nerfstudio.utils.rich_utils import CONSOLE

        CONSOLE.print(
            f"torchdiffeq cannot be imported ({error}): the velocity field is integrated by rk4 in "
            f"{_FALLBACK_STEPS} steps instead of dopri5. To install it: pip install 'dyn3d-ns[ode]'",
            style="yellow",
            markup=False,
        )
        return None
    return odeint, odeint_adjoint


def _ends(t: float | Tensor) -> str:
    return f"{float(t.min()):.4g}…{float(t.max()):.4g}" if isinstance(t, Tensor) else f"{t:.4g}"
