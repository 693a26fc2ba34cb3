"""Integration as a Neural ODE against closed forms, with torchdiffeq and without it."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from dyn3d_ns.fields import neural_ode
from dyn3d_ns.fields.integrate import integrate
from dyn3d_ns.fields.neural_ode import integrate_ode, worst_point

Time = float | Tensor


@pytest.fixture(params=["torchdiffeq", "rk4"])
def solver(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Both ways: torchdiffeq, and what is done where it cannot be imported."""
    if request.param == "torchdiffeq":
        pytest.importorskip("torchdiffeq", reason="pip install 'dyn3d-ns[ode]' runs this")
    else:
        monkeypatch.setitem(sys.modules, "torchdiffeq", None)
    neural_ode._solvers.cache_clear()
    yield request.param
    neural_ode._solvers.cache_clear()


@pytest.fixture
def torchdiffeq() -> None:
    pytest.importorskip("torchdiffeq", reason="pip install 'dyn3d-ns[ode]' runs this")


def points(count: int) -> Tensor:
    return torch.randn(count, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(count))


def turn(angle: float | Tensor) -> Tensor:
    """Rotation about z by an angle [N 1] or one for all."""
    angle = torch.as_tensor(angle, dtype=torch.float64).reshape(-1)
    c, s, o = angle.cos(), angle.sin(), torch.zeros_like(angle)
    return torch.stack([c, -s, o, s, c, o, o, o, o + 1], dim=-1).reshape(-1, 3, 3)


def spin(x: Tensor, t: Time) -> Tensor:
    """A quarter turn about z a unit of time."""
    return torch.stack([-x[:, 1], x[:, 0], torch.zeros_like(x[:, 0])], dim=1) * (math.pi / 2)


def test_a_steady_field_moves_points_by_itself_a_frame_as_euler_does(solver: str) -> None:
    """The field is in units a frame, and the way of one frame is as long in every mode of integration."""
    x, v = points(5), torch.tensor([0.3, -0.2, 0.05], dtype=torch.float64)

    def steady(x: Tensor, t: Time) -> Tensor:
        return v.expand_as(x)

    moved = integrate_ode(steady, x, 4.0, 5.0)
    torch.testing.assert_close(moved, x + v)
    torch.testing.assert_close(moved, integrate(steady, x, 4.0, 5.0, 0.5, "euler"))
    torch.testing.assert_close(integrate_ode(steady, x, 4.0, 3.0), x - v)


def test_rotation_about_an_axis(solver: str) -> None:
    x = points(20)
    expected = (turn(math.pi / 2) @ x[..., None])[..., 0]
    loose = integrate_ode(spin, x, 0.0, 1.0)
    assert float((loose - expected).norm(dim=1).max()) < 0.02
    fine = integrate_ode(spin, x, 0.0, 1.0, rtol=1e-8, atol=1e-8)
    assert float((fine - expected).norm(dim=1).max()) < (1e-6 if solver == "torchdiffeq" else 1e-3)


def test_a_linear_field_is_the_matrix_exponential(solver: str) -> None:
    a = torch.tensor([[0.3, -1.0, 0.2], [0.8, -0.4, 0.1], [0.0, 0.5, 0.2]], dtype=torch.float64)
    x = points(20)
    expected = x @ torch.linalg.matrix_exp(1.5 * a).T
    moved = integrate_ode(lambda x, t: x @ a.T, x, 0.5, 2.0, rtol=1e-7, atol=1e-8, step_size=0.05)
    torch.testing.assert_close(moved, expected, rtol=1e-5, atol=1e-5)
    adaptive = integrate_ode(lambda x, t: x @ a.T, x, 0.5, 2.0, rtol=1e-7, atol=1e-8)
    torch.testing.assert_close(adaptive, expected, rtol=1e-2, atol=1e-3)


def test_the_field_is_told_the_time(solver: str) -> None:
    x = points(4)
    moved = integrate_ode(lambda x, t: torch.full_like(x, math.cos(t)), x, 0.3, 1.9, rtol=1e-7, atol=1e-8)
    torch.testing.assert_close(moved, x + math.sin(1.9) - math.sin(0.3), rtol=1e-4, atol=1e-4)


def test_every_point_has_times_of_its_own(solver: str) -> None:
    """Among them one that stays and one that goes back."""
    x = points(4)
    t0 = torch.tensor([[0.0], [0.5], [1.0], [0.7]], dtype=torch.float64)
    t1 = torch.tensor([[1.0], [1.0], [0.0], [0.7]], dtype=torch.float64)
    moved = integrate_ode(spin, x, t0, t1, rtol=1e-7, atol=1e-8)
    expected = (turn((t1 - t0) * (math.pi / 2)) @ x[..., None])[..., 0]
    torch.testing.assert_close(moved, expected, rtol=1e-3, atol=1e-3)
    assert torch.equal(moved[3], x[3])

    def swing(x: Tensor, t: Time) -> Tensor:
        assert isinstance(t, Tensor)
        assert t.shape == (4, 1)
        return t.cos().expand_as(x)

    swung = integrate_ode(swing, x, t0, t1, rtol=1e-7, atol=1e-8)
    torch.testing.assert_close(swung, x + t1.sin() - t0.sin(), rtol=1e-4, atol=1e-4)


def test_a_mover_beside_many_still_points_is_carried_as_if_alone(solver: str) -> None:
    """The mean over all points, torchdiffeq's own norm, leaves it 1.3 radii away."""
    x = torch.zeros(100_001, 3)
    x[0] = torch.tensor([1.0, 0.0, 0.0])

    def circle(x: Tensor, t: Time) -> Tensor:
        rate = torch.zeros_like(x)
        rate[0] = torch.stack([-x[0, 1], x[0, 0], 0 * x[0, 2]]) * (2 * math.pi)
        return rate

    moved = integrate_ode(circle, x, 0.0, 1.0)
    assert float((moved[0] - x[0]).norm()) < 0.05
    assert not moved[1:].any()
    if solver == "torchdiffeq":
        torch.testing.assert_close(moved[:1], integrate_ode(circle, x[:1], 0.0, 1.0))


def test_there_and_back_is_where_one_started(solver: str) -> None:
    x = points(30)

    def whirl(x: Tensor, t: Time) -> Tensor:
        return torch.stack(
            [torch.sin(2 * x[:, 1] + t), x[:, 0].cos() + x[:, 2] * t, x[:, 0] * x[:, 1]], dim=1
        )

    there = integrate_ode(whirl, x, 0.1, 0.7, rtol=1e-8, atol=1e-8)
    assert float((there - x).norm(dim=1).median()) > 0.1
    back = integrate_ode(whirl, there, 0.7, 0.1, rtol=1e-8, atol=1e-8)
    assert float((back - x).abs().max()) < (1e-5 if solver == "torchdiffeq" else 1e-2)


def test_gradients_reach_the_field_and_the_start(solver: str) -> None:
    rate = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    x = torch.tensor([[2.0, 1.0, 0.5]], dtype=torch.float64, requires_grad=True)
    integrate_ode(lambda x, t: rate * x, x, 0.0, 1.0, rtol=1e-8, atol=1e-8).sum().backward()
    assert rate.grad is not None
    assert x.grad is not None
    assert abs(float(rate.grad) - 3.5 * math.exp(0.7)) < 1e-3
    torch.testing.assert_close(x.grad, torch.full_like(x, math.exp(0.7)).detach(), rtol=1e-4, atol=0)


class Conditioned(nn.Module):
    """A small velocity field with a code, as MonoNeRF's: parameters, and a tensor that is none."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 3)).double()

    def forward(self, x: Tensor, t: Time, code: Tensor) -> Tensor:
        times = t.expand(len(x), 1) if isinstance(t, Tensor) else torch.full_like(x[:, :1], t)
        return self.net(torch.cat([x, times, code.expand(len(x), 2)], dim=1))


def test_adjoint_gradients_are_those_through_the_steps(torchdiffeq: None) -> None:
    found = []
    for adjoint in (False, True):
        field, x = Conditioned(), points(6).requires_grad_()
        source = torch.tensor([0.3, -0.4], dtype=torch.float64, requires_grad=True)
        code = 2 * source
        moved = integrate_ode(
            lambda x, t: field(x, t, code),  # noqa: B023
            x,
            torch.zeros(6, 1, dtype=torch.float64),
            torch.linspace(0.2, 1, 6, dtype=torch.float64)[:, None],
            rtol=1e-8,
            atol=1e-8,
            adjoint_params=[*field.parameters(), code] if adjoint else None,
        )
        moved.square().sum().backward()
        found.append([moved.detach(), x.grad, source.grad, *(p.grad for p in field.parameters())])
    for through_steps, by_adjoint in zip(*found, strict=True):
        assert float(by_adjoint.abs().max()) > 1e-3
        torch.testing.assert_close(by_adjoint, through_steps, rtol=1e-5, atol=1e-6)


def test_points_at_rest_have_finite_gradients(solver: str) -> None:
    rate = torch.zeros(3, requires_grad=True)
    x = torch.zeros(4, 3, requires_grad=True)
    integrate_ode(lambda x, t: rate * x, x, 0.0, 1.0).sum().backward()
    assert rate.grad is not None
    assert x.grad is not None
    assert torch.equal(rate.grad, torch.zeros(3))
    torch.testing.assert_close(x.grad, torch.ones(4, 3))


def test_a_field_in_mixed_precision_keeps_the_state_in_single(solver: str) -> None:
    net, x = nn.Linear(3, 3), points(4).float()
    expected = integrate_ode(lambda x, t: net(x), x, 0.0, 1.0)
    with torch.autocast("cpu", torch.bfloat16):
        moved = integrate_ode(lambda x, t: net(x), x, 0.0, 1.0)
    assert moved.dtype == torch.float32
    torch.testing.assert_close(moved, expected, rtol=0.05, atol=0.05)


def test_equal_steps_are_as_many_as_asked_for_and_stay_between_the_ends(torchdiffeq: None) -> None:
    times: list[float] = []

    def noted(x: Tensor, t: Time) -> Tensor:
        times.append(float(t))
        return torch.full_like(x, math.cos(50 * float(t)))

    integrate_ode(noted, points(2), 3.0, 2.0, step_size=0.101)
    assert len(times) == 1 + 10 * 6
    assert (min(times), max(times)) == (2.0, 3.0)
    times.clear()
    integrate_ode(noted, points(2), 3.0, 2.0)
    assert len(times) > 1 + 2 * 6
    assert (min(times), max(times)) == (2.0, 3.0)


def test_a_field_that_is_not_finite_is_named_and_ends_the_integration(torchdiffeq: None) -> None:
    for step_size in (None, 0.25):
        with pytest.raises(ArithmeticError, match=r"from 0 to 1 .*not finite or too steep; use equal steps"):
            integrate_ode(lambda x, t: x / 0.0, points(2), 0.0, 1.0, step_size=step_size)


def test_nothing_to_do_asks_the_field_nothing(solver: str) -> None:
    def never(x: Tensor, t: Time) -> Tensor:
        raise AssertionError("asked")

    x, none = points(3), torch.zeros(0, 3)
    assert integrate_ode(never, x, 0.4, 0.4) is x
    assert integrate_ode(never, x, torch.ones(3, 1), torch.ones(3, 1)) is x
    assert integrate_ode(never, none, torch.zeros(0, 1), torch.ones(0, 1)) is none
    assert integrate_ode(never, none, 0.0, 1.0) is none
    with pytest.raises(ValueError, match=r"step_size is 0\.0; a positive"):
        integrate_ode(never, x, 0.0, 1.0, step_size=0.0)


def test_a_missing_torchdiffeq_is_told_once_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "torchdiffeq", None)
    neural_ode._solvers.cache_clear()
    for _ in range(3):
        integrate_ode(spin, points(2), 0.0, 1.0)
    neural_ode._solvers.cache_clear()
    said = " ".join(capsys.readouterr().out.split())
    assert said.count("integrated by rk4 in 8 steps") == 1
    assert "pip install 'dyn3d-ns[ode]'" in said


def test_worst_point_is_that_of_the_largest_row() -> None:
    assert float(worst_point(torch.tensor([[0.0, 0.0], [3.0, 4.0], [1.0, 1.0]]))) == pytest.approx(
        math.sqrt(12.5)
    )
