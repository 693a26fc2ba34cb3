"""Named arrays of integers and bools as bytes and back, near their entropy and bit for bit.

docs/stream-format.md describes every byte.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from dyn3d_ns.io.errors import DamagedFileError
from dyn3d_ns.io.stream.bits import ByteReader, RawBits, pack_raw, varint, zigzag
from dyn3d_ns.io.stream.tokens import (
    MAX_MANTISSA,
    MAX_TOKENS,
    TokenLayout,
    TokenReader,
    best_layout,
    encode_tokens,
    new_decoder,
    new_encoder,
)

CODEC_VERSION = 1
DEFAULT_MAX_ELEMENTS = 1 << 28
"""Elements that all planes may have together, if the caller names no limit: 3.5 masks of 768 x 768 x 128."""

_DTYPES = tuple(np.dtype(name) for name in ("bool", "i1", "i2", "i4", "i8", "u1", "u2"))
"""In the order of their codes."""
_MAX_PLANES = 256
_MAX_DIMENSIONS = 8
_BLOCK = 1 << 20
"""Values that are decoded at a time, so that little more memory is needed than for the planes."""
_INT32 = np.iinfo(np.int32)
_NOTHING = TokenLayout(0, False, 0)


@dataclass(frozen=True)
class _Plane:
    """Header of one plane."""

    name: str
    dtype: np.dtype
    shape: tuple[int, ...]
    inverted: bool
    """A mask's places that are stored are those of False."""
    count: int
    """Values that are stored: all of integers, the places of a mask."""
    layout: TokenLayout
    kinds: int
    """Tokens from 0 to the highest that occurs."""

    def to_bytes(self) -> bytes:
        name = self.name.encode()
        parts = [bytes([len(name)]), name, bytes([_DTYPES.index(self.dtype) << 4 | len(self.shape)])]
        parts += [varint(side) for side in self.shape]
        if math.prod(self.shape):
            layout = self.layout
            parts += [bytes([layout.signed << 7 | self.inverted << 6 | layout.mantissa])]
            parts += [varint(zigzag(layout.centre)), varint(self.kinds)]
            parts += [varint(self.count)] if self.dtype == bool else []
        return b"".join(parts)


def encode_planes(planes: Mapping[str, np.ndarray]) -> bytes:
    """Return named arrays as bytes for :func:`decode_planes`; the same arrays give the same bytes.

    Args:
        planes: Arrays of bool, int8 to int64, uint8 or uint16, of any shape but (), within int32's range.

    Raises:
        ValueError: there are more than 256, a name is empty or too long, or an array cannot be stored.
    """
    if len(planes) > _MAX_PLANES:
        raise ValueError(f"there may be {_MAX_PLANES} planes, got {len(planes)}")
    coder = new_encoder()
    header, raw = [varint(len(planes))], [np.zeros(0, np.uint8)]
    for name, array in planes.items():
        _require_storable(name, array)
        places, inverted = _places(array) if array.dtype == bool else (array.reshape(-1), False)
        values = places.astype(np.int64)
        layout, kinds = _NOTHING, 1
        if len(values):
            layout = best_layout(values)
            tokens, u, widths = layout.split(values)
            kinds = int(tokens.max()) + 1
            encode_tokens(coder, tokens)
            raw.append(pack_raw(u, widths))
        dtype = array.dtype.newbyteorder("=")
        header.append(_Plane(name, dtype, array.shape, inverted, len(values), layout, kinds).to_bytes())
    words = coder.get_compressed().astype("<u4")
    bits = np.packbits(np.concatenate(raw), bitorder="little").tobytes()
    body = b"".join([bytes([CODEC_VERSION]), *header, varint(len(words)), words.tobytes(), bits])
    return body + zlib.crc32(body).to_bytes(4, "little")


def decode_planes(data: bytes, max_elements: int = DEFAULT_MAX_ELEMENTS) -> dict[str, np.ndarray]:
    """Return the arrays that :func:`encode_planes` was given: names, types, shapes and values.

    Args:
        data: What :func:`encode_planes` returned.
        max_elements: Elements of all arrays together above which data are refused, before memory is taken.

    Raises:
        DamagedFileError: the data are cut short, changed, of a newer version or no planes at all.
    """
    if len(data) < 4 or zlib.crc32(data[:-4]) != int.from_bytes(data[-4:], "little"):
        raise DamagedFileError("the planes' checksum does not fit: they are damaged or cut short")
    reader = ByteReader(data[:-4])
    if (version := reader.byte()) != CODEC_VERSION:
        raise DamagedFileError(
            f"the planes have codec version {version}, but this program reads {CODEC_VERSION}; "
            "update dyn3d_ns if it is newer"
        )
    planes = _read_header(reader, max_elements)
    word_count = reader.varint()
    words = np.frombuffer(reader.take(4 * word_count), "<u4").astype(np.uint32)
    coder = new_decoder(words)
    raw = RawBits(reader.take(reader.left))
    found = {plane.name: _decode_plane(plane, coder, raw) for plane in planes}
    raw.finish()
    if word_count and not coder.maybe_exhausted():
        raise DamagedFileError("more coded data are stored than the planes need")
    return found


def _decode_plane(plane: _Plane, coder: Any, raw: RawBits) -> np.ndarray:
    """Read one plane's tokens and raw bits."""
    size = math.prod(plane.shape)
    tokens = TokenReader(coder, plane.kinds)
    lowest, widths = plane.layout.expand(plane.kinds)
    found = np.full(size, plane.inverted, plane.dtype)
    last = -1
    for start in range(0, plane.count, _BLOCK):
        token = tokens.take(min(_BLOCK, plane.count - start))
        values = plane.layout.values(lowest[token] + raw.take(widths[token]))
        if plane.dtype == bool:
            places = _places_from_gaps(values, last, size)
            found[places] = not plane.inverted
            last = int(places[-1])
        else:
            limits = np.iinfo(plane.dtype if plane.dtype.itemsize < 8 else np.int32)
            if not limits.min <= values.min() <= values.max() <= limits.max:
                raise DamagedFileError(f"plane {plane.name!r} holds values that are no {plane.dtype}")
            found[start : start + len(values)] = values
    return found.reshape(plane.shape)


def _places(mask: np.ndarray) -> tuple[np.ndarray, bool]:
    """Return the gaps between the places of a mask's rarer value, and whether that value is False."""
    flat = mask.reshape(-1)
    inverted = bool(2 * np.count_nonzero(flat) > flat.size)
    return np.diff(np.flatnonzero(flat != inverted), prepend=-1) - 1, inverted


def _places_from_gaps(gaps: np.ndarray, last: int, size: int) -> np.ndarray:
    """Return the places after the place ``last`` that :func:`_places` gave as gaps."""
    # Each gap first: a sum of wrong ones could wrap around and look right.
    if 0 <= gaps.min() <= gaps.max() < size:
        places = np.cumsum(gaps + 1) + last
        if places[-1] < size:
            return places
    raise DamagedFileError("a mask's places lie outside it")


def _require_storable(name: str, array: np.ndarray) -> None:
    """Refuse what the format cannot hold."""
    if not 0 < len(name.encode()) < 256:
        raise ValueError(f"a plane's name must have 1 to 255 bytes, got {name!r}")
    if array.dtype.newbyteorder("=") not in _DTYPES:
        raise ValueError(f"plane {name!r} must be one of {', '.join(map(str, _DTYPES))}, got {array.dtype}")
    if not 1 <= array.ndim <= _MAX_DIMENSIONS or array.size > _INT32.max:
        raise ValueError(f"plane {name!r} must have 1 to {_MAX_DIMENSIONS} axes, got shape {array.shape}")
    if (
        array.dtype.itemsize == 8
        and array.size
        and not (_INT32.min <= array.min() and array.max() <= _INT32.max)
    ):
        raise ValueError(f"plane {name!r} leaves the range of int32: {array.min()} to {array.max()}")


def _read_header(reader: ByteReader, max_elements: int) -> list[_Plane]:
    """Return the planes' headers, with every number checked."""
    planes: dict[str, _Plane] = {}
    left = max_elements
    if (count := reader.varint()) > _MAX_PLANES:
        raise DamagedFileError(f"{count} planes are more than the {_MAX_PLANES} that can be")
    for _ in range(count):
        plane = _read_plane(reader, left)
        if plane.name in planes:
            raise DamagedFileError(f"plane {plane.name!r} is there twice")
        planes[plane.name] = plane
        left -= math.prod(plane.shape)
    return list(planes.values())


def _read_plane(reader: ByteReader, max_elements: int) -> _Plane:
    """Return the next plane's header."""
    try:
        name = reader.take(reader.byte()).decode()
    except UnicodeDecodeError as error:
        raise DamagedFileError("a plane's name is no UTF-8") from error
    code, dimensions = divmod(reader.byte(), 16)
    if not name or code >= len(_DTYPES) or not 1 <= dimensions <= _MAX_DIMENSIONS:
        raise DamagedFileError(f"the header of plane {name!r} is damaged: its type or its number of axes")
    dtype, shape = _DTYPES[code], tuple(reader.varint() for _ in range(dimensions))
    size = math.prod(shape)
    if size > max_elements or max(shape) > _INT32.max:
        raise DamagedFileError(
            f"plane {name!r} has shape {shape}, but only {max_elements} elements are left to it: "
            "the file is damaged, or its reader's limit too low"
        )
    if not size:
        return _Plane(name, dtype, shape, False, 0, _NOTHING, 1)
    flags, centre, kinds = reader.byte(), reader.signed(), reader.varint()
    count = reader.varint() if code == 0 else size
    layout = TokenLayout(centre, bool(flags & 0x80), flags & 0x0F)
    sound = flags & 0x30 == 0 and layout.mantissa <= MAX_MANTISSA and count <= size
    sound = sound and abs(centre) <= 1 << 31 and 0 < kinds <= MAX_TOKENS
    if not sound or layout.expand(kinds)[1][-1] > 32:
        raise DamagedFileError(f"the header of plane {name!r} is damaged: its count, centre or tokens")
    return _Plane(name, dtype, shape, bool(flags & 0x40), count, layout, kinds)
