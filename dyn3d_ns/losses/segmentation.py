"""Losses that sort points into parts by their motion alone (NVFi, section 3.5)."""

import torch
from jaxtyping import Float
from torch import Tensor


@torch.no_grad()
def rigid_fits(
    points: Float[Tensor, "N 3"], moved: Float[Tensor, "N 3"], weights: Float[Tensor, "N K"]
) -> tuple[Float[Tensor, "K 3 3"], Float[Tensor, "K 3"]]:
    """Fit a rotation and a translation to each slot's points by weighted least squares (Kabsch)."""
    share = weights / weights.sum(0).clamp_min(1e-8)
    centers, goals = share.T @ points, share.T @ moved
    covariance = torch.einsum("nk,ni,nj->kij", share, moved, points)
    covariance = covariance - goals[:, :, None] * centers[:, None, :]
    u, _, vh = torch.linalg.svd(covariance)
    flip = torch.ones(len(u), 3, dtype=u.dtype, device=u.device)
    flip[:, 2] = torch.linalg.det(u @ vh)
    rotations = u @ (flip[..., None] * vh)
    return rotations, goals - (rotations @ centers[..., None])[..., 0]


def rigid_residual(
    points: Float[Tensor, "N 3"], moved: Float[Tensor, "N 3"], weights: Float[Tensor, "N K"]
) -> Float[Tensor, ""]:
    """Return the mean squared distance of moved points from where their slots' rigid motions put them.

    The fits need no gradient: at the best fit the residual's slope along them is zero.
    """
    rotations, shifts = rigid_fits(points, moved, weights.detach())
    fitted = torch.einsum("kij,nj->nki", rotations, points) + shifts
    return (weights * (fitted - moved[:, None]).square().sum(-1)).sum(-1).mean()


def neighbour_disagreement(
    weights: Float[Tensor, "N K"], around: Float[Tensor, "N M K"]
) -> Float[Tensor, ""]:
    """Return the mean absolute difference between the slots of points and those of their neighbours."""
    return (around - weights[:, None]).abs().sum(-1).mean()
