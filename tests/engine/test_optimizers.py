"""The schedule holds, then decays; the fused Adam equals the plain one."""

import pytest
import torch

from dyn3d_ns.engine.optimizers import FusedAdamConfig, HoldThenDecayConfig


def test_rate_holds_then_decays_to_the_end() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0)
    schedule = HoldThenDecayConfig(hold=1 / 3, max_steps=30, final=0.01).setup().get_scheduler(optimizer, 2.0)
    rates = []
    for _ in range(35):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates[:11] == [2.0] * 11
    assert rates[20] == pytest.approx(0.2)
    assert rates[30] == rates[34] == pytest.approx(0.02)
    assert all(isinstance(value, float) for value in rates)


def test_fused_adam_takes_the_same_step() -> None:
    torch.manual_seed(0)
    start, gradient = torch.randn(50, 3), torch.randn(50, 3)
    results = []
    for make in (
        lambda p: FusedAdamConfig(lr=0.1, eps=1e-15).setup(params=p),
        lambda p: torch.optim.Adam(p, lr=0.1, eps=1e-15),
    ):
        parameter = torch.nn.Parameter(start.clone())
        optimizer = make([parameter])
        for _ in range(3):
            parameter.grad = gradient.clone()
            optimizer.step()
        results.append(parameter.detach())
    torch.testing.assert_close(results[0], results[1])
    assert float((results[0] - start).abs().min()) > 0.2
