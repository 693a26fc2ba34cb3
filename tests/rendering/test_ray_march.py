"""Ray marching through occupied cells, and the weights of packed samples."""

import pytest
import torch

from dyn3d_ns.rendering.ray_march import (
    _march_torch,
    decode_density,
    encode_density,
    march,
    packed_weights,
)

STEP = 0.02


def rays(count: int = 60) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    origins = torch.nn.functional.normalize(torch.randn(count, 3, generator=generator), dim=-1) * 2.5
    goals = torch.rand(count, 3, generator=generator) - 0.5
    directions = torch.nn.functional.normalize(goals - origins, dim=-1)
    return origins, directions, torch.rand(count, generator=generator)


def blob(value: int = 1) -> torch.Tensor:
    grids = torch.zeros(2, 16, 16, 16, dtype=torch.uint8)
    grids[1, 5:11, 6:10, 4:12] = value
    return grids


@pytest.mark.parametrize("value", [1, 20, 45])
def test_kernel_and_torch_take_the_same_samples(value: int) -> None:
    origins, directions, offsets = rays()
    cubes = torch.arange(60) % 2
    a = march(origins, directions, offsets, cubes, blob(value), STEP)
    b = _march_torch(origins, directions, offsets, cubes, blob(value), STEP, 7.0, 1024)
    # A sample on the very border of a cell may fall to either side.
    assert abs(len(a[0]) - len(b[0])) <= 2 and len(a[0]) > 100
    if len(a[0]) == len(b[0]):
        assert torch.equal(a[0], b[0])
        torch.testing.assert_close(a[1], b[1], rtol=0, atol=1e-5)


def test_samples_lie_in_occupied_cells_only_and_none_is_left_out() -> None:
    origins, directions, offsets = rays()
    index, distance = march(origins, directions, offsets, torch.ones(60, dtype=torch.long), blob(), STEP)
    points = origins[index] + distance[:, None] * directions[index]
    cells = ((points + 1) * 8).long()
    assert bool((blob()[1][cells[:, 2], cells[:, 1], cells[:, 0]] == 1).all())
    dense = (torch.arange(300) + offsets[:, None]) * STEP
    inside = origins[:, None] + dense[..., None] * directions[:, None]
    cells = torch.floor((inside + 1) * 8).long()
    within = ((cells >= 0) & (cells < 16)).all(-1)
    cells = cells.clamp(0, 15)
    hits = (blob()[1][cells[..., 2], cells[..., 1], cells[..., 0]] == 1) & within
    assert abs(int(hits.sum()) - len(index)) <= 2
    nothing, _ = march(origins, directions, offsets, torch.zeros(60, dtype=torch.long), blob(), STEP)
    assert len(nothing) == 0


def test_opaque_matter_ends_a_ray() -> None:
    origins, directions = torch.tensor([[-2.0, 0.0, 0.0]]), torch.tensor([[1.0, 0.0, 0.0]])
    grids = torch.full((1, 8, 8, 8), int(encode_density(torch.tensor(100.0))), dtype=torch.uint8)
    index, distance = march(
        origins, directions, torch.zeros(1), torch.zeros(1, dtype=torch.long), grids, STEP
    )
    density = float(decode_density(grids.flatten()[:1]))
    assert len(index) == -(-7.0 // (density * STEP)) and 50 < density <= 100
    assert (
        len(
            march(origins, directions, torch.zeros(1), torch.zeros(1, dtype=torch.long), grids, STEP, most=2)[
                0
            ]
        )
        == 2
    )
    assert float(distance[0]) >= 1.0


def test_density_codes_never_overstate() -> None:
    density = torch.logspace(-3, 4, 200)
    decoded = decode_density(encode_density(density))
    known = (density >= 1.1) & (density < 1e4)
    assert bool((decoded <= density + 1e-4).all())
    assert float((decoded[known] / density[known]).min()) > 0.9


def test_weights_are_those_of_each_ray_alone() -> None:
    torch.manual_seed(0)
    index = torch.tensor([0, 0, 0, 2, 2, 5])
    depth = torch.rand(6, dtype=torch.float64).requires_grad_()
    weights = packed_weights(depth, index, 7)
    for ray in (0, 2, 5):
        mine = depth[index == ray]
        alpha = 1 - torch.exp(-mine)
        through = torch.cumprod(torch.cat([torch.ones(1, dtype=torch.float64), 1 - alpha[:-1]]), 0)
        torch.testing.assert_close(weights[index == ray], alpha * through)
    assert torch.autograd.gradcheck(lambda d: packed_weights(d, index, 7), depth)
    assert len(packed_weights(depth[:0], index[:0], 7)) == 0
