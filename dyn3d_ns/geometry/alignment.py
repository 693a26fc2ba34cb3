"""Least-squares alignment of corresponding points."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor


class Similarity(NamedTuple):
    """The map x -> scale * rotation @ x + translation."""

    scale: Float[Tensor, "*b"]
    rotation: Float[Tensor, "*b 3 3"]
    translation: Float[Tensor, "*b 3"]

    def apply(self, points: Float[Tensor, "*b N 3"]) -> Float[Tensor, "*b N 3"]:
        """Map points."""
        return self.scale[..., None, None] * points @ self.rotation.mT + self.translation[..., None, :]


def umeyama(
    source: Float[Tensor, "*b N 3"],
    target: Float[Tensor, "*b N 3"],
    weights: Float[Tensor, "*b N"] | None = None,
    with_scale: bool = True,
) -> Similarity:
    """Return the similarity that brings source nearest to target (Umeyama 1991, eqs. 34 to 42).

    Without scale this is Kabsch's rigid alignment. The rotation is proper even for coplanar or mirrored
    points.

    Raises:
        ValueError: The shapes differ, or there is no point.
    """
    if source.shape != target.shape or source.shape[-2] == 0:
        raise ValueError(f"need equally many points, at least one; got {source.shape} and {target.shape}")
    w = torch.ones_like(source[..., 0]) if weights is None else weights
    w = (w / w.sum(-1, keepdim=True))[..., None]
    mean_source, mean_target = (w * source).sum(-2), (w * target).sum(-2)
    s, t = source - mean_source[..., None, :], target - mean_target[..., None, :]
    u, d, vh = torch.linalg.svd((w * t).mT @ s)
    signs = torch.ones_like(d)
    signs[..., 2] = torch.where(torch.linalg.det(u @ vh) < 0, -1.0, 1.0).to(d)
    rotation = u @ (signs[..., None] * vh)
    if with_scale:
        variance = (w * s * s).sum((-1, -2))
        scale = (d * signs).sum(-1) / variance.clamp_min(torch.finfo(d.dtype).tiny)
    else:
        scale = torch.ones_like(d[..., 0])
    translation = mean_target - scale[..., None] * (rotation @ mean_source[..., None]).squeeze(-1)
    return Similarity(scale, rotation, translation)


def kabsch(
    source: Float[Tensor, "*b N 3"],
    target: Float[Tensor, "*b N 3"],
    weights: Float[Tensor, "*b N"] | None = None,
) -> Similarity:
    """Return the rigid motion that brings source nearest to target (scale 1)."""
    return umeyama(source, target, weights, with_scale=False)
