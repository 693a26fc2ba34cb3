"""Planes come back bit for bit, near their entropy, and nothing else than planes comes back."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from io_stream_reference import decode as reference_decode

from dyn3d_ns.io.errors import DamagedFileError
from dyn3d_ns.io.stream.bits import varint, zigzag
from dyn3d_ns.io.stream.codec import decode_planes, encode_planes

DTYPES = ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16")
HEADER = 32
"""Bytes that names, shapes and tables of one plane and the checksum may take beyond the entropy."""


@st.composite
def arrays(draw: st.DrawFn, most: int = 12) -> np.ndarray:
    dtype = draw(st.sampled_from(DTYPES))
    shape = draw(hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=most))
    if dtype == "bool":
        return draw(hnp.arrays(dtype, shape))
    limits = np.iinfo(dtype)
    low, high = max(limits.min, -(2**31)), min(limits.max, 2**31 - 1)
    reach = draw(st.sampled_from([1, 5, 300, 70_000, 2**32]))
    centre = draw(st.integers(low, high))
    return draw(
        hnp.arrays(dtype, shape, elements=st.integers(max(low, centre - reach), min(high, centre + reach)))
    )


planes_of = st.dictionaries(st.text("abcä_", min_size=1, max_size=5), arrays(), max_size=4)


def same(found: dict[str, np.ndarray], planes: dict[str, np.ndarray]) -> bool:
    return list(found) == list(planes) and all(
        found[name].dtype == array.dtype
        and found[name].shape == array.shape
        and np.array_equal(found[name], array)
        for name, array in planes.items()
    )


@given(planes_of)
@settings(max_examples=80, deadline=None)
def test_what_goes_in_comes_out_the_same(planes: dict[str, np.ndarray]) -> None:
    data = encode_planes(planes)
    assert same(decode_planes(data), planes)
    assert encode_planes(planes) == data


@given(planes_of)
@settings(max_examples=40, deadline=None)
def test_a_decoder_written_from_the_format_page_reads_the_same(planes: dict[str, np.ndarray]) -> None:
    found = reference_decode(encode_planes(planes))
    assert list(found) == list(planes)
    for name, array in planes.items():
        dtype, shape, values = found[name]
        assert (dtype, tuple(shape), values) == (str(array.dtype), array.shape, array.ravel().tolist())


def test_it_reads_long_planes_too() -> None:
    planes = {"r": laplace(9, (3000, 3)), "m": np.random.default_rng(8).random(20_000) < 0.1}
    found = reference_decode(encode_planes(planes))
    assert found["r"][2] == planes["r"].ravel().tolist() and found["m"][2] == planes["m"].tolist()


@given(planes_of, st.data())
@settings(max_examples=80, deadline=None)
def test_no_damage_passes_unnoticed(planes: dict[str, np.ndarray], data: st.DataObject) -> None:
    whole = encode_planes(planes)
    damaged = bytearray(whole)
    if data.draw(st.booleans(), "cut"):
        del damaged[data.draw(st.integers(0, len(whole) - 1)) :]
    else:
        place = data.draw(st.integers(0, len(whole) - 1))
        damaged[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(DamagedFileError):
        decode_planes(bytes(damaged))


def with_checksum(body: bytes) -> bytes:
    return body + zlib.crc32(body).to_bytes(4, "little")


@given(planes_of, st.data())
@settings(max_examples=200, deadline=None)
def test_forged_data_are_refused_or_decode_to_planes_within_the_limit(
    planes: dict[str, np.ndarray], data: st.DataObject
) -> None:
    forged = bytearray(encode_planes(planes)[:-4])
    for _ in range(data.draw(st.integers(1, 3))):
        forged[data.draw(st.integers(0, len(forged) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = decode_planes(with_checksum(bytes(forged)), max_elements=200_000)
    except DamagedFileError:
        return
    assert sum(array.size for array in found.values()) <= 200_000


@given(st.binary(max_size=300))
@settings(max_examples=200, deadline=None)
def test_noise_with_a_right_checksum_is_refused_or_small(noise: bytes) -> None:
    try:
        found = decode_planes(with_checksum(b"\x01" + noise), max_elements=10_000)
    except DamagedFileError:
        return
    assert sum(array.size for array in found.values()) <= 10_000


def entropy_bytes(values: np.ndarray) -> float:
    """Return the empirical entropy, with Miller and Madow's correction for few samples a value."""
    _, counts = np.unique(values, return_counts=True)
    share = counts / counts.sum()
    return float(-(counts * np.log2(share)).sum() + (len(counts) - 1) / 2 / np.log(2)) / 8


def laplace(scale: float, shape: tuple[int, ...]) -> np.ndarray:
    return np.rint(np.random.default_rng(1).laplace(0, scale, shape)).astype(np.int16)


@pytest.mark.parametrize(
    "values",
    [
        *(laplace(scale, (3000, 3)) for scale in (0.3, 0.7, 2, 40)),
        *(np.random.default_rng(2).random(30_000) < share for share in (0.005, 0.05, 0.5, 0.95)),
        np.random.default_rng(3).integers(0, 256, (30_000, 3)).astype(np.uint8),
        np.rint(np.random.default_rng(4).normal(300, 400, (30_000, 4))).astype(np.int32),
    ],
    ids=lambda values: f"{values.dtype}-{values.std():.2f}",
)
def test_a_plane_takes_its_entropy(values: np.ndarray) -> None:
    size, entropy = len(encode_planes({"x": values})), entropy_bytes(values)
    assert size < 1.01 * entropy + HEADER
    assert size > 0.99 * entropy


def test_values_of_sixteen_bits_take_no_more_than_their_bits() -> None:
    values = np.random.default_rng(5).integers(0, 2**16, (30_000, 3)).astype(np.uint16)
    assert len(encode_planes({"x": values})) < values.nbytes * 1.005


def test_a_constant_costs_its_header_alone() -> None:
    planes = {"a": np.full((5000, 3), -7, np.int32), "b": np.ones(30_000, bool), "c": np.zeros(30_000, bool)}
    assert len(encode_planes(planes)) < 40
    assert same(decode_planes(encode_planes(planes)), planes)


def test_tables_of_short_planes_stay_short() -> None:
    values = np.random.default_rng(6).integers(-(2**15), 2**15, 20).astype(np.int16)
    assert len(encode_planes({"x": values})) < values.nbytes + HEADER


def test_a_long_mask_is_decoded_across_its_blocks() -> None:
    mask = np.zeros(5_000_000, bool)
    mask[np.random.default_rng(7).integers(0, mask.size, 2_400_000)] = True
    assert same(decode_planes(encode_planes({"x": mask})), {"x": mask})


def test_arrays_in_any_order_and_byte_order_are_stored() -> None:
    values = np.arange(60, dtype=">i4").reshape(3, 4, 5)[:, ::-1].transpose(2, 0, 1)
    found = decode_planes(encode_planes({"x": values}))["x"]
    assert found.dtype == np.int32 and np.array_equal(found, values)


def test_more_elements_than_asked_for_are_refused() -> None:
    data = encode_planes({"a": np.zeros(600, bool), "b": np.zeros((10, 50), np.int8)})
    assert len(decode_planes(data, max_elements=1100)) == 2
    with pytest.raises(DamagedFileError, match=r"plane 'b' has shape \(10, 50\), but only 499"):
        decode_planes(data, max_elements=1099)


@pytest.mark.parametrize(("dtype", "most"), [("int8", 127), ("uint16", 2**16 - 1), ("int64", 2**31 - 1)])
def test_values_outside_their_type_are_refused(dtype: str, most: int) -> None:
    whole = encode_planes({"x": np.full(3, most, dtype)})
    # A constant plane's centre follows its name, type, shape and flags.
    at, raised = 7, varint(zigzag(most + 1))
    assert whole[at : at + len(raised)] == varint(zigzag(most))
    with pytest.raises(
        DamagedFileError, match=f"'x' holds values that are no {dtype}|'x' is damaged: its count"
    ):
        decode_planes(with_checksum(whole[:at] + raised + whole[at + len(raised) : -4]))


def test_a_newer_codec_is_named() -> None:
    with pytest.raises(DamagedFileError, match="codec version 9.*update"):
        decode_planes(with_checksum(b"\x09" + encode_planes({})[1:-4]))


def test_too_many_planes_are_refused() -> None:
    many = {str(number): np.zeros(0, np.int8) for number in range(257)}
    with pytest.raises(ValueError, match="got 257"):
        encode_planes(many)
    forged = bytearray(encode_planes({}))
    with pytest.raises(DamagedFileError, match="257 planes"):
        decode_planes(with_checksum(bytes([*forged[:1], 0x81, 0x02])))


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("", np.zeros(3, np.int8), "1 to 255 bytes"),
        ("x", np.zeros(3, np.float32), "got float32"),
        ("x", np.array(3), "1 to 8 axes"),
        ("x", np.array([2**31]), "range of int32"),
        ("x", np.zeros(3, np.uint64), "got uint64"),
    ],
)
def test_what_cannot_be_stored_is_refused(name: str, array: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        encode_planes({name: array})
