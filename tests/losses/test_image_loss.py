"""Weights of pixels in the image loss."""

from __future__ import annotations

import torch

from dyn3d_ns.losses.photometric import image_loss, mean_absolute_error


def make(factor: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return a rendering, its accumulation, a recorded image with alpha, and a background."""
    generator = torch.Generator().manual_seed(0)
    render = 0.5 * torch.rand(12, 14, 3, generator=generator)
    alpha = 0.5 + 0.5 * torch.rand(12, 14, 1, generator=generator)
    image = torch.randint(0, 256, (12 * factor, 14 * factor, 4), generator=generator, dtype=torch.uint8)
    return render, alpha, image, torch.rand(3, generator=generator)


def test_weights_of_one_change_nothing() -> None:
    for factor in (1, 2):
        render, alpha, image, background = make(factor)
        ones = torch.ones(*image.shape[:2], 1)
        for ssim_weight in (0.0, 0.2):
            options = (render, alpha, image, background, factor, ssim_weight)
            torch.testing.assert_close(image_loss(*options, ones), image_loss(*options))


def test_what_a_pixel_without_weight_shows_makes_no_difference() -> None:
    """Also where it shares a pixel of a smaller rendering with others that count."""
    for factor in (1, 2):
        render, alpha, image, background = make(factor)
        weight = torch.ones(*image.shape[:2], 1)
        weight[:, ::3] = 0.0
        other = torch.where(weight > 0, image, 255 - image)
        for ssim_weight in (0.0, 0.2):
            losses = [
                image_loss(render, alpha, shown, background, factor, ssim_weight, weight)
                for shown in (image, other)
            ]
            torch.testing.assert_close(losses[0], losses[1], rtol=0, atol=0)


def test_a_block_is_compared_with_the_mean_of_what_counts_in_it() -> None:
    image = torch.tensor([[[200, 200, 200], [0, 0, 0]], [[100, 100, 100], [0, 0, 0]]], dtype=torch.uint8)
    weight = torch.tensor([[[1.0], [0.0]], [[1.0], [0.0]]])
    render, alpha, background = torch.full((1, 1, 3), 150 / 255), torch.ones(1, 1, 1), torch.zeros(3)
    assert float(image_loss(render, alpha, image, background, 2, weight=weight)) < 1e-6
    brighter = float(image_loss(render + 0.2, alpha, image, background, 2, weight=weight))
    assert abs(brighter - 0.5 * 0.2) < 1e-6


def test_a_pixel_without_weight_has_no_gradient_at_all() -> None:
    """Adam steps as far by rounding errors as by slopes, where there are no others."""
    render, alpha, image, background = make(1)
    weight = torch.ones(12, 14, 1)
    weight[:, 5:] = 0.0
    render.requires_grad_(), alpha.requires_grad_()
    for ssim_weight in (0.0, 0.2):
        loss = image_loss(render, alpha, image, background, 1, ssim_weight, weight)
        for slope in torch.autograd.grad(loss, (render, alpha)):
            assert (slope[:, 5:] == 0).all() and (slope[:, :5] != 0).any()


def test_a_weight_scales_the_mean_error_and_its_slopes() -> None:
    """Whether in one pass over bytes or, as here by images of floats, by torch's operators."""
    for factor in (1, 2):
        render, alpha, image, background = make(factor)
        weight = torch.rand(*image.shape[:2], 1, generator=torch.Generator().manual_seed(1))
        render.requires_grad_(), alpha.requires_grad_()
        found = []
        for shown in (image, image.float() / 255):
            loss = mean_absolute_error(render, alpha, shown, background, factor, weight)
            found.append((loss.detach(), *torch.autograd.grad(loss, (render, alpha))))
        for fused, plain in zip(*found, strict=True):
            torch.testing.assert_close(fused, plain)
        once = mean_absolute_error(render, alpha, image, background, factor)
        half = mean_absolute_error(render, alpha, image, background, factor, torch.full_like(weight, 0.5))
        torch.testing.assert_close(half, 0.5 * once)
        weight[:, ::3] = 0.0
        other = torch.where(weight > 0, image, 255 - image)
        losses = [
            mean_absolute_error(render, alpha, shown, background, factor, weight) for shown in (image, other)
        ]
        torch.testing.assert_close(losses[0], losses[1], rtol=0, atol=0)
