"""glTF with `KHR_gaussian_splatting` as ratified, in one binary file of one instant."""

from __future__ import annotations

import json
import struct

import numpy as np
from jaxtyping import Float32

from dyn3d_ns.export.written import provenance
from dyn3d_ns.io.errors import CommandError
from dyn3d_ns.io.ply import SH_C0
from dyn3d_ns.io.splats import About, Splats

SUFFIX = ".glb"
EXTENSION = "KHR_gaussian_splatting"
MAX_DEGREE = 3
LOSS = "exact"
_FLOAT, _POINTS, _WIDTHS = 5126, 0, {1: "SCALAR", 3: "VEC3", 4: "VEC4"}


def linear(srgb: Float32[np.ndarray, "*N"]) -> Float32[np.ndarray, "*N"]:
    """Return the linear values of display values in 0..1 (IEC 61966-2-1), as glTF wants fallback colours."""
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4).astype(np.float32)


def encode_glb(splats: Splats, about: About) -> bytes:
    """Return an instant as a binary glTF; viewers without the extension show coloured points.

    Raises:
        CommandError: the degree is above 3.
    """
    if splats.degree > MAX_DEGREE:
        raise CommandError(f"{EXTENSION} holds colours up to degree {MAX_DEGREE}, not {splats.degree}")
    shown = linear(np.clip(0.5 + SH_C0 * splats.sh[:, 0], 0, 1))
    columns = {
        "POSITION": splats.means.astype(np.float32),
        "COLOR_0": np.concatenate([shown, splats.opacities[:, None]], axis=1),
        f"{EXTENSION}:ROTATION": splats.quats[:, [1, 2, 3, 0]],
        f"{EXTENSION}:SCALE": splats.scales,
        f"{EXTENSION}:OPACITY": splats.opacities[:, None],
    }
    first = 0
    for degree in range(splats.degree + 1):
        for number in range(2 * degree + 1):
            columns[f"{EXTENSION}:SH_DEGREE_{degree}_COEF_{number}"] = splats.sh[:, first + number]
        first += 2 * degree + 1
    arrays = [np.ascontiguousarray(values, "<f4") for values in columns.values()]
    starts = np.cumsum([0, *(array.nbytes for array in arrays)])
    views = [
        {"buffer": 0, "byteOffset": int(start), "byteLength": array.nbytes}
        for start, array in zip(starts, arrays, strict=False)
    ]
    accessors = [
        {"bufferView": i, "componentType": _FLOAT, "count": len(splats), "type": _WIDTHS[values.shape[1]]}
        for i, values in enumerate(columns.values())
    ]
    accessors[0] |= {
        "min": columns["POSITION"].min(0).tolist(),
        "max": columns["POSITION"].max(0).tolist(),
    }
    document = {
        "asset": {"version": "2.0", "generator": about.version or "dyn3d_ns", "extras": provenance(about)},
        "extensionsUsed": [EXTENSION],
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [
            {
                "primitives": [
                    {
                        "attributes": {name: i for i, name in enumerate(columns)},
                        "mode": _POINTS,
                        "extensions": {EXTENSION: {"kernel": "ellipse", "colorSpace": "srgb_rec709_display"}},
                    }
                ]
            }
        ],
        "buffers": [{"byteLength": int(starts[-1])}],
        "bufferViews": views,
        "accessors": accessors,
    }
    text = json.dumps(document, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    total = 12 + 8 + len(text) + 8 + int(starts[-1])
    return b"".join(
        [
            struct.pack("<4sII", b"glTF", 2, total),
            struct.pack("<I4s", len(text), b"JSON"),
            text,
            struct.pack("<I4s", int(starts[-1]), b"BIN\0"),
            *(array.data for array in arrays),
        ]
    )
