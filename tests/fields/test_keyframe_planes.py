"""Keyframes, their planes, and refinement from coarse to fine."""

import pytest
import torch

from dyn3d_ns.engine.optimizers import FusedAdam
from dyn3d_ns.fields.keyframe_bridge import KeyframeBridge
from dyn3d_ns.fields.keyframe_planes import (
    KeyframePlanes,
    default_keyframes,
    keyframe_times,
    nearest_keyframe,
    resolution_schedule,
    upsample,
)


def small(resolution: int = 8, keyframes: int = 3) -> KeyframePlanes:
    torch.manual_seed(0)
    return KeyframePlanes(resolution, keyframes, 16, 16, 8, 16, 1, -2.0)


@pytest.mark.parametrize(("count", "frames"), [(16, list(range(0, 46, 3))), (4, [0, 15, 30, 45])])
def test_keyframes_lie_on_the_published_frames(count: int, frames: list[int]) -> None:
    """Spec 8.2, 4: 46 training frames at i / 60."""
    times = keyframe_times(count, 0.0, 0.75)
    assert [round(60 * t) for t in times] == frames
    torch.testing.assert_close(torch.tensor(times), torch.tensor(frames) / 60)


def test_defaults_follow_the_number_of_frames() -> None:
    assert [default_keyframes(n) for n in (5, 46, 200)] == [4, 16, 24]
    with pytest.raises(ValueError, match="at least 1"):
        keyframe_times(0, 0.0, 1.0)


def test_the_nearest_keyframe_and_the_last_for_the_future() -> None:
    keys = torch.tensor(keyframe_times(4, 0.0, 0.75))
    times = torch.tensor([0.0, 0.12, 0.13, 0.75, 0.99, -0.5])
    assert nearest_keyframe(times, keys).tolist() == [0, 0, 1, 3, 3, 0]


def test_nothing_changes_with_the_keyframe_while_time_planes_are_one() -> None:
    planes, x = small(), 2 * torch.rand(50, 3) - 1
    first, last = (planes.density(x, torch.full((50,), k)) for k in (0, 2))
    assert torch.equal(first, last)
    with torch.no_grad():
        planes.density_planes.time[0][2] *= 1.5
    assert not torch.equal(first, planes.density(x, torch.full((50,), 2)))


def test_upsampling_keeps_the_field_and_carries_the_optimizer() -> None:
    planes = small(9)
    optimizer = FusedAdam(planes.planes(), lr=1e-2)
    x, rows = 2 * torch.rand(40, 3) - 1, torch.randint(0, 3, (40,))
    planes.density(x, rows).sum().backward()
    optimizer.step()
    # On the coarse grid's own points the refined field has the same values.
    grid = torch.linspace(-1, 1, 9)[torch.randint(0, 9, (40, 3))]
    before = planes.density(grid, rows)
    upsample(planes, 17, optimizer)
    assert planes.resolution == 17
    torch.testing.assert_close(planes.density(grid, rows), before)
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert held == {id(p) for p in planes.planes()}
    for parameter in planes.density_planes.parameters():
        assert optimizer.state[parameter]["exp_avg"].shape == parameter.shape
        assert float(optimizer.state[parameter]["exp_avg"].abs().max()) > 0
    planes.density(x, rows).sum().backward()
    optimizer.step()


def test_resolutions_are_even_in_the_logarithm() -> None:
    assert resolution_schedule(64, 200, 5) == [80, 101, 127, 159, 200]


def test_the_bridge_vanishes_at_keyframes_in_the_future_and_at_the_start() -> None:
    planes, bridge = small(8, 4).density_planes, KeyframeBridge(16)
    keys, x = torch.tensor(keyframe_times(4, 0.0, 0.75)), 2 * torch.rand(6, 3) - 1
    between = torch.full((6, 1), 0.3)
    assert float(bridge(x, between, keys, planes).abs().max()) == 0
    last = bridge.network[-1]
    assert isinstance(last, torch.nn.Linear)
    torch.nn.init.normal_(last.weight)
    torch.nn.init.normal_(last.bias)
    assert float(bridge(x, between, keys, planes).abs().min()) > 0
    t = torch.tensor([0.0, 0.25, 0.5, 0.75, 0.8, 1.0])[:, None]
    torch.testing.assert_close(bridge(x, t, keys, planes), torch.zeros(6, 3), rtol=0, atol=1e-6)


def test_the_bridge_does_not_shape_the_planes() -> None:
    planes, bridge = small(8, 4).density_planes, KeyframeBridge(16)
    torch.nn.init.normal_(bridge.network[-1].weight)  # type: ignore[arg-type]
    keys = torch.tensor(keyframe_times(4, 0.0, 0.75))
    bridge(torch.rand(5, 3), torch.full((5, 1), 0.1), keys, planes).sum().backward()
    assert all(p.grad is None for p in planes.parameters())
