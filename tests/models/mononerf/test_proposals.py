"""Where rays are sampled."""

import torch

from dyn3d_ns.models.mononerf.proposals import UNKNOWN, Proposals, Seen


def grids(*, matter_at: int | None) -> tuple[Proposals, Seen]:
    made = Proposals(1, 1, (16, 4, 4))
    made.resting.zero_()
    if matter_at is not None:
        made.resting[0, matter_at] = 1e4
    rays = 7
    starts = torch.tensor([0.1, 0.1, -1.0]).expand(rays, 3)
    ways = torch.tensor([0.0, 0, 2]).expand(rays, 3)
    return made, Seen(made.resting, torch.zeros(rays, dtype=torch.long), starts, ways)


def test_lengths_cover_the_ray_and_places_are_in_order():
    torch.manual_seed(0)
    for matter in (None, 5):
        made, seen = grids(matter_at=matter)
        placed = made.sample([seen], 12, jitter=True)
        torch.testing.assert_close(placed.lengths.sum(1), torch.ones(7))
        assert (torch.diff(placed.at, dim=1) >= 0).all()
        ends = placed.lengths.cumsum(1)
        assert (placed.at <= ends + 1e-5).all()
        assert (placed.at >= ends - placed.lengths - 1e-5).all()


def test_most_samples_lie_where_matter_was_found():
    made, seen = grids(matter_at=5)
    placed = made.sample([seen], 16, jitter=False)
    near = ((placed.at - 5.5 / 16).abs() < 1.5 / 16).float().mean()
    assert float(near) > 0.6
    torch.testing.assert_close(placed.surface, torch.full((7,), 5.5 / 16), atol=0.04, rtol=0)
    even = grids(matter_at=None)
    spread = even[0].sample([even[1]], 16, jitter=False).at
    torch.testing.assert_close(spread[0], (torch.arange(16) + 0.5) / 16, atol=1e-3, rtol=0)


def test_densities_are_noted_in_the_cells_that_samples_lie_in():
    made = Proposals(2, 3, (4, 4, 4))
    before = made.moving.clone()
    places = torch.tensor([[[-0.9, -0.9, 0.9], [0.9, 0.1, -0.1]]])
    made.note(made.moving, torch.tensor([2]), places, torch.tensor([[9.0, 0.0]]))
    torch.testing.assert_close(made.moving[2, 3, 0, 0], torch.tensor(9.0))
    for _ in range(60):
        made.note(made.moving, torch.tensor([2]), places, torch.tensor([[7.0, 0.0]]))
    assert torch.equal(made.moving[:2], before[:2])
    torch.testing.assert_close(made.moving[2, 3, 0, 0], torch.tensor(7.0), atol=1e-3, rtol=0)
    torch.testing.assert_close(made.moving[2, 1, 2, 3], torch.tensor(0.0), atol=1e-3, rtol=0)
    changed = (made.moving[2] != before[2]).sum()
    assert int(changed) == 2


def test_pictures_do_not_look_into_cells_that_no_sample_has_met_but_the_training_does():
    made, seen = grids(matter_at=10)
    made.resting[0, 3] = UNKNOWN
    picture, training = (made.sample([seen], 32, jitter=jitter) for jitter in (False, True))
    near = [((found.at - 3.5 / 16).abs() < 1.5 / 16).float().mean() for found in (picture, training)]
    assert float(near[0]) < 0.2 and float(near[1]) > 0.5
    assert bool(made.meets(seen).all())
    empty, seen = grids(matter_at=None)
    empty.resting[0, 3] = UNKNOWN
    assert not bool(empty.meets(seen).any())
