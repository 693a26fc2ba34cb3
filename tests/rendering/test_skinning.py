"""The one-pass kernel against the same formula in float64 autograd."""

import pytest
import torch

from dyn3d_ns.rendering.skinning import apply_motions


@pytest.mark.parametrize("rows", [0, 1, 5000])
def test_values_and_gradients_equal_those_of_float64(rows: int) -> None:
    torch.manual_seed(0)
    inputs = [torch.randn(rows, n) for n in (16, 3, 4)]
    weights = [torch.randn(rows, n) for n in (3, 4)]
    single = [x.clone().requires_grad_() for x in inputs]
    double = [x.double().requires_grad_() for x in inputs]
    for arguments in (single, double):
        outputs = apply_motions(*arguments)
        sum((o * w).sum() for o, w in zip(outputs, weights, strict=True)).backward()
    for value, expected in zip(apply_motions(*single), apply_motions(*double), strict=True):
        torch.testing.assert_close(value.double(), expected, rtol=1e-5, atol=1e-5)
    for x, y in zip(single, double, strict=True):
        assert x.grad is not None and y.grad is not None
        torch.testing.assert_close(x.grad.double(), y.grad, rtol=1e-5, atol=1e-5)
