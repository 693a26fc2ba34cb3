"""Regularisers of plane-factorised fields (TensoRF, HexPlane; weights as NVFi's)."""

from jaxtyping import Float
from torch import Tensor


def total_variation(plane: Float[Tensor, "H W C"], row_factor: float = 1.0) -> Float[Tensor, ""]:
    """Return ``2 (Σ∂_h² / n_h + Σ∂_w² / n_w)`` of a plane.

    Args:
        plane: Values; its rows are keyframes for a time plane.
        row_factor: Factor of the differences between rows.
    """
    rows, columns = plane[1:] - plane[:-1], plane[:, 1:] - plane[:, :-1]
    total = plane.new_zeros(())
    if rows.numel():
        total = total + row_factor * rows.square().mean()
    if columns.numel():
        total = total + columns.square().mean()
    return 2 * total


def space_sparsity(plane: Float[Tensor, "H W C"]) -> Float[Tensor, ""]:
    """Return the mean size of a space plane's values, 0 where there is nothing."""
    return plane.abs().mean()


def time_sparsity(plane: Float[Tensor, "K W C"]) -> Float[Tensor, ""]:
    """Return the mean distance of a time plane from one, 0 where nothing changes."""
    return (1 - plane).abs().mean()
