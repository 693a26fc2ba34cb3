"""Losses between a rendered and a recorded image."""

import torch
from jaxtyping import Float
from torch import Tensor

from dyn3d_ns.rendering.ssim import ssim


def photometric_loss(
    rgb: Float[Tensor, "H W 3"], truth: Float[Tensor, "H W 3"], ssim_weight: float
) -> Float[Tensor, ""]:
    """Mix the mean absolute error with structural dissimilarity, ``(1 - w) L1 + w (1 - SSIM)``.

    This is the loss of 3DGS (equation 7), with the usual 11 x 11 window.
    """
    loss = (rgb - truth).abs().mean()
    if not ssim_weight:
        return loss
    return (1 - ssim_weight) * loss + ssim_weight * (1 - ssim(rgb, truth))


def area_downscale(image: Float[Tensor, "H W C"], factor: int) -> Float[Tensor, "H2 W2 C"]:
    """Average blocks of ``factor`` × ``factor`` pixels; rows and columns that fill no block are left out."""
    if factor == 1:
        return image
    planes = image.permute(2, 0, 1)[None]
    return torch.nn.functional.avg_pool2d(planes, factor)[0].permute(1, 2, 0)
