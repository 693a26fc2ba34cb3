"""The arithmetic of streams: what moves, what is stored, and that both sides agree."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from dyn3d_ns.gaussians.lattice import (
    ATTRIBUTES,
    CELL_BITS,
    QUAT_BITS,
    TURN_BITS,
    GaussianDecoder,
    Lattice,
    LatticeGaussians,
    carry,
    cells_of,
    decoder_of,
    predicted,
    split,
    turned,
    unsplit,
)
from dyn3d_ns.io.errors import DamagedFileError
from dyn3d_ns.io.stream.header import StreamHeader

LATTICE = Lattice(means=10, cells=(400, 150))
COUNT = 200


def a_state(seed: int = 0, moving: float = 0.3) -> LatticeGaussians:
    """Return Gaussians anywhere within a unit of space, some of which move."""
    rng = np.random.default_rng(seed)
    quats = rng.normal(size=(COUNT, 4))
    quats *= 2**QUAT_BITS / np.linalg.norm(quats, axis=1, keepdims=True)
    mask = rng.random(COUNT) < moving

    def ints(low: int, high: int, *shape: int) -> np.ndarray:
        return rng.integers(low, high, (COUNT, *shape)).astype(np.int32)

    return LatticeGaussians(
        means=ints(-512, 512, 3),
        quats=np.rint(quats).astype(np.int32),
        scales=ints(-100, -20, 3),
        opacities=ints(-20, 20, 1),
        features_dc=ints(-60, 60, 3),
        features_rest=ints(-9, 9, 3, 3),
        shift=ints(-30, 30, 3) * mask[:, None],
        turn=ints(-300, 300, 3) * mask[:, None],
        moving=mask,
    )


def a_delta(state: LatticeGaussians, seed: int = 1) -> dict[str, np.ndarray]:
    """Return a delta that fits a state."""
    rng = np.random.default_rng(seed)
    moving, changed = rng.random(COUNT) < 0.3, rng.random(COUNT) < 0.4
    means = predicted(state, moving).means
    cells = sum(cells_of(means, side).count for side in LATTICE.cells)
    replaced = rng.random(COUNT) < 0.05
    on, anew = split(moving, state.moving)
    of_moving, of_resting = split(changed, moving)
    count = {"moving": int(moving.sum()), "changed": int(changed.sum()), "replaced": int(replaced.sum())}
    planes = {
        "moving_on": on,
        "moving_anew": anew,
        "grid": rng.integers(-20, 20, (cells, 6)),
        "shift": rng.integers(-3, 3, (count["moving"], 3)),
        "turn": rng.integers(-2, 2, (count["moving"], 3)),
        "changed_moving": of_moving,
        "changed_resting": of_resting,
        "replaced": replaced,
    }
    planes |= {name: rng.integers(-4, 4, (count["changed"], width)) for name, width in ATTRIBUTES.items()}
    other = a_state(seed + 7)
    for name in ("means", "quats", *ATTRIBUTES, "features_rest"):
        planes[f"new_{name}"] = vars(other)[name][replaced]
    return planes


def assert_same(a: LatticeGaussians, b: LatticeGaussians) -> None:
    for name, values in vars(a).items():
        np.testing.assert_array_equal(values, vars(b)[name], err_msg=name)


def test_a_delta_does_what_its_planes_say() -> None:
    state = a_state()
    planes = a_delta(state)
    after = GaussianDecoder(LATTICE).advance(state, planes)
    moving = unsplit(planes["moving_on"], planes["moving_anew"], state.moving)
    changed = unsplit(planes["changed_moving"], planes["changed_resting"], moving)
    replaced = planes["replaced"]
    np.testing.assert_array_equal(after.moving, moving & ~replaced)
    np.testing.assert_array_equal(after.means[~moving & ~replaced], state.means[~moving & ~replaced])
    np.testing.assert_array_equal(after.means[replaced], planes["new_means"])
    kept = changed & ~replaced
    np.testing.assert_array_equal(
        after.features_dc[kept], (state.features_dc[changed] + planes["features_dc"])[~replaced[changed]]
    )
    np.testing.assert_array_equal(after.scales[~changed & ~replaced], state.scales[~changed & ~replaced])
    still = ~after.moving
    assert not after.shift[still].any() and not after.turn[still].any()
    np.testing.assert_array_equal(after.shift[after.moving], (after.means - state.means)[after.moving])
    assert_same(state, a_state())


def test_a_key_and_an_initial_part_give_the_state_that_deltas_lead_to() -> None:
    decoder, initial = GaussianDecoder(LATTICE), a_state(moving=0.0)
    state = initial
    for seed in range(4):
        state = decoder.advance(state, a_delta(state, seed))
    assert_same(decoder.jump(initial, decoder.to_key(initial, state)), state)
    assert_same(decoder.start(decoder.to_init(state)), state)
    planes = a_delta(state, 9)
    assert_same(
        decoder.advance(decoder.start(decoder.to_init(state)), planes), decoder.advance(state, planes)
    )


@pytest.mark.parametrize("name", [*a_delta(a_state())])
def test_a_delta_that_lacks_a_plane_or_whose_plane_does_not_fit_is_refused(name: str) -> None:
    state, decoder = a_state(), GaussianDecoder(LATTICE)
    planes = a_delta(state)
    lacking = {key: value for key, value in planes.items() if key != name}
    with pytest.raises(DamagedFileError, match=name):
        decoder.advance(state, lacking)
    with pytest.raises(DamagedFileError):
        decoder.advance(state, planes | {name: planes[name][:-1]})


@pytest.mark.parametrize("part", ["init", "key"])
def test_other_parts_that_do_not_fit_are_refused(part: str) -> None:
    decoder, initial = GaussianDecoder(LATTICE), a_state(moving=0.0)
    state = decoder.advance(initial, a_delta(initial))
    planes = dict(decoder.to_init(state) if part == "init" else decoder.to_key(initial, state))

    def decode(found: dict[str, np.ndarray]) -> LatticeGaussians:
        return decoder.start(found) if part == "init" else decoder.jump(initial, found)

    assert_same(decode(planes), state)
    for name in planes:
        with pytest.raises(DamagedFileError, match=name):
            decode({key: value for key, value in planes.items() if key != name})
        with pytest.raises(DamagedFileError):
            decode(planes | {name: planes[name][:-1]})


def test_a_cell_turns_and_shifts_what_lies_in_it_as_one_body() -> None:
    rng = np.random.default_rng(3)
    state = a_state(moving=0.0)
    moving = np.ones(COUNT, bool)
    lattice = Lattice(means=10, cells=(100_000,))
    grid = np.array([[7, -20, 3, *rng.integers(-40, 40, 3)]], np.int64)
    carried = carry(state, moving, lattice, grid)
    rotation = Rotation.from_rotvec(np.ldexp(grid[0, 3:].astype(float), -CELL_BITS))
    middle = state.means.mean(0)
    expected = rotation.apply(state.means - middle) + middle + grid[0, :3]
    # To first order: the error is half the squared angle of about 0.1 radians.
    assert np.abs(carried.means - expected).max() < 0.01 * 512 + 2
    before = Rotation.from_quat(state.quats[:, [1, 2, 3, 0]])
    after = Rotation.from_quat(carried.quats[:, [1, 2, 3, 0]].astype(float))
    assert np.degrees((after * (rotation * before).inv()).magnitude()).max() < 0.1


def test_turning_keeps_a_quaternion_at_its_length() -> None:
    quats = a_state().quats.astype(np.int64)
    turn = np.random.default_rng(0).integers(-600, 600, (COUNT, 3))
    for _ in range(300):
        quats = turned(quats, turn)
    length = np.linalg.norm(quats.astype(float), axis=1) / 2**QUAT_BITS
    assert np.abs(length - 1).max() < 1e-3


def test_what_goes_round_is_predicted_on_its_circle() -> None:
    steps, radius, angle = 40, 500.0, 0.15
    places = [radius * np.array([np.cos(angle * i), np.sin(angle * i), 0.0]) for i in range(steps)]
    for i in range(2, steps):
        before, now, coming = places[i - 2 : i - 1][0], places[i - 1], places[i]
        state = LatticeGaussians(
            **{name: values[:1] for name, values in vars(a_state()).items()}
            | {
                "means": np.rint(now[None]).astype(np.int32),
                "shift": np.rint((now - before)[None]).astype(np.int32),
                "turn": np.rint([[0, 0, np.ldexp(angle, TURN_BITS)]]).astype(np.int32),
            }
        )
        found = predicted(state, np.ones(1, bool)).means[0]
        straight = np.linalg.norm(2 * now - before - coming)
        assert np.linalg.norm(found - coming) < 0.3 * straight


def test_values_survive_the_lattice_to_half_a_step() -> None:
    rng = np.random.default_rng(0)
    for name in ("means", "quats", "scales", "opacities", "features_dc", "features_rest"):
        values = rng.normal(size=(50, 3)).astype(np.float32)
        there = LATTICE.to_float(name, LATTICE.to_int(name, values))
        assert np.abs(there - values).max() <= 2.0 ** -LATTICE.bits(name) / 2
        np.testing.assert_array_equal(LATTICE.to_float(name, LATTICE.to_int(name, there)), there)


def test_a_header_states_the_steps_and_wrong_ones_are_refused() -> None:
    header = StreamHeader("gaussians", 30.0, (0.0, 1.0), LATTICE.to_header())
    assert decoder_of(header).lattice == LATTICE
    for wrong in ({"cells": "400 x"}, {"cells": "0"}, {"means": 900}):
        with pytest.raises(DamagedFileError):
            decoder_of(StreamHeader("gaussians", 30.0, (0.0, 1.0), LATTICE.to_header() | wrong))
    lacking = {key: value for key, value in LATTICE.to_header().items() if key != "scales"}
    with pytest.raises(DamagedFileError, match="scales"):
        decoder_of(StreamHeader("gaussians", 30.0, (0.0, 1.0), lacking))
