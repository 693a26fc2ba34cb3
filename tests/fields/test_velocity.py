"""Velocity fields: divergence-free by construction, whatever the weights."""

import pytest
import torch

from dyn3d_ns.fields.time_basis import TimeBasis
from dyn3d_ns.fields.velocity import BasisVelocityField


def random_field() -> BasisVelocityField:
    torch.manual_seed(0)
    field = BasisVelocityField(TimeBasis(0.3, 0.0, 0.75, (0, 1, 2), 6, anchored=False, vanishing=True), 5)
    for parameter in field.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return field


@pytest.mark.parametrize("t", [0.1, 0.75, 1.2])
def test_the_gradient_is_antisymmetric(t: float) -> None:
    field = random_field()
    codes = torch.softmax(torch.randn(4, 5), dim=-1)
    x = torch.randn(4, 3)
    full = torch.autograd.functional.jacobian(lambda p: field(p, t, codes), x)
    own = torch.stack([full[i, :, i] for i in range(4)])
    assert float(own.abs().max()) > 0.01
    torch.testing.assert_close(own, -own.mT, rtol=1e-4, atol=1e-5)


def test_the_first_motion_is_rest_and_stays_it() -> None:
    field = random_field()
    assert float(field.twists(0.4)[0].abs().max()) == 0.0
    assert float(field.twists(0.4)[1:].abs().min()) > 0.0


def test_splines_of_the_field_vanish_at_the_last_observed_time() -> None:
    """Beyond it the polynomials alone count, and twist, rate and acceleration cross without a jump."""
    basis = TimeBasis(0.3, 0.0, 0.75, (0, 1), 6, anchored=False, vanishing=True)
    for derivative in (0, 1, 2):
        assert float(basis(0.75 - 1e-9, derivative)[0, 2:].abs().max()) < 1e-3
    assert float(basis(0.9)[0, 2:].abs().max()) == 0.0
