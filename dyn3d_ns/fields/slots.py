"""NVFi's motion segmentation: a network that sorts points at the first keyframe into slots."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dyn3d_ns.fields.encoding import encode, mlp


class SlotNetwork(nn.Module):
    """An MLP of four layers from a normalised position to the probabilities of the slots."""

    def __init__(self, slots: int, width: int = 128, octaves: int = 3) -> None:
        """Build the network.

        Args:
            slots: Parts to sort into; unused ones stay empty.
            width: Units of a hidden layer.
            octaves: Octaves of sines and cosines of the position.
        """
        super().__init__()
        self.slots, self.octaves = slots, octaves
        self.network = mlp([3 * (1 + 2 * octaves), width, width, width, slots])

    def forward(self, x: Float[Tensor, "N 3"]) -> Float[Tensor, "N K"]:
        """Return the probabilities of the slots."""
        return torch.softmax(self.network(encode(x, self.octaves)), dim=-1)
