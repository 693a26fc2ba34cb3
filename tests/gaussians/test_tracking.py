"""Following Gaussians: the neighbours' rigidity, the order of frames, and where each starts."""

import numpy as np
import pytest
import torch
from scipy.spatial import KDTree
from torch import Tensor

from dyn3d_ns.gaussians.tracking import NEIGHBOURS, Tracks, outward
from dyn3d_ns.geometry.rotations import (
    normalize_quat,
    quat_apply,
    quat_conjugate,
    quat_multiply,
    so3_exp_quat,
)

TIMES = (0.0, 0.1, 0.25, 0.3, 0.5, 0.55, 0.7)


def random_state(count: int = 60, seed: int = 0) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(seed)
    return torch.randn(count, 3, generator=random), torch.randn(count, 4, generator=random)


def written_out(start: tuple[Tensor, Tensor], means: Tensor, quats: Tensor) -> Tensor:
    """Return the loss by torch's operators."""
    places = start[0].double()
    lengths, found = KDTree(places.numpy()).query(places.numpy(), k=NEIGHBOURS + 1)
    index, lengths = torch.from_numpy(found[:, 1:]), torch.from_numpy(lengths[:, 1:])
    unit = float(np.median(lengths))
    weights = torch.exp(-0.5 * (lengths / unit) ** 2)
    turns = quat_multiply(normalize_quat(quats), quat_conjugate(normalize_quat(start[1].double())))
    offsets = places[index] - places[:, None]
    now = means[index] - means[:, None]
    rigid = (now - quat_apply(turns[:, None].expand(-1, NEIGHBOURS, 4), offsets)).square().sum(-1)
    distance = (now.norm(dim=-1) - lengths).square()
    return (weights * (rigid + distance)).sum() / weights.sum() / unit**2


def test_neighbours_stay_by_the_formula() -> None:
    start, moved = random_state(), random_state(seed=1)
    neighbours = Tracks(TIMES, 3, *start).neighbours
    single = [x.clone().requires_grad_() for x in moved]
    double = [x.double().requires_grad_() for x in moved]
    loss, truth = neighbours.loss(*single), written_out(start, *double)
    (3 * loss).backward()
    (3 * truth).backward()
    torch.testing.assert_close(loss.double(), truth, rtol=1e-5, atol=0)
    for x, y in zip(single, double, strict=True):
        assert x.grad is not None and y.grad is not None
        torch.testing.assert_close(x.grad.double(), y.grad, rtol=1e-4, atol=1e-5 * float(y.grad.abs().max()))


def test_what_moves_rigidly_costs_nothing() -> None:
    means, quats = random_state()
    neighbours = Tracks(TIMES, 3, means, quats).neighbours
    turn = so3_exp_quat(torch.tensor([0.3, -1.2, 2.0])).expand(60, 4)
    moved, turned = quat_apply(turn, means) + 5.0, 2.0 * quat_multiply(turn, quats)
    assert float(neighbours.loss(moved, turned)) < 1e-9
    assert float(neighbours.loss(moved, quats)) > 0.1, "orientations have to turn along"
    assert float(neighbours.loss(1.1 * moved, turned)) > 1e-3


@pytest.mark.parametrize(
    ("count", "canonical", "stride", "expected"),
    [
        (9, 4, 1, [5, 6, 7, 8, 3, 2, 1, 0]),
        (10, 4, 3, [7, 9, 1, 0]),
        (10, 4, 50, [9, 0]),
        (4, 3, 1, [2, 1, 0]),
        (4, 0, 2, [2, 3]),
        (1, 0, 1, []),
    ],
)
def test_frames_are_followed_outward(count: int, canonical: int, stride: int, expected: list[int]) -> None:
    assert outward(count, canonical, stride) == expected


def test_frames_start_where_constant_velocity_and_turn_lead() -> None:
    """At uneven times, with orientations of any length and sign; each side by its own frames."""
    means, quats = random_state()
    speed, spin = random_state(seed=2)[0], 3 * random_state(seed=3)[0]

    def at(frame: int) -> tuple[Tensor, Tensor]:
        t = TIMES[frame] - TIMES[3]
        return means + t * speed, quat_multiply(so3_exp_quat(t * spin), normalize_quat(quats))

    tracks = Tracks(TIMES, 3, means, quats)
    torch.testing.assert_close(tracks.start(4)[0], means)
    tracks.record(4, at(4)[0], -3 * at(4)[1])
    for frame in (5, 6):
        for found, expected in zip(tracks.start(frame), at(frame), strict=True):
            sign = 1 if found.shape[1] == 3 else torch.sign((found * expected).sum(1, keepdim=True))
            torch.testing.assert_close(sign * found, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(tracks.start(2)[0], means)
    tracks.record(2, at(2)[0] + 1.0, at(2)[1])
    back = (TIMES[1] - TIMES[2]) / (TIMES[2] - TIMES[3])
    expected = at(2)[0] + 1.0 + back * (at(2)[0] + 1.0 - means)
    torch.testing.assert_close(tracks.start(1)[0], expected, rtol=1e-4, atol=1e-4)


def test_paths_are_in_order_of_time_and_survive_a_checkpoint() -> None:
    tracks = Tracks(TIMES, 3, *random_state())
    for frame in (5, 1):
        means, quats = random_state(seed=frame)
        tracks.record(frame, means, quats)
    again = Tracks.from_state(TIMES, 3, tracks.get_state())
    times, means, quats = again.paths()
    assert times.tolist() == [TIMES[1], TIMES[3], TIMES[5]]
    np.testing.assert_allclose(means[2], random_state(seed=5)[0])
    np.testing.assert_allclose(np.linalg.norm(quats, axis=2), 1, rtol=1e-6)
    assert ((quats[1:] * quats[:-1]).sum(2) >= 0).all(), "orientations keep their sign"
    for a, b in zip(again.start(6), tracks.start(6), strict=True):
        assert torch.equal(a, b)
    loss, other = (t.neighbours.loss(*random_state(seed=9)) for t in (again, tracks))
    torch.testing.assert_close(loss, other)
