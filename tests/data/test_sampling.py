"""The order of training images: uniform, windowed in time, resumable."""

from collections import Counter

import pytest
import torch

from dyn3d_ns.data.sampling import TimeWindowSampler

TIMES = torch.linspace(0, 1, 11).repeat(3)


def draw(sampler, n):
    return [sampler.next() for _ in range(n)]


def test_every_round_shows_every_image_once():
    sampler = TimeWindowSampler(TIMES, seed=0)
    rounds = [draw(sampler, 33) for _ in range(4)]
    assert all(sorted(r) == list(range(33)) for r in rounds)
    assert len({tuple(r) for r in rounds}) == 4


def test_seed_decides_the_order():
    first, same, other = (draw(TimeWindowSampler(TIMES, seed), 50) for seed in (1, 1, 2))
    assert first == same != other


def test_global_random_state_is_left_alone_and_ignored():
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    first = draw(TimeWindowSampler(TIMES, 5), 40)
    assert torch.rand(1) == expected
    assert draw(TimeWindowSampler(TIMES, 5), 40) == first


def test_window_is_inclusive_and_uniform():
    sampler = TimeWindowSampler(TIMES, seed=0)
    sampler.time_range = (0.2, 0.5)
    counts = Counter(draw(sampler, 12 * 50))
    assert {round(TIMES[i].item(), 1) for i in counts} == {0.2, 0.3, 0.4, 0.5}
    assert set(counts.values()) == {50}
    with pytest.raises(ValueError, match="no training image lies in the time range"):
        sampler.time_range = (0.51, 0.59)


def test_window_that_changes_nothing_keeps_the_round():
    sampler = TimeWindowSampler(TIMES, seed=0)
    drawn = []
    for step in range(33):
        sampler.time_range = (0.0, 1.0 - 1e-9 * step)
        drawn.append(sampler.next())
    assert sorted(drawn) == list(range(33))


@pytest.mark.parametrize("steps", [0, 7, 33, 50])
def test_resume_continues_exactly(tmp_path, steps):
    sampler = TimeWindowSampler(TIMES, seed=3)
    sampler.time_range = (0.0, 0.6)
    draw(sampler, steps)
    torch.save(sampler.get_state(), tmp_path / "state.pt")
    expected = draw(sampler, 60)
    resumed = TimeWindowSampler(TIMES, seed=99)
    resumed.set_state(torch.load(tmp_path / "state.pt", weights_only=True))
    assert draw(resumed, 60) == expected
    assert resumed.time_range == (0.0, 0.6)


def test_state_of_other_data_is_refused():
    with pytest.raises(ValueError, match="samples 33 training images, this dataset has 11"):
        TimeWindowSampler(TIMES[:11], 0).set_state(TimeWindowSampler(TIMES, 0).get_state())


def test_no_images():
    with pytest.raises(ValueError, match="no images"):
        TimeWindowSampler(torch.zeros(0), 0)
