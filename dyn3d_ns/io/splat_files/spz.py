"""Niantic's SPZ: versions 1 to 3, one gzip stream, and version 4, a zstd stream for each attribute."""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from dyn3d_ns.io.errors import CommandError, DamagedFileError
from dyn3d_ns.io.splat_files.table import MAX_GAUSSIANS, Table, lower_degree

MAGIC = b"NGSP"
_HEAD, _HEAD_4 = struct.Struct("<4sIIBBBB"), struct.Struct("<4sIIBBBBI12x")
_TERMS = (0, 3, 8, 15, 24)
"""Coefficients beyond the constant one, by degree."""
_SCALE_OF_COLOUR = 0.15
_MOST_PACKED = 1032
"""Bytes that one byte of a gzip stream stands for at most."""


class _Head(NamedTuple):
    version: int
    count: int
    degree: int
    fractional_bits: int
    streams: int = 1
    table: int = 0


def read_spz(path: Path) -> Table:
    """Read an SPZ file of version 1 to 4.

    Raises:
        DamagedFileError: it is damaged, or of another version.
        CommandError: it is of version 4, and no package here unpacks zstd.
    """
    with path.open("rb") as file:
        start = file.read(4)
    if start == MAGIC:
        head, parts = _packed_apart(path)
    elif start[:2] == b"\x1f\x8b":
        head, parts = _packed_together(path)
    else:
        raise DamagedFileError(f"{path} is no SPZ file: it begins neither with NGSP nor as gzip does")
    places, alphas, colours, scales, rotations, rest = parts
    count = head.count
    dc = (colours.reshape(count, 3) / np.float32(255) - 0.5) / _SCALE_OF_COLOUR
    more = ((rest.astype(np.float32) - 128) / 128).reshape(count, _TERMS[head.degree], 3)
    sh, notes = lower_degree(np.concatenate([dc[:, None], more], axis=1))
    return Table(
        means=_places(places, head),
        quats=_rotations(rotations, head),
        scales=np.exp(scales.reshape(count, 3) / np.float32(16) - 10),
        opacities=alphas / np.float32(255),
        sh=sh,
        notes=notes,
    )


def _check(head: _Head, path: Path) -> list[int]:
    """Return the bytes of each attribute."""
    if not 1 <= head.version <= 4:
        raise DamagedFileError(f"{path} is SPZ of version {head.version}; 1 to 4 can be read")
    if head.count > MAX_GAUSSIANS or head.degree >= len(_TERMS) or head.fractional_bits > 24:
        raise DamagedFileError(
            f"{path}: its header is damaged ({head.count} Gaussians of degree {head.degree}, "
            f"{head.fractional_bits} fractional bits)"
        )
    place, rotation = (6 if head.version == 1 else 9), (4 if head.version >= 3 else 3)
    return [head.count * bytes_ for bytes_ in (place, 1, 3, 3, rotation, 3 * _TERMS[head.degree])]


def _packed_together(path: Path) -> tuple[_Head, list[UInt8[np.ndarray, "_"]]]:
    """Unpack the gzip stream of versions 1 to 3."""
    try:
        with gzip.open(path) as file:
            start = file.read(_HEAD.size)
            if len(start) < _HEAD.size or start[:4] != MAGIC:
                raise DamagedFileError(f"{path} is no SPZ file: what it packs does not begin with NGSP")
            head = _Head(*_HEAD.unpack(start)[1:5])
            sizes = _check(head, path)
            if sum(sizes) > _MOST_PACKED * path.stat().st_size:
                raise DamagedFileError(
                    f"{path} is cut off: it cannot hold the {head.count} Gaussians it states"
                )
            body = file.read(sum(sizes))
    except (OSError, EOFError, zlib.error) as error:
        raise DamagedFileError(f"{path} is damaged ({error}); copy it again") from error
    if len(body) < sum(sizes):
        raise DamagedFileError(f"{path} is cut off: {len(body)} bytes of the {sum(sizes)} that it states")
    ends = np.cumsum(sizes)
    return head, [
        np.frombuffer(body, np.uint8, size, end - size) for size, end in zip(sizes, ends, strict=True)
    ]


def _packed_apart(path: Path) -> tuple[_Head, list[UInt8[np.ndarray, "_"]]]:
    """Unpack the zstd streams of version 4."""
    data = path.read_bytes()
    if len(data) < _HEAD_4.size:
        raise DamagedFileError(f"{path} is cut off: its header has {_HEAD_4.size} bytes")
    _, *numbers = _HEAD_4.unpack(data[: _HEAD_4.size])
    version, count, degree, fractional_bits, _, streams, table = numbers
    head = _Head(version, count, degree, fractional_bits, streams, table)
    sizes = _check(head, path)
    if version != 4:
        raise DamagedFileError(f"{path}: SPZ of version {version} must be a gzip stream; export it again")
    if streams < (6 if degree else 5) or table + 16 * streams > len(data):
        raise DamagedFileError(f"{path} is cut off: its {streams} streams do not fit into {len(data)} bytes")
    place, parts = table + 16 * streams, []
    for i, size in enumerate(sizes):
        packed, unpacked = struct.unpack_from("<QQ", data, table + 16 * i) if i < streams else (0, 0)
        if unpacked != size or place + packed > len(data):
            raise DamagedFileError(f"{path}: its stream {i} should hold {size} bytes, and states {unpacked}")
        parts.append(_unzstd(data[place : place + packed], size, path) if size else np.zeros(0, np.uint8))
        place += packed
    return head, parts


def _unzstd(packed: bytes, size: int, path: Path) -> UInt8[np.ndarray, "_"]:
    try:
        import zstandard
    except ImportError as error:
        raise CommandError(
            f"{path} is SPZ of version 4, which takes a further package: pip install 'dyn3d-ns[spz]', or "
            "save it as version 3"
        ) from error
    try:
        # Read step by step, as a frame may state more than there is memory.
        body = zstandard.ZstdDecompressor(max_window_size=2**27).stream_reader(packed).read(size)
    except zstandard.ZstdError as error:
        raise DamagedFileError(f"{path} is damaged ({error}); copy it again") from error
    if len(body) != size:
        raise DamagedFileError(f"{path} is cut off: a stream holds {len(body)} bytes of {size}")
    return np.frombuffer(body, np.uint8)


def _places(values: UInt8[np.ndarray, "_"], head: _Head) -> Float[np.ndarray, "N 3"]:
    if head.version == 1:
        return values.view("<f2").astype(np.float32).reshape(-1, 3)
    parts = values.reshape(-1, 3).astype(np.int32)
    fixed = parts[:, 0] | parts[:, 1] << 8 | parts[:, 2] << 16
    fixed -= (fixed & 0x800000) << 1
    return (fixed.astype(np.float32) / np.float32(2**head.fractional_bits)).reshape(-1, 3)


def _rotations(values: UInt8[np.ndarray, "_"], head: _Head) -> Float[np.ndarray, "N 4"]:
    """Return quaternions wxyz of what is stored as xyzw."""
    if head.version < 3:
        xyz = values.reshape(-1, 3) / np.float32(127.5) - 1
        w = np.sqrt(np.maximum(0, 1 - (xyz**2).sum(1, keepdims=True)))
        return np.concatenate([w, xyz], axis=1)
    words = values.view("<u4").copy()
    largest, xyzw = (words >> 30).astype(np.int64), np.zeros((len(words), 4))
    # From the last component on, each but the largest takes the lowest ten bits: nine, and a sign.
    for i in (3, 2, 1, 0):
        stored = largest != i
        amount = (words & 511) / (511 * 2**0.5)
        xyzw[stored, i] = np.where(words & 512, -amount, amount)[stored]
        words = np.where(stored, words >> 10, words)
    rest = np.sqrt(np.maximum(0.0, 1 - (xyzw**2).sum(1)))
    xyzw[np.arange(len(xyzw)), largest] = rest
    return xyzw[:, [3, 0, 1, 2]]
