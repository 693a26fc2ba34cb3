"""Image quality: PSNR pooled and by image, SSIM, and LPIPS where its weights are on disk.

Predictions are rounded to 8 bit before scoring, as a saved image would be; ground truth keeps its
precision. (NVFi truncates instead of rounding, which costs it a few hundredths of a dB.)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

MIN_MSE = 1e-10
"""Floor of the mean squared error: equal images score 100 dB instead of infinity, which JSON lacks."""

_LPIPS_BACKBONES = {"alex": "alexnet-owt-7be5be79.pth", "vgg": "vgg16-397923af.pth"}


def quantize(image: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
    """Round an image in 0..1 to the nearest of 256 levels."""
    return torch.round(image.clamp(0.0, 1.0) * 255.0) / 255.0


def composite(image: Shaped[Tensor, "H W C"], background: Float[Tensor, "3"]) -> Float[Tensor, "H W 3"]:
    """Return an image (uint8, or float in 0..1) as float RGB, straight alpha laid over the background."""
    values = image.float() / 255.0 if image.dtype == torch.uint8 else image
    if values.shape[-1] == 3:
        return values
    alpha = values[..., 3:]
    return values[..., :3] * alpha + background.to(values) * (1.0 - alpha)


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
        return _mean_similarity(prediction, target.to(prediction), _blur_torch)
    return _mean_similarity(prediction.numpy(), target.to(prediction).numpy(), _blur_cv2)


def _mean_similarity(x: Any, y: Any, blur: Callable[[Any], Any]) -> float:
    mx, my, xx, yy, xy = blur(x), blur(y), blur(x * x), blur(y * y), blur(x * y)
    c1, c2 = 0.01**2, 0.03**2
    similarity = (2 * mx * my + c1) * (2 * (xy - mx * my) + c2)
    similarity = similarity / ((mx * mx + my * my + c1) * (xx - mx * mx + yy - my * my + c2))
    return float(similarity.mean())


_WEIGHTS = [math.exp(-0.5 * (k / 1.5) ** 2) for k in range(-5, 6)]
_WINDOW = [weight / math.fsum(_WEIGHTS) for weight in _WEIGHTS]


def _blur_cv2(image: np.ndarray) -> np.ndarray:
    """Filter with the SSIM window; many times faster on a CPU than torch's convolution."""
    window = np.array(_WINDOW, dtype=image.dtype)
    return cv2.sepFilter2D(image, -1, window, window)[5:-5, 5:-5]


def _blur_torch(image: Tensor) -> Tensor:
    """Filter with the SSIM window as sums of shifted images, on any device."""
    for dim in (0, 1):
        size = image.shape[dim] - 10
        image = torch.stack([image.narrow(dim, k, size) * w for k, w in enumerate(_WINDOW)]).sum(0)
    return image


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
