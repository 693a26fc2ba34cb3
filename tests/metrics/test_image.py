"""Image metrics against independent float64 computations."""

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import correlate1d
from torchmetrics.functional.image import structural_similarity_index_measure

from dyn3d_ns.losses.photometric import composite
from dyn3d_ns.losses.ssim import ssim_torch
from dyn3d_ns.metrics.image import (
    load_lpips,
    lpips_weights,
    mse,
    pooled_psnr,
    psnr_of_mse,
    quantize,
    ssim,
)


@pytest.fixture
def pair():
    generator = torch.Generator().manual_seed(0)
    target = torch.rand(40, 31, 3, generator=generator)
    noise = 0.1 * torch.randn(40, 31, 3, generator=generator)
    return (target + noise).clamp(0, 1), target


def reference_ssim(x, y):
    """Return SSIM after Wang et al. with an explicit kernel, in float64, where the window fits."""
    kernel = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
    kernel /= kernel.sum()

    def mean(image):
        return correlate1d(correlate1d(image, kernel, 0), kernel, 1)[5:-5, 5:-5]

    mx, my = mean(x), mean(y)
    vx, vy, cov = mean(x * x) - mx**2, mean(y * y) - my**2, mean(x * y) - mx * my
    c1, c2 = 1e-4, 9e-4
    return (((2 * mx * my + c1) * (2 * cov + c2)) / ((mx**2 + my**2 + c1) * (vx + vy + c2))).mean()


def test_ssim_agrees_with_float64_and_with_torchmetrics(pair):
    x, y = pair
    assert ssim(x, y) == pytest.approx(reference_ssim(x.double().numpy(), y.double().numpy()), abs=1e-6)
    batches = (x.permute(2, 0, 1)[None], y.permute(2, 0, 1)[None])
    _, theirs = structural_similarity_index_measure(
        *batches, sigma=1.5, data_range=1.0, return_full_image=True
    )
    # Theirs is padded by reflection; without its border it is the figure that papers report.
    assert ssim(x, y) == pytest.approx(float(theirs[..., 5:-5, 5:-5].mean()), abs=1e-5)


def test_ssim_in_double_precision_as_on_a_gpu_agrees(pair):
    x, y = pair
    assert ssim(x.double(), y.double()) == pytest.approx(ssim(x, y), abs=1e-6)
    same = ssim_torch(x.double(), y.double(), valid=True)
    assert ssim(x, y) == pytest.approx(float(same), abs=1e-6)


@pytest.mark.gpu
def test_ssim_is_the_same_on_a_gpu(pair):
    x, y = pair
    assert ssim(x.cuda(), y.cuda()) == pytest.approx(ssim(x, y), abs=1e-6)


def test_ssim_of_equal_images_is_one(pair):
    assert ssim(pair[1], pair[1]) == pytest.approx(1.0, abs=1e-6)
    with pytest.raises(ValueError, match="11x11"):
        ssim(torch.zeros(10, 20, 3), torch.zeros(10, 20, 3))


def test_mse_and_psnr(pair):
    x, y = (image.double().numpy() for image in pair)
    expected = ((x - y) ** 2).mean()
    assert mse(*pair) == pytest.approx(expected, rel=1e-6)
    assert psnr_of_mse(mse(*pair)) == pytest.approx(10 * np.log10(1 / expected), abs=1e-5)
    assert psnr_of_mse(0.0) == 100.0


def test_pooled_psnr_never_exceeds_the_mean():
    errors = [1e-4, 3e-3, 2e-2]
    assert pooled_psnr(errors) == pytest.approx(-10 * math.log10(sum(errors) / 3))
    assert pooled_psnr(errors) < sum(-10 * math.log10(e) for e in errors) / 3
    assert pooled_psnr([2e-3] * 4) == pytest.approx(psnr_of_mse(2e-3))


def test_quantize_rounds_instead_of_truncating():
    values = torch.tensor([0.0, 0.4 / 255, 0.6 / 255, 254.7 / 255, 1.2, -0.1])
    torch.testing.assert_close(quantize(values) * 255, torch.tensor([0.0, 0, 1, 255, 255, 0]))


def test_composite_lays_straight_alpha_over_the_background():
    image = torch.tensor([[[255, 0, 0, 51], [10, 20, 30, 0], [10, 20, 30, 255]]], dtype=torch.uint8)
    background = torch.tensor([0.0, 1.0, 0.5])
    expected = torch.tensor([[[0.2, 0.8, 0.4], [0.0, 1.0, 0.5], [10 / 255, 20 / 255, 30 / 255]]])
    torch.testing.assert_close(composite(image, background), expected)
    torch.testing.assert_close(composite(image[..., :3], background), image[..., :3].float() / 255)
    torch.testing.assert_close(composite(image.float() / 255, background), expected)
    weights = torch.rand(1, 3, 1)
    assert composite(weights, background) is weights
    # Rays, each over a background of its own.
    behind = torch.rand(3, 3)
    rays = composite(image[0].float() / 255, behind)
    torch.testing.assert_close(
        rays, expected[0] + torch.tensor([[0.8], [1.0], [0.0]]) * (behind - background)
    )


def test_lpips_is_left_out_without_weights(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    assert load_lpips("vgg", "cpu") is None
    (tmp_path / "checkpoints").mkdir()
    weights = tmp_path / "checkpoints" / "vgg16-397923af.pth"
    weights.touch()
    assert lpips_weights("vgg") == weights
    assert lpips_weights("alex") is None
