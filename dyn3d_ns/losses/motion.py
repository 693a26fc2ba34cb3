"""Losses on motion codes."""

from jaxtyping import Float
from torch import Tensor


def code_ambiguity(codes: Float[Tensor, "N K"]) -> Float[Tensor, ""]:
    """Return how far the codes are from one motion each: the mean of ``1 - sum_k w_k^2``, 0 where all are
    one-hot."""
    return 1 - codes.square().sum(-1).mean()
