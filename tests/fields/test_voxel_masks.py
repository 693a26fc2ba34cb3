"""Morphology on grids made by hand."""

import torch

from dyn3d_ns.fields.voxel_masks import dilate, doubled, erode, narrow_band, opened


def block(size: int, low: int, high: int) -> torch.Tensor:
    mask = torch.zeros(size, size, size, dtype=torch.bool)
    mask[low:high, low:high, low:high] = True
    return mask


def test_dilation_is_that_of_the_largest_neighbour() -> None:
    mask = torch.rand(9, 7, 8, generator=torch.Generator().manual_seed(0)) < 0.05
    pooled = torch.nn.functional.max_pool3d(mask[None, None].float(), 3, 1, 1)[0, 0] > 0
    assert torch.equal(dilate(mask), pooled)
    assert torch.equal(dilate(block(9, 4, 5), 2), block(9, 2, 7))


def test_erosion_takes_the_rim_and_counts_the_outside_as_there() -> None:
    assert torch.equal(erode(block(9, 2, 7), 2), block(9, 4, 5))
    assert bool(erode(torch.ones(4, 4, 4, dtype=torch.bool)).all())


def test_opening_drops_specks_and_widens_the_rest() -> None:
    mask = block(12, 4, 8)
    mask[0, 0, 11] = True
    assert torch.equal(opened(mask), block(12, 3, 9))


def test_a_narrow_band_lies_around_the_surface() -> None:
    assert torch.equal(narrow_band(block(12, 3, 9), 2, 1), block(12, 1, 11) ^ block(12, 4, 8))


def test_doubling_is_cut_to_an_odd_shape() -> None:
    mask = torch.zeros(2, 2, 2, dtype=torch.bool)
    mask[1, 0, 1] = True
    wide = doubled(mask, (3, 4, 4))
    assert wide.shape == (3, 4, 4) and int(wide.sum()) == 1 * 2 * 2 and bool(wide[2, :2, 2:].all())
