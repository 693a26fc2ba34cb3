"""The worked example of docs/stream-format.md is what the code writes and reads."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from io_stream_reference import STEPS, decode

from dyn3d_ns.io.stream.codec import decode_planes, encode_planes
from dyn3d_ns.io.stream.parts import Part, pack_part, unpack_part

PAGE = (Path(__file__).resolve().parents[3] / "docs/stream-format.md").read_text(encoding="utf-8")
MASK = np.array([0, 0, 1, 0, 0, 0, 0, 1, 0, 0], dtype=bool)
ROWS = np.array([[5, 6], [5, 5], [4, 9]], dtype=np.int16)


def example() -> bytes:
    """Return the bytes at the left of the example."""
    block = PAGE.split("### A worked example")[1].split("```")[1]
    return bytes.fromhex(
        "".join(re.match(r"((?:[0-9a-f]{2} )*[0-9a-f]{2})|", row)[0] for row in block.splitlines())
    )


def test_the_example_is_what_is_written() -> None:
    assert pack_part(Part.DELTA, 1, encode_planes({"m": MASK, "r": ROWS})) == example()


def test_the_example_is_read() -> None:
    payload = unpack_part(Part.DELTA, 1, example())
    found = decode_planes(payload)
    assert np.array_equal(found["m"], MASK) and np.array_equal(found["r"], ROWS)
    assert found["r"].dtype == np.int16
    by_page = decode(payload)
    assert by_page["m"][2] == MASK.tolist() and by_page["r"][2] == ROWS.ravel().tolist()


def test_the_fixed_frequencies_are_those_of_the_page() -> None:
    assert ", ".join(f"{frequency:,}" for frequency in STEPS[:4]) + " …" in PAGE
