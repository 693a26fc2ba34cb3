"""SlowOnly-R50 (Feichtenhofer et al., ICCV 2019) with the weights that mmaction2 publishes."""

from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dyn3d_ns.models.mononerf.encoders import FrozenEncoder
from dyn3d_ns.models.mononerf.weights import load_weights, read_weights

_PREFIX = "backbone."


class SlowOnlyEncoder(FrozenEncoder):
    """MonoNeRF's temporal encoder: 832 channels at half the frame's size; frames keep their aspect.

    The maps are those of the stem (64), res2 (256) and res3 (512), which look at each frame alone; res4 and
    res5 mix frames and make the code.

    Args:
        path: A checkpoint of mmaction2's `ResNet3dSlowOnly`, depth 50, for colour images (Kinetics-400).
        code: Length of the code, 0 for a spatial encoder.

    Raises:
        WeightsError: The file is absent, not readable, or its names and shapes are not those of the network.
    """

    def __init__(self, path: Path, code: int = 256) -> None:
        what = "mmaction2's SlowOnly-R50"
        state = {
            key.removeprefix(_PREFIX): value
            for key, value in read_weights(path, what).items()
            if key.startswith(_PREFIX)
        }
        with torch.device("meta"):
            network = SlowOnly50()
        load_weights(network, state, path, what)
        super().__init__(
            [network.conv1, network.layer1, network.layer2, nn.Sequential(network.layer3, network.layer4)],
            channels=64 + 256 + 512,
            pooled=2048,
            code=code,
            mean=(123.675 / 255, 116.28 / 255, 103.53 / 255),
            std=(58.395 / 255, 57.12 / 255, 57.375 / 255),
            video=True,
        )


class SlowOnly50(nn.Module):
    """A ResNet-50 on clips, with kernels over three frames in its last two stages.

    Modules are named as in mmaction2, so that its files fit.
    No stride in time, and no pooling after the stem, as MonoNeRF has it: the maps are twice as large as those
    of a ResNet.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = ConvNorm(3, 64, (1, 7, 7), stride=2)
        self.layer1 = _layer(64, 64, blocks=3, stride=1, frames=1)
        self.layer2 = _layer(256, 128, blocks=4, stride=2, frames=1)
        self.layer3 = _layer(512, 256, blocks=6, stride=2, frames=3)
        self.layer4 = _layer(1024, 512, blocks=3, stride=2, frames=3)

    def forward(self, clip: Float[Tensor, "B 3 N H W"]) -> Float[Tensor, "B 2048 N h w"]:
        """Return the maps of the last stage for normalised clips, at a sixteenth of the frames' size."""
        return self.layer4(self.layer3(self.layer2(self.layer1(self.conv1(clip)))))


class ConvNorm(nn.Module):
    """Convolution, batch norm and, unless told otherwise, ReLU; strides are in space alone."""

    def __init__(
        self, inputs: int, outputs: int, kernel: tuple[int, int, int], stride: int = 1, relu: bool = True
    ) -> None:
        super().__init__()
        frames, height, width = kernel
        self.conv = nn.Conv3d(
            inputs,
            outputs,
            kernel,
            stride=(1, stride, stride),
            padding=(frames // 2, height // 2, width // 2),
            bias=False,
        )
        self.bn = nn.BatchNorm3d(outputs)
        self.relu = relu

    def forward(self, x: Float[Tensor, "B C N h w"]) -> Float[Tensor, "B D N h2 w2"]:
        """Return what comes out of the three."""
        x = self.bn(self.conv(x))
        return x.relu_() if self.relu else x


class Bottleneck(nn.Module):
    """A residual block of three convolutions, the first of them over ``frames`` frames."""

    def __init__(self, inputs: int, width: int, stride: int, frames: int) -> None:
        super().__init__()
        self.conv1 = ConvNorm(inputs, width, (frames, 1, 1))
        self.conv2 = ConvNorm(width, width, (1, 3, 3), stride)
        self.conv3 = ConvNorm(width, 4 * width, (1, 1, 1), relu=False)
        fits = stride == 1 and inputs == 4 * width
        self.downsample = None if fits else ConvNorm(inputs, 4 * width, (1, 1, 1), stride, relu=False)

    def forward(self, x: Float[Tensor, "B C N h w"]) -> Float[Tensor, "B D N h2 w2"]:
        """Return the block's output."""
        kept = x if self.downsample is None else self.downsample(x)
        return (self.conv3(self.conv2(self.conv1(x))) + kept).relu_()


def _layer(inputs: int, width: int, blocks: int, stride: int, frames: int) -> nn.Sequential:
    first = Bottleneck(inputs, width, stride, frames)
    return nn.Sequential(first, *(Bottleneck(4 * width, width, 1, frames) for _ in range(blocks - 1)))
