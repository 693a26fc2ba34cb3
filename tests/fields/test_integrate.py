"""Integration against closed forms: translation, rotation, oscillation, expansion."""

import math

import pytest
import torch

from dyn3d_ns.fields.integrate import integrate, step_count


def spin(x: torch.Tensor, t: float) -> torch.Tensor:
    return torch.stack([-x[:, 1], x[:, 0], torch.zeros_like(x[:, 0])], dim=1) * 2 * math.pi


def rotation_error(method: str, steps: int) -> float:
    x = torch.tensor([[1.0, 0.0, 0.3]], dtype=torch.float64)
    moved = integrate(spin, x, 0.0, 0.25, 0.25 / steps, method)  # type: ignore[arg-type]
    return float((moved - torch.tensor([[0.0, 1.0, 0.3]], dtype=torch.float64)).norm())


@pytest.mark.parametrize(("method", "order"), [("euler", 1), ("midpoint", 2), ("rk4", 4)])
def test_error_on_a_rotation_falls_with_the_order_of_the_method(method: str, order: int) -> None:
    ratio = rotation_error(method, 20) / rotation_error(method, 40)
    assert 2**order * 0.85 < ratio < 2**order * 1.25


def test_translation_and_expansion_and_oscillation() -> None:
    x = torch.tensor([[0.5, -1.0]], dtype=torch.float64)
    shift = torch.tensor([1.0, 2.0], dtype=torch.float64)
    torch.testing.assert_close(integrate(lambda x, t: shift.expand_as(x), x, 0.2, 0.7, 0.1), x + 0.5 * shift)
    grown = integrate(lambda x, t: x, x, 0.0, 1.0, 0.01, "rk4")
    torch.testing.assert_close(grown, x * math.e, rtol=1e-8, atol=0)
    swung = integrate(lambda x, t: torch.full_like(x, math.cos(t)), x, 0.0, 2.0, 0.001)
    torch.testing.assert_close(swung, x + math.sin(2.0), rtol=1e-6, atol=0)


def test_there_and_back_returns() -> None:
    x = torch.randn(30, 3, dtype=torch.float64)
    there = integrate(spin, x, 0.1, 0.4, 0.01)
    assert float((there - x).norm(dim=1).min()) > 0.01
    assert float((integrate(spin, there, 0.4, 0.1, 0.01) - x).abs().max()) < 1e-3


def whirl(x: torch.Tensor, t: float) -> torch.Tensor:
    """A field that bends in space and time, for which no order comes by luck."""
    return torch.stack(
        [torch.sin(2 * x[:, 1] + t), torch.cos(x[:, 0]) + x[:, 2] * t, x[:, 0] * x[:, 1]], dim=1
    )


def test_what_is_left_after_there_and_back_is_of_third_order_a_step() -> None:
    """Spec 8.2, 2: over a fixed time the rest falls at least with the square of the step."""
    x = torch.randn(30, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def rest(step: float) -> float:
        there = integrate(whirl, x, 0.1, 0.7, step)
        return float((integrate(whirl, there, 0.7, 0.1, step) - x).abs().max())

    assert rest(0.05) < 20 * 12 * 0.05**3
    assert rest(0.05) > 3.4 * rest(0.025) > 0


def test_step_count_of_the_published_schedule() -> None:
    half = 0.05 / 2
    assert step_count(59 / 60, 0.75, half) == 10
    assert step_count(22 / 60, 0.35, half) == 1
    assert step_count(0.35, 0.35, half) == 0
    with pytest.raises(ValueError, match="positive"):
        step_count(0.0, 1.0, 0.0)


def test_no_rows_take_no_steps() -> None:
    """As where a chunk of rays meets nothing."""
    nothing = torch.zeros(0, 3)
    assert integrate(spin, nothing, torch.zeros(0, 1), torch.ones(0, 1), 0.1) is nothing


def test_unknown_method_is_refused() -> None:
    with pytest.raises(ValueError, match="rk9"):
        integrate(spin, torch.zeros(1, 3), 0, 1, 0.1, "rk9")  # type: ignore[arg-type]


def test_gradients_flow_through_the_steps() -> None:
    rate = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    x = torch.tensor([[2.0]], dtype=torch.float64)
    integrate(lambda x, t: rate * x, x, 0.0, 1.0, 0.01).sum().backward()
    assert rate.grad is not None
    assert abs(float(rate.grad) - 2 * math.exp(0.7)) < 1e-3
