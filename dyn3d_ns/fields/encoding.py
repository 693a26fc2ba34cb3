"""What networks of coordinates are made of: sine encodings and stacks of linear layers."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn


def encode(x: Float[Tensor, "*B D"], octaves: int) -> Float[Tensor, "*B E"]:
    """Append sines and cosines of ``octaves`` octaves to the coordinates (E = D (1 + 2 octaves))."""
    scales = math.pi * 2.0 ** torch.arange(octaves, device=x.device, dtype=x.dtype)
    phases = (x.unsqueeze(-1) * scales).flatten(-2)
    return torch.cat([x, torch.sin(phases), torch.cos(phases)], dim=-1)


def mlp(sizes: list[int], activation: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    """Stack linear layers of the given widths with activations between them."""
    layers: list[nn.Module] = []
    for fan_in, fan_out in zip(sizes[:-1], sizes[1:], strict=True):
        layers += [nn.Linear(fan_in, fan_out), activation()]
    return nn.Sequential(*layers[:-1])
