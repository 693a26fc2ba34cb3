"""PLY files: point clouds in, Gaussian splats out.

Coordinates that lie too far from the origin for float32 are written as `double`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Float64, Shaped, UInt8

from dyn3d_ns.geometry.world import far_from_origin
from dyn3d_ns.io.atomic import atomic_open, write_bytes
from dyn3d_ns.io.errors import DamagedFileError, MissingFileError

SH_C0 = 0.28209479177387814
"""Value of the constant spherical harmonic: colour = 0.5 + SH_C0 * f_dc."""

_TYPES = {
    "char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4",
    "float": "f4", "double": "f8", "int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2",
    "int32": "i4", "uint32": "u4", "float32": "f4", "float64": "f8",
}  # fmt: skip
_WORDS = {"format": 2, "element": 3, "property": 3}
"""Words that a line of the header has at least."""
_LONGEST_LINE = 4096
_ORDERS = {"binary_little_endian": "<", "binary_big_endian": ">"}


class PointCloud(NamedTuple):
    """Points in world units with 8-bit colours."""

    xyz: Float64[np.ndarray, "N 3"]
    """Not rounded: what lies far from the origin is shifted before it becomes float32."""
    rgb: UInt8[np.ndarray, "N 3"]


def read_vertices(path: Path | str) -> np.ndarray:
    """Read the vertices of an ASCII or binary PLY file as a structured array.

    The vertex element must come first and have no list property, as in every point cloud and splat file.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"{path} does not exist")
    with path.open("rb") as file:
        order, count, fields = _read_header(file, path)
        dtype = np.dtype([(name, order + kind) for name, kind in fields])
        if order == "=":
            return _read_ascii(file.read(), count, dtype, path)
        left = path.stat().st_size - file.tell()
        body = file.read(min(count * dtype.itemsize, left))
    if len(body) < count * dtype.itemsize:
        raise DamagedFileError(
            f"{path} is cut off: {len(body)} bytes of the {count * dtype.itemsize} it announces"
        )
    return np.frombuffer(body, dtype=dtype, count=count)


def read_points(path: Path | str) -> PointCloud:
    """Read a point cloud; points without colours become grey, splats get the colour of their base term."""
    vertices = read_vertices(path)
    names = vertices.dtype.names or ()
    if not {"x", "y", "z"} <= set(names):
        raise DamagedFileError(f"{path} has no x, y, z; its vertices hold {', '.join(names)}")
    if len(vertices) == 0:
        raise DamagedFileError(f"{path} holds no point; remove the file to start from random points")
    xyz = np.stack([vertices[c] for c in "xyz"], axis=1).astype(np.float64)
    if not np.isfinite(xyz).all():
        raise DamagedFileError(
            f"{path} holds {(~np.isfinite(xyz).all(1)).sum()} points that are NaN or infinite"
        )
    return PointCloud(xyz, _colors(vertices))


def write_splats(
    path: Path | str,
    means: Float[np.ndarray, "N 3"],
    quats: Float32[np.ndarray, "N 4"],
    scales: Float32[np.ndarray, "N 3"],
    opacities: Float32[np.ndarray, "N"],
    sh: Float32[np.ndarray, "N K 3"],
    extra: Mapping[str, Float32[np.ndarray, "N"]] | None = None,
) -> None:
    """Write Gaussians in the PLY layout of 3D Gaussian Splatting, which splat viewers open.

    Args:
        path: Target, replaced as a whole.
        means: Centres in world units; those far from the origin are written as double.
        quats: Rotations wxyz, of any length.
        scales: Standard deviations in world units (stored as logarithms).
        opacities: Opacities in 0..1 (stored as logits).
        sh: Spherical harmonics coefficients, K a square number.
        extra: Further columns by name, written as they are behind the others; viewers pass over them.
    """
    write_bytes(path, pack_splats(means, quats, scales, opacities, sh, extra))


def pack_splats(
    means: Float[np.ndarray, "N 3"],
    quats: Float32[np.ndarray, "N 4"],
    scales: Float32[np.ndarray, "N 3"],
    opacities: Float32[np.ndarray, "N"],
    sh: Float32[np.ndarray, "N K 3"],
    extra: Mapping[str, Float32[np.ndarray, "N"]] | None = None,
    comments: Sequence[str] = (),
) -> bytes:
    """Return the file of :func:`write_splats`, with comments in its header."""
    n, k = len(means), sh.shape[1]
    if round(k**0.5) ** 2 != k:
        raise ValueError(f"sh must hold a square number of coefficients per Gaussian, got shape {sh.shape}")
    shapes = {
        "quats": quats.shape[:1],
        "scales": scales.shape[:1],
        "opacities": opacities.shape,
        "sh": sh.shape[:1],
        **{name: column.shape for name, column in (extra or {}).items()},
    }
    wrong = {name: shape for name, shape in shapes.items() if shape != (n,)}
    if wrong:
        raise ValueError(f"all arrays must hold {n} Gaussians, got {wrong}")
    rest = [f"f_rest_{i}" for i in range(3 * (k - 1))]
    names = [
        *("nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2"), *rest,
        *("opacity", "scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"),
        *(extra or {}),
    ]  # fmt: skip
    last = 6 + len(rest)
    table = np.empty((n, len(names)), np.float32)
    table[:, :3] = 0
    table[:, 3:6] = sh[:, 0]
    # Readers expect all coefficients of red, then of green, then of blue.
    table[:, 6:last] = sh[:, 1:].transpose(0, 2, 1).reshape(n, len(rest))
    table[:, last] = logit(opacities)
    table[:, last + 1 : last + 4] = np.log(np.maximum(scales, 1e-12))
    table[:, last + 4 : last + 8] = quats / np.maximum(np.linalg.norm(quats, axis=1, keepdims=True), 1e-12)
    for column, values in enumerate((extra or {}).values(), last + 8):
        table[:, column] = values
    place = "<f8" if means.dtype == np.float64 and far_from_origin(means) else "<f4"
    vertices = np.empty(n, [("place", place, 3), ("table", "<f4", len(names))])
    vertices["place"], vertices["table"] = means, table
    kinds = {name: place for name in "xyz"} | dict.fromkeys(names, "<f4")
    return _header(kinds, n, comments) + vertices.tobytes()


def write_columns(path: Path | str, columns: Mapping[str, Shaped[np.ndarray, "N"]]) -> None:
    """Write the properties of vertices as binary PLY, by name: bytes as uchar, all else as float.

    Places x, y and z that are given in float64 and lie far from the origin are written as double.
    """
    place = np.stack([columns[c] for c in "xyz"], axis=1)
    far = place.dtype == np.float64 and far_from_origin(place)
    kinds = {
        name: "|u1" if values.dtype == np.uint8 else "<f8" if far and name in "xyz" else "<f4"
        for name, values in columns.items()
    }
    vertices = np.empty(len(place), np.dtype(list(kinds.items())))
    for name, values in columns.items():
        vertices[name] = values
    with atomic_open(path) as file:
        file.write(_header(kinds, len(place)))
        file.write(vertices.tobytes())


def _header(kinds: Mapping[str, str], count: int, comments: Sequence[str] = ()) -> bytes:
    called = {"|u1": "uchar", "<f4": "float", "<f8": "double"}
    lines = [
        "ply",
        "format binary_little_endian 1.0",
        *(f"comment {line}" for line in comments),
        f"element vertex {count}",
        *(f"property {called[kind]} {name}" for name, kind in kinds.items()),
        "end_header",
    ]
    return "".join(f"{line}\n" for line in lines).encode()


def logit(opacities: Float32[np.ndarray, "N"]) -> Float64[np.ndarray, "N"]:
    """Return the logits of opacities as splat files hold them, finite also for 0 and 1."""
    alpha = np.clip(opacities.astype(np.float64), 1e-6, 1 - 1e-6)
    return np.log(alpha / (1 - alpha))


def write_points(path: Path | str, xyz: Float[np.ndarray, "N 3"], rgb: UInt8[np.ndarray, "N 3"]) -> None:
    """Write a coloured point cloud as binary PLY."""
    if len(xyz) != len(rgb):
        raise ValueError(f"got {len(xyz)} points but {len(rgb)} colours")
    places = {c: xyz[:, i] for i, c in enumerate("xyz")}
    write_columns(path, places | {c: rgb[:, i] for i, c in enumerate(("red", "green", "blue"))})


def _read_header(file, path: Path) -> tuple[str, int, list[tuple[str, str]]]:
    """Return the byte order (`=` for ASCII), the number of vertices and their fields."""
    if file.readline(_LONGEST_LINE).strip() != b"ply":
        raise DamagedFileError(f"{path} is not a PLY file: its first line is not `ply`")
    order, count, fields, element = None, None, [], 0
    for _ in range(1000):
        words = file.readline(_LONGEST_LINE).decode("ascii", "replace").split()
        if words[:1] == ["end_header"]:
            break
        if len(words) < _WORDS.get(words[0] if words else "", 0):
            raise DamagedFileError(f"{path}: the PLY header is damaged at `{' '.join(words)}`")
        if words[:1] == ["format"]:
            order = "=" if words[1] == "ascii" else _ORDERS.get(words[1])
        elif words[:1] == ["element"]:
            element += 1
            if element == 1:
                if words[1] != "vertex" or not re.fullmatch(r"[0-9]{1,18}", words[2]):
                    raise DamagedFileError(
                        f"{path}: the first element must be `vertex`, got `{' '.join(words)}`"
                    )
                count = int(words[2])
        elif words[:1] == ["property"] and element == 1:
            if words[1] not in _TYPES:
                raise DamagedFileError(f"{path}: vertex property `{' '.join(words[1:])}` is not supported")
            if words[2] in dict(fields):
                raise DamagedFileError(f"{path}: the vertex property {words[2]} occurs twice")
            fields.append((words[2], _TYPES[words[1]]))
    else:
        raise DamagedFileError(f"{path}: the PLY header has no end")
    if order is None or count is None or not fields:
        raise DamagedFileError(
            f"{path}: the PLY header lacks a known format, a vertex count or vertex properties"
        )
    return order, count, fields


def _read_ascii(body: bytes, count: int, dtype: np.dtype, path: Path) -> np.ndarray:
    width = len(dtype.names or ())
    lines = body.decode("ascii", "replace").split("\n")[:count]
    try:
        table = np.array([line.split() for line in lines], dtype=np.float64)
    except ValueError as error:
        raise DamagedFileError(f"{path}: a vertex line is damaged ({error})") from error
    if table.shape != (count, width):
        raise DamagedFileError(f"{path} announces {count} vertices of {width} values, found {table.shape}")
    vertices = np.empty(count, dtype)
    for i, name in enumerate(dtype.names or ()):
        vertices[name] = table[:, i]
    return vertices


def _colors(vertices: np.ndarray) -> UInt8[np.ndarray, "N 3"]:
    names = set(vertices.dtype.names or ())
    if {"red", "green", "blue"} <= names:
        rgb = np.stack([vertices[c] for c in ("red", "green", "blue")], axis=1)
        return rgb if rgb.dtype == np.uint8 else np.clip(np.rint(rgb * 255.0), 0, 255).astype(np.uint8)
    if {"f_dc_0", "f_dc_1", "f_dc_2"} <= names:
        rgb = 0.5 + SH_C0 * np.stack([vertices[f"f_dc_{i}"] for i in range(3)], axis=1)
        return np.clip(np.rint(255 * rgb), 0, 255).astype(np.uint8)
    return np.full((len(vertices), 3), 128, np.uint8)
