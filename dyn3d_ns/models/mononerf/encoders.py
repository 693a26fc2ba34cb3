"""Encoders of video: feature maps of every frame and a code of the whole clip, behind one protocol."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate


class VideoEncoder(nn.Module):
    """What turns the frames of a clip into feature maps and one code; the base of every encoder.

    The work is in two parts. :meth:`features` looks at the frames; where ``trainable`` is False it never
    changes and takes no gradient, so whoever uses it calls it once a clip and keeps what it returns.
    :meth:`code` makes the code from what the first part pooled; it is small and always trained. A spatial
    encoder has ``code_size`` 0 and pools nothing.

    Attributes:
        channels: Channels C of the feature maps.
        code_size: Length of the code, 0 for a spatial encoder.
        trainable: Whether :meth:`features` has parameters to train.
    """

    channels: int
    code_size: int
    trainable: bool

    def features(
        self, frames: Float[Tensor, "N 3 H W"]
    ) -> tuple[Float[Tensor, "N C h w"], Float[Tensor, "pooled"]]:
        """Return the maps of N >= 1 frames in [0, 1], at least 16 px a side, and the pooled clip.

        The maps cover the whole frame: their corners are those of the frame, whatever their size.
        """
        raise NotImplementedError

    def code(self, pooled: Float[Tensor, "pooled"]) -> Float[Tensor, "code"]:
        """Return the code of the clip from what :meth:`features` pooled."""
        raise NotImplementedError

    def forward(
        self, frames: Float[Tensor, "N 3 H W"]
    ) -> tuple[Float[Tensor, "N C h w"], Float[Tensor, "code"]]:
        """Return the maps of N frames in [0, 1] and the code of the clip."""
        maps, pooled = self.features(frames)
        return maps, self.code(pooled)


class SmallEncoder(VideoEncoder):
    """Three strided convolutions, trained with the field; maps at half the frame's size.

    The maps of a frame depend on that frame alone. The code mixes neighbouring frames, as SlowOnly's does.

    Args:
        channels: Channels of the maps.
        code: Length of the code; 0 makes it a spatial encoder, without the temporal part.
    """

    trainable = True

    def __init__(self, channels: int = 16, code: int = 32) -> None:
        super().__init__()
        self.channels, self.code_size = channels, code
        self.stages = nn.ModuleList([_stage(3, 16, 5), _stage(16, 32, 3), _stage(32, 48, 3)])
        self.mix = nn.Conv2d(16 + 32 + 48, channels, 1)
        self.temporal = nn.Sequential()
        if code:
            for _ in range(2):
                self.temporal.extend([nn.Conv3d(48, 48, (3, 1, 1), padding=(1, 0, 0)), nn.ReLU()])
            self.to_code = nn.Linear(48, code)

    def features(
        self, frames: Float[Tensor, "N 3 H W"]
    ) -> tuple[Float[Tensor, "N C h w"], Float[Tensor, "pooled"]]:
        """Return the maps of N frames in [0, 1], at half their size, and the pooled clip [48] or [0]."""
        x = frames - 0.5
        levels = []
        for stage in self.stages:
            x = stage(x)
            levels.append(x)
        maps = self.mix(concatenate(levels, align_corners=False))
        if not self.code_size:
            return maps, frames.new_zeros(0)
        return maps, self.temporal(x.transpose(0, 1)[None]).mean(dim=(0, 2, 3, 4))

    def code(self, pooled: Float[Tensor, "pooled"]) -> Float[Tensor, "code"]:
        """Return the code of the clip from what :meth:`features` pooled."""
        return self.to_code(pooled) if self.code_size else pooled


class FrozenEncoder(VideoEncoder):
    """Stages of a pretrained network as they are, in eval mode; only the head of the code is trained.

    Args:
        stages: The network in pieces, each fed by the one before. The maps of all but the last, upsampled to
            the size of the first, make the feature maps; the last one is pooled over the clip for the code
            and left out where there is none.
        channels: Channels of the maps, all taken together.
        pooled: Channels of the last stage.
        code: Length of the code, 0 for a spatial encoder.
        mean: What the network was trained to have subtracted from images in [0, 1], red, green and blue.
        std: By what it was divided after that.
        video: Whether the stages take clips [1, C, N, h, w] rather than N images.
    """

    trainable = False
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        stages: Sequence[nn.Module],
        channels: int,
        pooled: int,
        code: int,
        mean: tuple[float, float, float],
        std: tuple[float, float, float],
        video: bool,
    ) -> None:
        super().__init__()
        self.channels, self.code_size, self.video = channels, code, video
        self.stages = nn.ModuleList(stages if code else stages[:-1]).requires_grad_(False).eval()
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)
        # MonoNeRF's widths.
        self.head = nn.Sequential(nn.Linear(pooled, 4096), nn.ReLU(), nn.Linear(4096, code)) if code else None

    def train(self, mode: bool = True) -> FrozenEncoder:
        """Set the mode of the head alone: running statistics of the network stay those of its file."""
        super().train(mode)
        self.stages.eval()
        return self

    @torch.no_grad()
    def features(
        self, frames: Float[Tensor, "N 3 H W"]
    ) -> tuple[Float[Tensor, "N C h w"], Float[Tensor, "pooled"]]:
        """Return the maps of N frames in [0, 1], at the first stage's size, and the pooled clip, detached."""
        x = (frames - self.mean) / self.std
        x = x.transpose(0, 1)[None] if self.video else x
        levels = []
        for stage in self.stages:
            x = stage(x)
            levels.append(x[0].transpose(0, 1) if self.video else x)
        last = levels.pop() if self.code_size else None
        # Strided convolutions are centred on every other pixel from the first on, so that corners align.
        maps = concatenate(levels, align_corners=True)
        return maps, frames.new_zeros(0) if last is None else last.mean(dim=(0, 2, 3))

    def code(self, pooled: Float[Tensor, "pooled"]) -> Float[Tensor, "code"]:
        """Return the code of the clip from what :meth:`features` pooled."""
        return pooled if self.head is None else self.head(pooled)


def concatenate(levels: Sequence[Float[Tensor, "N _ _ _"]], align_corners: bool) -> Float[Tensor, "N C h w"]:
    """Concatenate feature maps of several sizes, upsampled bilinearly to the size of the first."""
    size = levels[0].shape[-2:]
    upsampled = [
        interpolate(x, size, mode="bilinear", align_corners=align_corners) if x.shape[-2:] != size else x
        for x in levels
    ]
    return torch.cat(upsampled, dim=1)


def _stage(inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride=2, padding=kernel // 2), nn.GroupNorm(4, outputs), nn.ReLU()
    )
