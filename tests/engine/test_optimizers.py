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


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_fused_adam_takes_the_same_step(fused: bool, weight_decay: float) -> None:
    # It calls torch._fused_adam_, which is private: a torch that changes it fails here.
    torch.manual_seed(0)
    start, gradients = torch.randn(50, 3), torch.randn(3, 50, 3)
    options = {"lr": 0.1, "eps": 1e-15, "weight_decay": weight_decay}
    results, states = [], []
    for make in (
        lambda p: FusedAdamConfig(**options).setup(params=p),
        lambda p: torch.optim.Adam(p, fused=fused, **options),
    ):
        parameter = torch.nn.Parameter(start.clone())
        optimizer = make([parameter])
        for gradient in gradients:
            parameter.grad = gradient.clone()
            optimizer.step()
        results.append(parameter.detach())
        states.append(optimizer.state_dict()["state"][0])
    assert states[0].keys() == states[1].keys()
    if fused:  # the same kernel: bit by bit
        assert torch.equal(results[0], results[1])
        assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    torch.testing.assert_close(results[0], results[1])
    assert float((results[0] - start).abs().max()) > 0.2
