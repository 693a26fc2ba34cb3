"""What an evaluation says of a static scene: DAS3R's figures, and errors against clean plates."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dyn3d_ns.metrics.evaluation import FrameScore, RegionError, pooled_region_psnr, region_errors
from dyn3d_ns.metrics.image import mse, psnr_of_mse, ssim

_MEANS = ("static_psnr_das3r", "static_ssim")
_REGIONS = ("static", "clean", "clean_movers", "clean_seen")


def static_scores(
    shown: Float[Tensor, "H W 3"], truth: Float[Tensor, "H W 3"], moves: Bool[Tensor, "H W 1"]
) -> dict[str, float | RegionError]:
    """Compare what rests with the recorded image; nothing where everything moves.

    `static_psnr_das3r` is the paper's: both images are black where something moves, and the error of each
    channel is averaged over all pixels.
    """
    if bool(moves.all()):
        return {}
    errors = ((shown - truth) * ~moves).double().square().mean((0, 1))
    return {
        "static_psnr_das3r": fmean(psnr_of_mse(float(e)) for e in errors),
        "static_ssim": ssim(shown, torch.where(moves, shown, truth)),
    }


def clean_scores(
    shown: Float[Tensor, "H W 3"],
    clean: Float[Tensor, "H W 3"],
    moves: Bool[Tensor, "H W 1"] | None,
    seen: Bool[Tensor, "H W 1"],
) -> dict[str, float | RegionError]:
    """Compare all pixels, those behind movers and those seen at rest with the image without movers."""
    found: dict[str, float | RegionError] = {"clean": RegionError(mse(shown, clean), seen.numel())}
    for name, region in (("clean_movers", moves), ("clean_seen", seen)):
        error = region_errors(shown, clean, region).get("dynamic")
        if error is not None:
            found[name] = error
    return found


def overall(scores: Sequence[FrameScore]) -> dict[str, Any]:
    """Return the figures over all evaluation images, of whichever split; None where there are none."""
    figures: dict[str, Any] = {f"{name}_psnr": pooled_region_psnr(scores, name) for name in _REGIONS}
    for name in _MEANS:
        values = [s.extra[name] for s in scores if name in s.extra]
        figures[name] = fmean(values) if values else None
    return figures
