"""torchvision's networks for images and for video as frozen encoders, with weights from a local file."""

from pathlib import Path
from typing import Literal, get_args

import torch
from torch import nn

from dyn3d_ns.models.mononerf.encoders import FrozenEncoder
from dyn3d_ns.models.mononerf.weights import load_weights, read_weights

ImageNetwork = Literal["resnet18", "resnet34", "resnet50"]
VideoNetwork = Literal["r3d_18", "s3d"]

_IMAGE_STATISTICS = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_VIDEO_STATISTICS = ((0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989))


class TorchvisionEncoder(FrozenEncoder):
    """An image network, frame by frame at a quarter of the size, or a video network at half of it.

    Image networks give the maps after the pooling and layers 1 to 3 (512 channels for resnet18 and resnet34,
    1856 for resnet50), and know no order of frames: their code is of the mean picture. Video networks give
    those of the stem and what follows (512 channels for r3d_18, 736 for s3d), with every stride in time set
    to 1, so that each frame keeps a map of its own.

    Args:
        name: The network, as torchvision names it.
        path: A state dict of torchvision's weights for it, with or without the classifier.
        code: Length of the code, 0 for a spatial encoder.

    Raises:
        WeightsError: The file is absent, not readable, or its names and shapes are not those of the network.
    """

    def __init__(self, name: ImageNetwork | VideoNetwork, path: Path, code: int = 256) -> None:
        video = name in get_args(VideoNetwork)
        network = _build(name)
        state = read_weights(path, f"torchvision's {name}")
        load_weights(network, state, path, f"torchvision's {name}", unused=("fc.", "classifier."))
        stages, channels, pooled = _stages_of(name, network)
        mean, std = _VIDEO_STATISTICS if video else _IMAGE_STATISTICS
        super().__init__(stages, channels, pooled, code, mean, std, video)


def _build(name: str) -> nn.Module:
    from torchvision import models

    with torch.device("meta"):
        network = models.get_model(name, weights=None)
    # The classifier's size depends on what it was trained for, and it is not used.
    if name == "s3d":
        network.classifier = nn.Identity()
    else:
        network.fc = nn.Identity()
    return network


def _stages_of(name: str, network: nn.Module) -> tuple[list[nn.Module], int, int]:
    """Take a network apart: the stages whose maps are used and a last one, their channels, the last one's."""
    parts = dict(network.named_children())
    if name == "s3d":
        _without_temporal_stride(network)
        f = list(parts["features"].children())
        # The one pooling without padding: over one frame, and over what is left of a small picture.
        f[13] = nn.MaxPool3d((1, 2, 2), ceil_mode=True)
        stages = [f[0], nn.Sequential(*f[1:4]), nn.Sequential(*f[4:7]), nn.Sequential(*f[7:])]
        return stages, 64 + 192 + 480, 1024
    layers = [parts[f"layer{i}"] for i in (1, 2, 3, 4)]
    if name == "r3d_18":
        _without_temporal_stride(network)
        return [parts["stem"], *layers], 64 + 64 + 128 + 256, 512
    stem = nn.Sequential(parts["conv1"], parts["bn1"], parts["relu"], parts["maxpool"])
    wide = 4 if name == "resnet50" else 1
    return [stem, *layers], 64 + (64 + 128 + 256) * wide, 512 * wide


def _without_temporal_stride(network: nn.Module) -> None:
    """Set every stride in time to 1, so that as many maps come out as frames go in."""
    for module in network.modules():
        if isinstance(module, nn.Conv3d | nn.MaxPool3d) and not isinstance(module.stride, int):
            _, down, right = module.stride
            module.stride = (1, down, right)
