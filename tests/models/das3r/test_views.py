"""What belongs to training views: weights, shade, neighbours in time, checkpoints of other sizes."""

import pytest
import torch

from dyn3d_ns.models.das3r.views import TrainingViews


def views(count: int = 4, height: int = 30, width: int = 48) -> TrainingViews:
    made = TrainingViews(count)
    static = torch.linspace(0, 1, count)[:, None, None].expand(count, height, width)
    poses = torch.eye(4)[:3].repeat(count, 1, 1)
    made.start(static, poses, torch.eye(3).repeat(count, 1, 1), torch.tensor([0.0, 0.2, 0.6, 1.0])[:count])
    return made


def test_weights_are_kept_to_a_byte() -> None:
    made = views()
    assert made.weight(0).shape == (30, 48, 1)
    assert [round(float(made.weight(i).mean()), 2) for i in range(4)] == [0.0, 0.33, 0.67, 1.0]
    made.set_static(0, torch.full((30, 48), 0.5))
    assert float(made.weight(0).max()) == pytest.approx(0.5, abs=1 / 255)


@pytest.mark.parametrize(
    ("time", "pair", "part"),
    [
        (0.0, (0, 0), 0),
        (0.1, (0, 1), 0.5),
        (0.2, (1, 1), 0),
        (0.5, (1, 2), 0.75),
        (1.0, (3, 3), 0),
        (1.3, (3, 3), 0),
    ],
)
def test_neighbours_of_a_time(time: float, pair: tuple[int, int], part: float) -> None:
    around, between = views().neighbours(time)
    assert tuple(around.tolist()) == pair
    assert between == pytest.approx(part, abs=1e-5)


def test_shade_starts_as_next_to_nothing_and_only_darkens_its_own_view() -> None:
    made = views()
    assert made.darkness.shape == (4, 15, 24)
    assert float(made.light(0, 30, 48).detach().min()) > 0.997
    made.darkness.data[2, 7, 12] = 3.0
    light = made.light(2, 30, 48)[..., 0].detach()
    assert float(light.min()) < 0.2 and float(light.max()) <= 1
    assert light.argmin() // 48 in (14, 15) and light.argmin() % 48 in (24, 25)
    assert float(made.light(1, 30, 48).detach().min()) > 0.997
    before = float(views().darkness_cost().detach())
    assert float(made.darkness_cost().detach()) > before + 3 / made.darkness.numel()


def test_a_checkpoint_of_another_size_is_taken() -> None:
    made, fresh = views(), TrainingViews(4)
    made.set_static(1, torch.rand(30, 48))
    made.darkness.data.uniform_()
    fresh.load_state_dict(made.state_dict())
    for name, value in made.state_dict().items():
        assert torch.equal(fresh.state_dict()[name], value), name
