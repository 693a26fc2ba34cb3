"""What a forecast expects its pictures to be off by."""

import pytest
import torch

from dyn3d_ns.metrics.foretold import foretold_error


def test_nothing_is_expected_beyond_the_best_where_nothing_may_lie_elsewhere() -> None:
    assert foretold_error(torch.rand(20, 30, 3), torch.zeros(20, 30, 1), 0.01) == 0.01


@pytest.mark.parametrize("pixels", [1.0, 3.0])
def test_a_ramp_is_off_by_its_slope_times_the_displacement(pixels: float) -> None:
    ramp = (0.01 * torch.arange(60.0))[None, :, None].expand(40, 60, 3)
    found = foretold_error(ramp, torch.full((40, 60, 1), pixels))
    # Two of the four ways lead along the slope; the border holds its colour.
    assert found == pytest.approx(0.5 * (0.01 * pixels) ** 2, rel=0.1)


def test_what_may_be_covered_counts_too() -> None:
    image, off = torch.zeros(40, 40, 3), torch.zeros(40, 40, 1)
    image[18:22, 18:22], off[18:22, 18:22] = 1.0, 6.0
    moved = torch.zeros(40, 40, 3)
    moved[18:22, 24:28] = 1.0
    assert foretold_error(image, off) == pytest.approx(float((moved - image).square().mean()), rel=0.05)
