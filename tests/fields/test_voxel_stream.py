"""Streams of voxels: round trips through the codec, keys, and what is refused."""

import numpy as np
import pytest

from dyn3d_ns.fields.voxel_stream import VoxelDecoder, VoxelLattice, VoxelState, decoder_of
from dyn3d_ns.io.errors import DamagedFileError
from dyn3d_ns.io.stream.codec import decode_planes, encode_planes
from dyn3d_ns.io.stream.header import StreamHeader

LATTICE = VoxelLattice((5, 6, 4), 1, 5)


def random_state(seed: int) -> VoxelState:
    random = np.random.default_rng(seed)
    index = np.flatnonzero(random.random(LATTICE.points) < 0.4)
    return VoxelState(index, random.integers(-90, 90, (len(index), 28)).astype(np.int32))


def same(a: VoxelState, b: VoxelState) -> bool:
    return np.array_equal(a.index, b.index) and np.array_equal(a.values, b.values)


def test_frames_come_back_bit_for_bit() -> None:
    decoder, states = VoxelDecoder(LATTICE), [random_state(i) for i in range(4)]
    state = decoder.start(decode_planes(encode_planes(decoder.to_init(states[0]))))
    assert same(state, states[0])
    for before, after in zip(states, states[1:], strict=False):
        state = decoder.advance(state, decode_planes(encode_planes(decoder.difference(before, after))))
        assert same(state, after)
    key = decode_planes(encode_planes(decoder.to_key(states[0], states[3])))
    assert same(decoder.jump(states[0], key), states[3])
    assert same(states[0], random_state(0))


def test_what_stays_is_not_stored() -> None:
    decoder, state = VoxelDecoder(LATTICE), random_state(0)
    planes = decoder.difference(state, state)
    assert not any(planes[name].any() for name in ("removed", "added", "changed"))
    assert sum(planes[name].size for name in ("density", "sh0", "new_density", "new_sh2")) == 0
    values = state.values.copy()
    values[7, 3] += 2
    planes = decoder.difference(state, VoxelState(state.index, values))
    assert planes["changed"].nonzero()[0].tolist() == [7] and planes["sh0"].tolist() == [[0, 0, 2]]


def test_empty_frames_may_come_and_go() -> None:
    decoder, state = VoxelDecoder(LATTICE), random_state(0)
    empty = VoxelState(np.zeros(0, np.int64), np.zeros((0, 28), np.int32))
    assert same(decoder.advance(state, decoder.difference(state, empty)), empty)
    assert same(decoder.advance(empty, decoder.difference(empty, state)), state)


def test_floats_are_rounded_once_and_colours_keep_their_places() -> None:
    random = np.random.default_rng(0)
    density, colors = random.normal(0, 20, 9), random.normal(0, 1, (9, 27))
    first = LATTICE.to_int(density, colors)
    found = LATTICE.to_float(first)
    np.testing.assert_allclose(found[0], density, atol=0.25)
    np.testing.assert_allclose(found[1], colors, atol=1 / 64 + 1e-6)
    assert np.array_equal(LATTICE.to_int(*found), first)


@pytest.mark.parametrize("name", ["removed", "added", "changed", "sh1", "new_sh2"])
def test_planes_that_do_not_fit_are_refused(name: str) -> None:
    decoder = VoxelDecoder(LATTICE)
    planes = decoder.difference(random_state(0), random_state(1))
    with pytest.raises(DamagedFileError, match=name):
        decoder.advance(random_state(0), {**planes, name: planes[name][:-1]})
    with pytest.raises(DamagedFileError, match=name):
        decoder.advance(random_state(0), {key: value for key, value in planes.items() if key != name})


def test_a_voxel_that_is_there_cannot_be_added() -> None:
    decoder, state = VoxelDecoder(LATTICE), random_state(0)
    planes = decoder.difference(state, state)
    added = np.zeros(LATTICE.points, bool)
    added[state.index[3]] = True
    new = {
        f"new_{k}": np.zeros((1, n), np.int32)
        for k, n in (("density", 1), ("sh0", 3), ("sh1", 9), ("sh2", 15))
    }
    with pytest.raises(DamagedFileError, match="already"):
        decoder.advance(state, {**planes, "added": added, **new})


@pytest.mark.parametrize(
    "wrong",
    [{"shape": "5 6"}, {"shape": "1 6 4"}, {"shape": "9999 9999 9999"}, {"density": 99}, {"colors": "x"}],
)
def test_headers_are_checked(wrong: dict[str, int | str]) -> None:
    header = StreamHeader("voxels", 30.0, (0.0, 1.0), LATTICE.to_header())
    assert decoder_of(header).lattice == LATTICE
    with pytest.raises(DamagedFileError, match="voxels"):
        decoder_of(StreamHeader("voxels", 30.0, (0.0, 1.0), {**LATTICE.to_header(), **wrong}))
