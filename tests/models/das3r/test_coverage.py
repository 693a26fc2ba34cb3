"""How much Gaussians show at rest: by a rasterisation whose blending weights are known."""

from __future__ import annotations

import pytest
import torch

from dyn3d_ns.models.das3r.coverage import contributions
from dyn3d_ns.rendering import rasterize


def scene() -> tuple[torch.Tensor, ...]:
    """Return a small Gaussian before a larger one, and one that no view sees."""
    means = torch.tensor([[0.0, 0, 2], [0.0, 0, 3], [0.0, 0, -5]])
    quats = torch.tensor([[1.0, 0, 0, 0]]).repeat(3, 1)
    scales = torch.tensor([0.02, 0.3, 0.1])[:, None].repeat(1, 3)
    return means, quats, scales, torch.tensor([0.5, 0.9, 0.9])


def render(view: int, channels: torch.Tensor) -> torch.Tensor:
    K = torch.tensor([[[40.0, 0, 16], [0, 40.0, 16], [0, 0, 1]]])
    viewmat = torch.eye(4)[None]
    viewmat[0, 0, 3] = 0.1 * view
    return rasterize(*scene(), channels, viewmat, K, 32, 32, packed=False)[0][0]


def test_weights_add_up_to_what_is_covered() -> None:
    static = [torch.ones(32, 32), torch.zeros(32, 32), torch.ones(32, 32)]
    found = contributions(render, static, 3, torch.device("cpu"))
    covered = sum(render(view, torch.ones(3, 1)).sum() for view in range(3))
    assert float(found.total.sum()) == pytest.approx(float(covered), rel=1e-4)
    assert found.views.tolist() == [2, 2, 0]
    assert found.witnessed.tolist() == [True, True, False]
    assert float(found.share[2]) == 1, "nobody knows of what no view shows"
    assert 0.6 < float(found.share[1]) < 0.7, "at rest in two of three views that show it alike"


def test_only_static_pixels_count_as_rest() -> None:
    left = torch.zeros(32, 32)
    left[:, :16] = 1
    found = contributions(render, [left], 3, torch.device("cpu"))
    assert float(found.share[1]) == pytest.approx(0.5, abs=0.02)
    assert found.witnessed.tolist() == [False, False, False], "one view may be wrong"
    none = contributions(render, [torch.zeros(32, 32)], 3, torch.device("cpu"))
    assert none.at_rest.tolist() == [0, 0, 0] and float(none.total[0]) > 0
