"""SuperSplat's compressed PLY: values packed into 32 bits, within the bounds of 256 Gaussians at a time."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from jaxtyping import Float, Shaped, UInt32

from dyn3d_ns.io.errors import DamagedFileError
from dyn3d_ns.io.ply import SH_C0
from dyn3d_ns.io.splat_files.table import MAX_GAUSSIANS, Table

_HEAD = 1 << 14
"""Bytes in which the header ends."""
_CHUNK = 256
_TYPES = {"float": "<f4", "uint": "<u4", "uchar": "u1", "uint8": "u1", "uint32": "<u4", "float32": "<f4"}
_PACKED = ("packed_position", "packed_rotation", "packed_scale", "packed_color")


def is_compressed(path: Path) -> bool:
    """Whether a PLY holds packed values."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.read(_HEAD)
    return head.startswith(b"ply") and b" packed_position" in head.partition(b"end_header")[0]


def read_compressed(path: Path) -> Table:
    """Read the packed values.

    Raises:
        DamagedFileError: the file is cut off, or its elements are others.
    """
    elements = _elements(path)
    chunks, packed, bytes_ = (elements.get(name) for name in ("chunk", "vertex", "sh"))
    if chunks is None or packed is None or not set(_PACKED) <= set(packed.dtype.names or ()):
        raise DamagedFileError(f"{path} needs the elements `chunk` and `vertex` of a compressed PLY")
    if len(chunks) * _CHUNK < len(packed):
        raise DamagedFileError(f"{path} has {len(chunks)} chunks, too few for its {len(packed)} Gaussians")
    bounds = chunks[np.arange(len(packed)) // _CHUNK]

    def unpacked(part: str, name: str) -> Float[np.ndarray, "N 3"]:
        values, axes = _three(packed[f"packed_{name}"]), "xyz" if name != "color" else "rgb"
        return np.stack(
            [_between(bounds, f"{part}{axis}", values[:, i], path) for i, axis in enumerate(axes)], axis=1
        )

    colour = packed["packed_color"]
    rgba = np.stack([(colour >> shift) & 255 for shift in (24, 16, 8, 0)], axis=1) / np.float32(255)
    if "min_r" in (chunks.dtype.names or ()):
        rgba[:, :3] = np.stack(
            [_between(bounds, axis, rgba[:, i], path) for i, axis in enumerate("rgb")], axis=1
        )
    dc = (rgba[:, :3] - 0.5) / SH_C0
    with np.errstate(over="ignore"):
        scales = np.exp(unpacked("scale_", "scale"))
    return Table(
        means=unpacked("", "position"),
        quats=_rotations(packed["packed_rotation"]),
        scales=scales,
        opacities=rgba[:, 3],
        sh=np.concatenate([dc[:, None], _harmonics(bytes_, len(packed), path)], axis=1),
        sorted_by_place=True,
    )


def _three(values: UInt32[np.ndarray, "N"]) -> Float[np.ndarray, "N 3"]:
    """Unpack 11, 10 and 11 bits to 0..1."""
    return np.stack(
        [(values >> 21) / 2047, ((values >> 11) & 1023) / 1023, (values & 2047) / 2047], axis=1
    ).astype(np.float32)


def _between(
    bounds: Shaped[np.ndarray, "N"], name: str, part: Float[np.ndarray, "N"], path: Path
) -> Float[np.ndarray, "N"]:
    low, high = f"min_{name}", f"max_{name}"
    if not {low, high} <= set(bounds.dtype.names or ()):
        raise DamagedFileError(f"{path}: its chunks lack {low} and {high}")
    return bounds[low] * (1 - part) + bounds[high] * part


def _rotations(values: UInt32[np.ndarray, "N"]) -> Float[np.ndarray, "N 4"]:
    """Unpack which of w, x, y, z is largest, and the other three in 10 bits each."""
    others = np.stack([(values >> shift) & 1023 for shift in (20, 10, 0)], axis=1) / 1023
    return smallest_three((others - 0.5) * 2**0.5, (values >> 30).astype(np.int64))


def smallest_three(
    others: Float[np.ndarray, "N 3"], largest: Shaped[np.ndarray, "N"]
) -> Float[np.ndarray, "N 4"]:
    """Return quaternions of length one given three components, in order, and which one was left out."""
    quats = np.zeros((len(others), 4))
    rest = np.sqrt(np.maximum(0.0, 1 - (others**2).sum(1)))
    for i in range(4):
        rows = largest == i
        quats[rows] = np.insert(others[rows], i, rest[rows], axis=1)
    return quats


def _harmonics(values: np.ndarray | None, count: int, path: Path) -> Float[np.ndarray, "N K 3"]:
    if values is None:
        return np.zeros((count, 0, 3), np.float32)
    names = values.dtype.names or ()
    if (
        len(values) != count
        or len(names) not in (9, 24, 45)
        or any(f"f_rest_{i}" not in names for i in range(len(names)))
    ):
        raise DamagedFileError(f"{path}: its element `sh` must hold 9, 24 or 45 columns f_rest_… of each")
    table = np.stack([values[f"f_rest_{i}"] for i in range(len(names))], axis=1)
    # The two ends stand for the ends of -4..4, all else for the middle of a step.
    parts = np.where(table == 255, 1.0, np.where(table == 0, 0.0, (table + 0.5) / 256))
    return (8 * (parts - 0.5)).astype(np.float32).reshape(count, 3, len(names) // 3).transpose(0, 2, 1)


def _elements(path: Path) -> dict[str, np.ndarray]:
    """Read the elements of a little-endian PLY without lists."""
    with path.open("rb") as file:
        head = file.read(_HEAD)
    lines, end, _ = head.partition(b"end_header\n")
    if not end or b"format binary_little_endian" not in lines:
        raise DamagedFileError(f"{path}: the header of a compressed PLY must be one of binary_little_endian")
    stated: list[tuple[str, int, list[tuple[str, str]]]] = []
    for line in lines.decode("ascii", "replace").splitlines():
        words = line.split()
        if words[:1] == ["element"] and len(words) == 3 and re.fullmatch(r"[0-9]{1,12}", words[2]):
            stated.append((words[1], int(words[2]), []))
        elif words[:1] == ["property"]:
            if not stated or len(words) != 3 or words[1] not in _TYPES or words[2] in dict(stated[-1][2]):
                raise DamagedFileError(f"{path}: the PLY header is damaged at `{line[:80]}`")
            stated[-1][2].append((words[2], _TYPES[words[1]]))
    found: dict[str, np.ndarray] = {}
    start, size = len(lines) + len(end), path.stat().st_size
    for name, count, fields in stated:
        kind = np.dtype(fields)
        if count > MAX_GAUSSIANS or start + count * kind.itemsize > size:
            raise DamagedFileError(f"{path} is cut off: its {count} rows of `{name}` do not fit into it")
        found[name] = np.fromfile(path, kind, count, offset=start)
        start += count * kind.itemsize
    return found
