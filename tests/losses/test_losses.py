"""Losses against their definitions."""

import pytest
import torch

from dyn3d_ns.losses.motion import code_ambiguity


def test_ambiguity_is_zero_for_one_hot_codes_only() -> None:
    assert float(code_ambiguity(torch.eye(4))) == 0.0
    assert float(code_ambiguity(torch.full((5, 4), 0.25))) == pytest.approx(0.75)
