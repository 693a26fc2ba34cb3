"""Losses against their definitions."""

import pytest
import torch

from dyn3d_ns.losses.motion import code_ambiguity
from dyn3d_ns.losses.photometric import area_downscale, photometric_loss


def test_ambiguity_is_zero_for_one_hot_codes_only() -> None:
    assert float(code_ambiguity(torch.eye(4))) == 0.0
    assert float(code_ambiguity(torch.full((5, 4), 0.25))) == pytest.approx(0.75)


def test_photometric_loss_mixes_l1_and_dissimilarity() -> None:
    torch.manual_seed(0)
    truth = torch.rand(32, 40, 3)
    shifted = truth + 0.1
    assert float(photometric_loss(shifted, truth, 0.0)) == pytest.approx(0.1, rel=1e-4)
    assert float(photometric_loss(truth, truth, 0.2)) == pytest.approx(0.0, abs=1e-5)
    assert float(photometric_loss(truth.flip(0), truth, 1.0)) > 0.5


def test_area_downscale_averages_blocks() -> None:
    image = torch.arange(24.0).reshape(4, 6, 1)
    small = area_downscale(image, 2)
    assert small.shape == (2, 3, 1)
    assert float(small[1, 2, 0]) == pytest.approx((16 + 17 + 22 + 23) / 4)
    assert area_downscale(image, 1) is image
