"""Occupancy of keyframes, and of other times by carrying it."""

import torch

from dyn3d_ns.fields.occupancy import KeyframeOccupancy, dilate
from dyn3d_ns.rendering.ray_march import decode_density

CELLS = 16


def ball(x: torch.Tensor, keyframe: int) -> torch.Tensor:
    """Solid within 0.4 of the point (0.3, -0.2, 0.1)."""
    return 100.0 * ((x - torch.tensor([0.3, -0.2, 0.1])).norm(dim=-1) < 0.4)


def learned() -> KeyframeOccupancy:
    torch.manual_seed(0)
    occupancy = KeyframeOccupancy(2, CELLS)
    for _ in range(5):
        occupancy.update(0, ball, None)
    return occupancy


def test_it_starts_full_and_finds_the_matter() -> None:
    occupancy = learned()
    assert bool((occupancy.codes[1] > 0).all())
    points = 2 * torch.rand(20_000, 3) - 1
    occupied = occupancy.codes[0][occupancy.index_of(points)] > 0
    assert bool(occupied[ball(points, 0) > 0].all())
    assert float(occupied.float().mean()) < 0.2


def test_stored_densities_never_exceed_the_true_ones_inside() -> None:
    """A ray may end early only where matter truly is dense: the rim of the ball must be rated thinner."""
    occupancy = learned()
    centers = occupancy.centers(torch.ones(CELLS, CELLS, CELLS).nonzero())
    rated = decode_density(occupancy.codes[0]).flatten()
    assert float(rated.max()) <= 100
    outside = (centers - torch.tensor([0.3, -0.2, 0.1])).norm(dim=-1) > 0.4 + occupancy.size
    assert float(rated[outside].max()) == 0


def test_matter_that_goes_is_forgotten() -> None:
    occupancy = learned()
    for _ in range(150):
        occupancy.update(0, lambda x, k: torch.zeros(len(x)), None)
    assert not bool(occupancy.codes[0].any())


def test_another_time_is_where_the_motion_leads() -> None:
    """Matter moves by +0.5 in x per unit of time: its cells move along, and each knows the way back."""
    occupancy = learned()

    def carry(x: torch.Tensor, t0: float, t1: float) -> torch.Tensor:
        return x + (t1 - t0) * torch.tensor([0.5, 0.0, 0.0])

    codes, shifts = occupancy.at(0, 0.0, 0.5, carry)
    points = 2 * torch.rand(20_000, 3) - 1
    index = occupancy.index_of(points)
    before = points - torch.tensor([0.25, 0.0, 0.0])
    assert bool((codes[index] > 0)[ball(before, 0) > 0].all())
    assert float((codes > 0).float().mean()) < 0.2
    occupied = codes > 0
    torch.testing.assert_close(
        shifts[occupied].float(),
        torch.tensor([-0.25, 0, 0]).expand(int(occupied.sum()), 3),
        atol=1e-3,
        rtol=0,
    )
    here, still = occupancy.at(0, 0.0, 0.0, carry)
    assert torch.equal(here, occupancy.codes[0]) and float(still.abs().max()) == 0


def test_cells_that_are_not_allowed_stay_empty() -> None:
    occupancy, allowed = learned(), torch.zeros(CELLS, CELLS, CELLS, dtype=torch.bool)
    allowed[:, :, : CELLS // 2] = True
    occupancy.restrict(0, allowed)
    assert not bool(occupancy.codes[0][~allowed].any())
    occupancy.update(0, ball, allowed)
    assert not bool(occupancy.codes[0][~allowed].any())


def test_dilation_adds_the_neighbours() -> None:
    cells = torch.zeros(5, 5, 5, dtype=torch.bool)
    cells[2, 2, 2] = True
    grown = dilate(cells)
    assert int(grown.sum()) == 27 and bool(grown[1:4, 1:4, 1:4].all())
