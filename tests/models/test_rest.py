"""What the images show as well at rest is let rest, and what moves is not."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from dyn3d_ns.gaussians import Gaussians
from dyn3d_ns.models.gaussian_model import TrainingView
from dyn3d_ns.models.rest import Look, RestFinder
from dyn3d_ns.rendering import rasterize

SIZE, SHIFT = 48, 0.06
WALL, BALL, HIDDEN, DRAWN = slice(0, 144), slice(144, 169), slice(169, 179), slice(60, 66)
BACKGROUND = torch.ones(3)


def draw(gaussians: Gaussians, view: TrainingView, colors: Tensor, **options: Any) -> Any:
    g = gaussians
    shape = (view.viewmats, view.Ks, view.width, view.height)
    return rasterize(g.means, g.quats, g.scales, g.opacities, colors, *shape, packed=False, **options)


@pytest.fixture
def still() -> Gaussians:
    """A wall of 12 x 12 Gaussians in many colours, a patch before it, and some behind it that nobody sees."""
    generator = torch.Generator().manual_seed(0)
    x, y = torch.meshgrid(torch.linspace(-1, 1, 12), torch.linspace(-1, 1, 12), indexing="ij")
    wall = torch.stack([x, y, 0 * x], dim=-1).reshape(-1, 3)
    x, y = torch.meshgrid(torch.linspace(-0.15, 0.15, 5), torch.linspace(-0.15, 0.15, 5), indexing="ij")
    patch = torch.stack([x + 0.3, y, 0 * x - 0.3], dim=-1).reshape(-1, 3)
    hidden = torch.tensor([0.0, 0.0, 1.0]) + 0.1 * torch.randn(10, 3, generator=generator)
    means = torch.cat([wall, patch, hidden])
    number, sizes = len(means), torch.tensor([0.12, 0.05, 0.05])
    scales = sizes.repeat_interleave(torch.tensor([144, 25, 10]))[:, None].expand(-1, 3).clone()
    quats = torch.tensor([1.0, 0, 0, 0]).expand(number, 4).clone()
    colors = torch.randn(number, 1, 3, generator=generator)
    return Gaussians(means, quats, scales, torch.full((number,), 0.95), colors)


def shifted(gaussians: Gaussians, which: slice, by: float) -> Gaussians:
    means = gaussians.means.clone()
    means[which, 0] += by
    return replace(gaussians, means=means)


def looks(truth: dict[float, Gaussians]) -> list[Look]:
    """Return what two cameras before the wall see at some times."""
    found = []
    for time, gaussians in truth.items():
        for side in (-0.3, 0.3):
            viewmat = torch.eye(4)
            viewmat[:3, 3] = torch.tensor([side, 0.0, 3.0])
            K = torch.tensor([[60.0, 0, SIZE / 2], [0, 60.0, SIZE / 2], [0, 0, 1]])
            view = TrainingView(time, viewmat[None], K[None], SIZE, SIZE)
            render, alpha, _ = draw(gaussians, view, gaussians.colors, sh_degree=0)
            found.append(Look(view, (render[0] + (1 - alpha[0]) * BACKGROUND).detach()))
    return found


def finder(still: Gaussians, truth: dict[float, Gaussians], moved: dict[float, Gaussians]) -> RestFinder:
    return RestFinder(draw, BACKGROUND, looks(truth), moved.__getitem__, still)


def test_what_is_drawn_along_rests_and_what_moves_does_not(still: Gaussians) -> None:
    """The patch moves; a part of the wall was found to move a little with it, as was what is hidden."""
    truth = {t: shifted(still, BALL, t * SHIFT) for t in (-1.0, 0.5, 1.0)}
    moved = {t: shifted(shifted(g, DRAWN, 0.4 * t * SHIFT), HIDDEN, t * SHIFT) for t, g in truth.items()}
    reach = torch.zeros(len(still.means))
    reach[BALL], reach[DRAWN], reach[HIDDEN] = 0.03, 0.012, 0.03
    before = reach == 0
    rests = finder(still, truth, moved).single(before, reach)
    assert bool(rests[DRAWN].all())
    assert not bool(rests[BALL].any()) and not bool(rests[HIDDEN].any())
    assert bool(rests[before].all())


def test_what_moves_far_is_not_asked(still: Gaussians) -> None:
    truth = dict.fromkeys((-1.0, 1.0), still)
    moved = {t: shifted(still, DRAWN, t * SHIFT) for t in truth}
    reach = torch.zeros(len(still.means))
    reach[DRAWN] = 0.5
    assert not bool(finder(still, truth, moved).single(reach == 0, reach)[DRAWN].any())


def test_a_body_without_texture_that_drifts_rests_as_a_whole(still: Gaussians) -> None:
    """The wall is of one colour and wider than the pictures: its drift shows nowhere."""
    colors = still.colors.clone()
    colors[WALL] = 0.3
    scales = still.scales.clone()
    scales[WALL] = 0.3
    still = replace(still, colors=colors, scales=scales)
    truth = {t: shifted(still, BALL, t * SHIFT) for t in (-1.0, 1.0)}
    moved = {t: shifted(g, WALL, 0.5 * t * SHIFT) for t, g in truth.items()}
    labels = torch.zeros(len(still.means), dtype=torch.int64)
    labels[WALL], labels[BALL] = 1, 2
    rests = finder(still, truth, moved).bodies(labels)
    assert bool(rests[WALL].all()) and bool(rests[HIDDEN].all()) and not bool(rests[BALL].any())
