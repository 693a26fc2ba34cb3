"""The decoder's integer arithmetic, held to the plain way of writing it."""

from __future__ import annotations

import numpy as np
import pytest

from dyn3d_ns.gaussians.lattice import QUAT_BITS, TURN_BITS, LatticeGaussians, cells_of, predicted, turned


def plainly_turned(quats: np.ndarray, turn: np.ndarray) -> np.ndarray:
    w, v, shift = quats[:, :1], quats[:, 1:], TURN_BITS + 1
    real = w - ((turn * v).sum(axis=1, keepdims=True) >> shift)
    result = np.concatenate([real, v + ((turn * w + np.cross(turn, v)) >> shift)], axis=1)
    length = (result * result).sum(axis=1, keepdims=True) >> QUAT_BITS
    return (result * (3 * (1 << QUAT_BITS) - length)) >> (QUAT_BITS + 1)


def unit_quats(random: np.random.Generator, count: int) -> np.ndarray:
    quats = random.normal(size=(count, 4))
    return np.rint(quats / np.linalg.norm(quats, axis=1, keepdims=True) * (1 << QUAT_BITS)).astype(np.int64)


@pytest.mark.parametrize("count", [0, 1, 500])
def test_turns(count: int) -> None:
    random = np.random.default_rng(count)
    quats, turn = unit_quats(random, count), random.integers(-900, 900, (count, 3))
    assert np.array_equal(turned(quats, turn), plainly_turned(quats, turn))


@pytest.mark.parametrize(("side", "spread"), [(50, 300), (1, 40), (3, 4000), (7, 2**21)])
def test_cells_counted_or_sorted_are_the_same(side: int, spread: int) -> None:
    """Few cells are counted, many are sorted; either way they are numbered by their coordinates."""
    means = np.random.default_rng(side).integers(-spread, spread, (700, 3))
    found = cells_of(means, side)
    places = (means - means.min(axis=0)) // side
    cells = sorted(set(map(tuple, places.tolist())))
    assert found.count == len(cells)
    assert [cells[number] for number in found.of] == list(map(tuple, places.tolist()))
    for number in range(found.count):
        inside = found.of == number
        middle = sum(map(int, means[inside, 0])) // int(inside.sum())
        assert (found.offset[inside, 0] == means[inside, 0] - middle).all()


def test_constant_velocity_is_turned_with_what_turns() -> None:
    random = np.random.default_rng(0)
    count = 40
    moving = random.random(count) < 0.5
    names = ("means", "shift", "turn")
    values = {name: random.integers(-999, 999, (count, 3)).astype(np.int32) for name in names}
    zeros = {name: np.zeros((count, 3), np.int32) for name in ("scales", "features_dc", "opacities")}
    quats = unit_quats(random, count).astype(np.int32)
    state = LatticeGaussians(
        **values, **zeros, quats=quats, features_rest=np.zeros((count, 0, 3), np.int32), moving=moving
    )
    found = predicted(state, moving)
    means, shift, turn = (values[name][moving].astype(np.int64) for name in names)
    assert np.array_equal(found.means, means + shift + (np.cross(turn, shift) >> TURN_BITS))
    assert np.array_equal(found.quats, plainly_turned(quats[moving].astype(np.int64), turn))
    assert np.array_equal(found.turn, turn)
