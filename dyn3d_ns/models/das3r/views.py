"""What belongs to the training views: how static each pixel is, poses, the focal length, shadows."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn
from torch.nn.functional import interpolate, softplus

_CELLS = 24
"""Cells of a shadow's map along the longer side of the image."""
_NO_SHADOW = -6.0
"""Raw darkness to start from: a quarter of a percent."""


class TrainingViews(nn.Module):
    """Maps and parameters of V training views; empty until :meth:`start` or a checkpoint fills them."""

    static: UInt8[Tensor, "V H W"]
    """How static each pixel is, 0 to 255: its weight in the loss."""
    camera_to_worlds: Float[Tensor, "V 3 4"]
    """Poses to start from, OpenGL axes."""
    Ks: Float[Tensor, "V 3 3"]
    """Intrinsics to start from, pixels of the maps."""
    times: Float[Tensor, "V"]
    """Normalised times, rising."""
    psnr: Float[Tensor, "V"]
    """PSNR over static pixels when each view was last rendered, dB; 0 before."""

    def __init__(self, count: int) -> None:
        """Make room for so many views."""
        super().__init__()
        self.register_buffer("static", torch.zeros(count, 0, 0, dtype=torch.uint8))
        self.register_buffer("camera_to_worlds", torch.zeros(count, 3, 4))
        self.register_buffer("Ks", torch.zeros(count, 3, 3))
        self.register_buffer("times", torch.zeros(count))
        self.register_buffer("psnr", torch.zeros(count))
        self.darkness = nn.Parameter(torch.zeros(count, 0, 0))
        self.log_focal = nn.Parameter(torch.zeros(1))

    def start(
        self,
        static: Float[Tensor, "V H W"],
        camera_to_worlds: Float[Tensor, "V 3 4"],
        Ks: Float[Tensor, "V 3 3"],
        times: Float[Tensor, "V"],
    ) -> None:
        """Take the maps and cameras that training begins with."""
        device = self.times.device
        self.static = _bytes(static).to(device)
        self.camera_to_worlds, self.Ks = camera_to_worlds.float().to(device), Ks.float().to(device)
        self.times = times.flatten().float().to(device)
        height, width = static.shape[1:]
        cell = max(height, width) / _CELLS
        cells = max(round(height / cell), 1), max(round(width / cell), 1)
        self.darkness = nn.Parameter(torch.full((len(static), *cells), _NO_SHADOW, device=device))

    def weight(self, view: int) -> Float[Tensor, "H W 1"]:
        """Return how much each pixel of a view counts, in 0..1."""
        return self.static[view].float()[..., None] / 255.0

    def set_static(self, view: int, static: Float[Tensor, "H W"]) -> None:
        """Change how static the pixels of a view are."""
        self.static[view] = _bytes(static)

    def light(self, view: int, height: int, width: int) -> Float[Tensor, "H W 1"]:
        """Return the part of the scene's light that arrives at each pixel of a view, in 0..1."""
        cells = softplus(self.darkness[view])[None, None]
        dark = interpolate(cells, size=(height, width), mode="bilinear", align_corners=False)[0, 0]
        return torch.exp(-dark)[..., None]

    def darkness_cost(self) -> Float[Tensor, ""]:
        """Return the mean darkness and its mean step between neighbouring cells, over all views."""
        dark = softplus(self.darkness)
        steps = [dark.diff(dim=axis).abs().mean() for axis in (1, 2) if dark.shape[axis] > 1]
        return dark.mean() + (sum(steps, dark.new_zeros(())) if steps else 0.0)

    @property
    def focal_factor(self) -> Float[Tensor, "1"]:
        """Factor of the focal lengths that training has found."""
        return self.log_focal.exp()

    def neighbours(self, time: float) -> tuple[Int64[Tensor, "2"], float]:
        """Return the views before and after a time, and how far it lies between them, 0 to 1."""
        now = self.times.new_tensor(time)
        after = int(torch.searchsorted(self.times, now).clamp(0, len(self.times) - 1))
        before = max(after - 1, 0) if self.times[after] > now else after
        gap = float(self.times[after] - self.times[before])
        part = 0.0 if gap <= 0 else min(max(float(now - self.times[before]) / gap, 0.0), 1.0)
        return torch.tensor([before, after]), part

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Take the sizes of what comes."""
        for name in ("static", "camera_to_worlds", "Ks", "times", "psnr"):
            value = state_dict.get(prefix + name)
            if value is not None:
                self.register_buffer(name, torch.zeros_like(value, device=self.times.device))
        darkness = state_dict.get(prefix + "darkness")
        if darkness is not None and darkness.shape != self.darkness.shape:
            self.darkness = nn.Parameter(torch.zeros_like(darkness, device=self.times.device))
        super()._load_from_state_dict(state_dict, prefix, *args)


def _bytes(static: Float[Tensor, "*shape"]) -> UInt8[Tensor, "*shape"]:
    return (static.clamp(0, 1) * 255).round().to(torch.uint8)
