"""The SSIM kernel against torch's convolutions in float64, value and gradient."""

import pytest
import torch

from dyn3d_ns.losses.ssim import ssim, ssim_torch


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("shape", [(40, 53, 3), (11, 11, 1), (70, 16, 4), (129, 33, 3)])
def test_matches_float64(shape, padding):
    g = torch.Generator().manual_seed(0)
    target = torch.rand(shape, generator=g)
    pred = (0.7 * target + 0.3 * torch.rand(shape, generator=g)).requires_grad_()
    exact = pred.detach().double().requires_grad_()
    value, want = ssim(pred, target, padding), ssim_torch(exact, target.double(), padding == "valid")
    (2.5 * value).backward()
    (2.5 * want).backward()
    assert abs(float(value) - float(want)) < 2e-6
    assert float((pred.grad - exact.grad).norm() / exact.grad.norm()) < 3e-5


def test_equal_images_score_one():
    image = torch.rand(30, 20, 3)
    assert abs(float(ssim(image, image)) - 1.0) < 1e-6


def test_errors_name_the_problem():
    with pytest.raises(ValueError, match="alike"):
        ssim(torch.rand(5, 5, 3), torch.rand(5, 6, 3))
    with pytest.raises(ValueError, match="window"):
        ssim(torch.rand(5, 5, 3), torch.rand(5, 5, 3), "valid")
