"""Morphology of grids of bools, by the cube of 3 x 3 x 3 points; the same on every machine."""

from __future__ import annotations

from jaxtyping import Bool
from torch import Tensor


def dilate(mask: Bool[Tensor, "X Y Z"], times: int = 1) -> Bool[Tensor, "X Y Z"]:
    """Add the 26 neighbours of every point, so many times."""
    for _ in range(times):
        # One axis at a time: the same cube from a third of the work.
        for axis in range(3):
            low, high = mask.narrow(axis, 0, mask.shape[axis] - 1), mask.narrow(axis, 1, mask.shape[axis] - 1)
            wider = mask.clone()
            wider.narrow(axis, 1, mask.shape[axis] - 1).logical_or_(low)
            wider.narrow(axis, 0, mask.shape[axis] - 1).logical_or_(high)
            mask = wider
    return mask


def erode(mask: Bool[Tensor, "X Y Z"], times: int = 1) -> Bool[Tensor, "X Y Z"]:
    """Take away every point with a neighbour that is not there; the outside of the grid counts as there."""
    return ~dilate(~mask, times)


def opened(mask: Bool[Tensor, "X Y Z"], erosions: int = 1, dilations: int = 2) -> Bool[Tensor, "X Y Z"]:
    """Take specks away and widen the rest."""
    return dilate(erode(mask, erosions), dilations)


def narrow_band(mask: Bool[Tensor, "X Y Z"], outwards: int, inwards: int) -> Bool[Tensor, "X Y Z"]:
    """Return the points around the surface of what is there."""
    return dilate(mask, outwards) ^ erode(mask, inwards)


def doubled(mask: Bool[Tensor, "x y z"], shape: tuple[int, ...]) -> Bool[Tensor, "X Y Z"]:
    """Bring a mask to twice its resolution, cut to a shape."""
    for axis in range(3):
        mask = mask.repeat_interleave(2, axis).narrow(axis, 0, shape[axis])
    return mask
