"""Binary glTF with the extension KHR_gaussian_splatting."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float64
from scipy.spatial.transform import Rotation

from dyn3d_ns.io.damage import CONTENT_ERRORS, JSON_ERRORS
from dyn3d_ns.io.errors import DamagedFileError
from dyn3d_ns.io.splat_files.placed import placed
from dyn3d_ns.io.splat_files.table import MAX_GAUSSIANS, Table, stated_origin

EXTENSION = "KHR_gaussian_splatting"
_HEAD, _CHUNK = struct.Struct("<4sII"), struct.Struct("<I4s")
_MAX_JSON = 1 << 26
_KINDS = {5120: "i1", 5121: "u1", 5122: "<i2", 5123: "<u2", 5126: "<f4"}
_LARGEST = {5120: 127, 5121: 255, 5122: 32767, 5123: 65535}
_WIDTHS = {"SCALAR": 1, "VEC3": 3, "VEC4": 4}
_MAX_NODES = 100_000


def read_glb(path: Path) -> Table:
    """Read all Gaussians of a glTF scene, where its nodes put them.

    Raises:
        DamagedFileError: it is damaged, or holds none.
    """
    document, body = _chunks(path)
    try:
        tables = [
            placed(_primitive(document, body, primitive, path), world, f"{path}: {name}")
            for mesh, world, name in _meshes(document, path)
            for primitive in document["meshes"][mesh]["primitives"]
            if EXTENSION in primitive.get("extensions", {})
        ]
    except CONTENT_ERRORS as error:
        if isinstance(error, DamagedFileError):
            raise
        said = str(error).partition("\n")[0] or type(error).__name__
        raise DamagedFileError(f"{path}: its description is damaged ({said}); export it again") from error
    if not tables:
        used = ", ".join(map(str, document.get("extensionsUsed", ()))) or "none"
        raise DamagedFileError(
            f"{path} holds no Gaussians by {EXTENSION}; extensions that it uses: {used:.200}"
        )
    extras = document["asset"].get("extras") if isinstance(document.get("asset"), dict) else None
    origin = stated_origin(extras.get("origin") if isinstance(extras, dict) else None)
    return replace(joined(tables), origin=origin)


def joined(tables: list[Table]) -> Table:
    """Return the Gaussians of several parts in one table."""
    terms = max(table.sh.shape[1] for table in tables)
    return Table(
        means=np.concatenate([table.means for table in tables]),
        quats=np.concatenate([table.quats for table in tables]),
        scales=np.concatenate([table.scales for table in tables]),
        opacities=np.concatenate([table.opacities for table in tables]),
        sh=np.concatenate(
            [np.pad(table.sh, ((0, 0), (0, terms - table.sh.shape[1]), (0, 0))) for table in tables]
        ),
        notes=tuple(dict.fromkeys(note for table in tables for note in table.notes)),
        up=tables[0].up,
    )


def _chunks(path: Path) -> tuple[dict[str, Any], bytes]:
    """Return the description and the binary part."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(_HEAD.size)
        if len(head) < _HEAD.size or head[:4] != b"glTF":
            raise DamagedFileError(f"{path} is no binary glTF: it does not begin with glTF")
        _, version, stated = _HEAD.unpack(head)
        if version != 2 or stated > size:
            raise DamagedFileError(
                f"{path} is cut off, or no glTF 2: it states version {version} and {stated} bytes of {size}"
            )
        parts: dict[bytes, bytes] = {}
        while file.tell() + _CHUNK.size <= stated:
            length, kind = _CHUNK.unpack(file.read(_CHUNK.size))
            if length > size - file.tell() or (kind == b"JSON" and length > _MAX_JSON):
                raise DamagedFileError(f"{path} is cut off: a chunk of {length} bytes does not fit into it")
            parts.setdefault(kind, file.read(length))
    try:
        document = json.loads(parts.get(b"JSON", b""))
    except JSON_ERRORS as error:
        raise DamagedFileError(f"{path}: its description is not valid JSON ({error})") from error
    if not isinstance(document, dict):
        raise DamagedFileError(f"{path}: its description must be a JSON object")
    return document, parts.get(b"BIN\0", b"")


def _meshes(document: dict[str, Any], path: Path) -> list[tuple[int, Float64[np.ndarray, "4 4"], str]]:
    """List the meshes of the scene, with the transforms of their nodes."""
    nodes, scenes = document.get("nodes", []), document.get("scenes", [])
    roots = scenes[document.get("scene", 0)].get("nodes", []) if scenes else range(len(nodes))
    waiting, found, seen = [(root, np.eye(4), 0) for root in roots], [], 0
    while waiting:
        index, above, depth = waiting.pop()
        seen += 1
        if seen > _MAX_NODES or depth > 1000 or not 0 <= index < len(nodes):
            raise DamagedFileError(f"{path}: its nodes go in a circle, or one is missing")
        node = nodes[index]
        world = above @ _transform(node)
        if "mesh" in node:
            found.append((node["mesh"], world, str(node.get("name", f"node {index}"))[:80]))
        waiting += [(child, world, depth + 1) for child in node.get("children", [])]
    return found


def _transform(node: dict[str, Any]) -> Float64[np.ndarray, "4 4"]:
    if "matrix" in node:
        return np.array(node["matrix"], np.float64).reshape(4, 4).T
    world = np.eye(4)
    turn = Rotation.from_quat(np.array(node.get("rotation", [0, 0, 0, 1]), np.float64))
    world[:3, :3] = turn.as_matrix() * np.array(node.get("scale", [1, 1, 1]), np.float64)
    world[:3, 3] = np.array(node.get("translation", [0, 0, 0]), np.float64)
    return world


def _primitive(document: dict[str, Any], body: bytes, primitive: dict[str, Any], path: Path) -> Table:
    attributes, settings = primitive["attributes"], primitive["extensions"][EXTENSION]
    if inner := settings.get("extensions"):
        raise DamagedFileError(
            f"{path} packs its Gaussians by {', '.join(inner):.80}, which is not read; export it uncompressed"
        )

    def values(name: str, width: int) -> Float[np.ndarray, "N W"]:
        key = name if name == "POSITION" else f"{EXTENSION}:{name}"
        if key not in attributes:
            raise DamagedFileError(f"{path}: its Gaussians lack the attribute {key}; export it again")
        return _accessor(document, body, attributes[key], width, f"{path}: {key}")

    means = values("POSITION", 3)
    degree = 0
    while degree < 3 and f"{EXTENSION}:SH_DEGREE_{degree + 1}_COEF_0" in attributes:
        degree += 1
    sh = [values(f"SH_DEGREE_{band}_COEF_{i}", 3) for band in range(degree + 1) for i in range(2 * band + 1)]
    quats, scales = values("ROTATION", 4)[:, [3, 0, 1, 2]], values("SCALE", 3)
    opacities = values("OPACITY", 1)[:, 0]
    if {len(means)} != {len(part) for part in (quats, scales, opacities, *sh)}:
        raise DamagedFileError(f"{path}: its attributes hold different numbers of Gaussians; export it again")
    space = settings.get("colorSpace", "srgb_rec709_display")
    notes = (
        () if space == "srgb_rec709_display" else (f"colours of {space!s:.60} are shown as those of sRGB",)
    )
    return Table(means, quats, scales, opacities, np.stack(sh, axis=1), notes, up="y")


def _accessor(
    document: dict[str, Any], body: bytes, index: int, width: int, where: str
) -> Float[np.ndarray, "N W"]:
    """Read numbers out of the binary part; whole ones stand for parts of their largest."""
    accessor = document["accessors"][index]
    kind, count = accessor["componentType"], accessor["count"]
    if kind not in _KINDS or _WIDTHS.get(accessor["type"]) != width or "sparse" in accessor:
        raise DamagedFileError(
            f"{where} has a type that is not read ({accessor['type']!r:.20}, {kind!r:.20})"
        )
    view = document["bufferViews"][accessor["bufferView"]]
    if view.get("buffer", 0) != 0 or "uri" in document["buffers"][0]:
        raise DamagedFileError(f"{where} lies in another file; export it as one GLB file")
    item = np.dtype(_KINDS[kind])
    stride = view.get("byteStride", width * item.itemsize)
    start = view.get("byteOffset", 0) + accessor.get("byteOffset", 0)
    numbers = (count, stride, start, view["byteLength"])
    if (
        any(type(number) is not int or number < 0 for number in numbers)
        or count > MAX_GAUSSIANS
        or stride < width * item.itemsize
        or start + max(count - 1, 0) * stride + width * item.itemsize * min(count, 1) > len(body)
    ):
        raise DamagedFileError(f"{where} is cut off: its {count!r:.20} values do not fit into the file")
    found = np.ndarray((count, width), item, body, start, (stride, item.itemsize))
    if kind not in _LARGEST:
        return found.astype(np.float32)
    if not accessor.get("normalized"):
        raise DamagedFileError(f"{where} holds whole numbers that are not normalized; export it again")
    return np.maximum(found / np.float32(_LARGEST[kind]), -1.0)
