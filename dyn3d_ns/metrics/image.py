"""Image quality: PSNR pooled and by image, SSIM, and LPIPS where its weights are on disk.

Predictions are rounded to 8 bit before scoring, as a saved image would be; ground truth keeps its
precision. (NVFi truncates instead of rounding, which costs it a few hundredths of a dB.)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from dyn3d_ns.losses.photometric import composite
from dyn3d_ns.losses.ssim import ssim as losses_ssim

MIN_MSE = 1e-10
"""Floor of the mean squared error: equal images score 100 dB instead of infinity, which JSON lacks."""

_LPIPS_BACKBONES = {"alex": "alexnet-owt-7be5be79.pth", "vgg": "vgg16-397923af.pth"}


def quantize(image: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
    """Round an image in 0..1 to the nearest of 256 levels."""
    return torch.round(image.clamp(0.0, 1.0) * 255.0) / 255.0


def mse(prediction: Float[Tensor, "H W 3"], target: Float[Tensor, "H W 3"]) -> float:
    """Return the mean squared error over pixels and channels."""
    return float((prediction - target).double().square().mean())


def psnr_of_mse(value: float) -> float:
    """Return the peak signal to noise ratio in dB for a peak of 1."""
    return -10.0 * math.log10(max(value, MIN_MSE))


def pooled_psnr(errors: Iterable[float]) -> float:
    """Return the PSNR of the mean squared error over all images, the figure that NVFi and others publish."""
    values = list(errors)
    return psnr_of_mse(sum(values) / len(values))


def compare(
    prediction: Float[Tensor, "H W 3"], image: Shaped[Tensor, "H W C"], background: Float[Tensor, "3"]
) -> tuple[dict[str, float], dict[str, Tensor]]:
    """Compare a rendering with a recorded image, as Nerfstudio's models report one evaluation image.

    Returns:
        PSNR and SSIM, and both images side by side, the recorded one over the background on the left.
    """
    truth, rgb = composite(image, background), quantize(prediction)
    metrics = {"psnr": psnr_of_mse(mse(rgb, truth)), "ssim": ssim(rgb, truth)}
    return metrics, {"img": torch.cat([truth, rgb], dim=1)}


def ssim(prediction: Float[Tensor, "H W 3"], target: Float[Tensor, "H W 3"]) -> float:
    """Return the structural similarity (Wang et al. 2004) for data in 0..1.

    The window is an 11x11 Gaussian of sigma 1.5 without padding; the mean runs over channels and the
    positions where the window fits.
    """
    if min(prediction.shape[:2]) < 11:
        raise ValueError(f"SSIM needs images of at least 11x11 pixels, got {tuple(prediction.shape)}")
    if prediction.is_cuda:
        # cuDNN may convolve float32 in TF32, whose rounding SSIM's differences magnify.
        return float(losses_ssim(prediction.double(), target.to(prediction).double(), "valid"))
    return float(losses_ssim(prediction, target.to(prediction), "valid"))


def lpips_weights(backbone: Literal["alex", "vgg"]) -> Path | None:
    """Return the backbone's weight file in torch's cache, or None if it is not on this disk."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / _LPIPS_BACKBONES[backbone]
    return path if path.is_file() else None


def load_lpips(
    backbone: Literal["alex", "vgg"], device: torch.device | str
) -> Callable[[Float[Tensor, "H W 3"], Float[Tensor, "H W 3"]], float] | None:
    """Return the LPIPS distance of two images in 0..1, or None where its weights are not on disk."""
    if lpips_weights(backbone) is None:
        return None
    from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

    network = LearnedPerceptualImagePatchSimilarity(net_type=backbone, normalize=True).to(device).eval()

    @torch.no_grad()
    def distance(prediction: Float[Tensor, "H W 3"], target: Float[Tensor, "H W 3"]) -> float:
        pair = (prediction.permute(2, 0, 1)[None], target.permute(2, 0, 1)[None])
        return float(network.net(*pair, normalize=True).mean())

    return distance
