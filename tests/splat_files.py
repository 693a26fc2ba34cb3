"""Files of Gaussians packed by hand as their specifications say, for the tests of the readers."""

from __future__ import annotations

import gzip
import io
import json
import struct
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SH_C0 = 0.28209479177387814


@dataclass(frozen=True)
class Scene:
    """Gaussians to write; quaternions wxyz of length one, scales linear, opacities 0..1."""

    means: np.ndarray
    quats: np.ndarray
    scales: np.ndarray
    opacities: np.ndarray
    sh: np.ndarray

    def shifted(self, by: float) -> Scene:
        """Return the scene moved along all axes."""
        return replace(self, means=self.means + np.float32(by))


def random_scene(count: int = 20, degree: int = 3, seed: int = 0) -> Scene:
    """Return random Gaussians, half of their quaternions with w < 0."""
    rng = np.random.default_rng(seed)
    quats = rng.normal(size=(count, 4))
    return Scene(
        rng.normal(size=(count, 3)).astype(np.float32),
        (quats / np.linalg.norm(quats, axis=1, keepdims=True)).astype(np.float32),
        np.exp(rng.uniform(-5, -2, (count, 3))).astype(np.float32),
        rng.uniform(0.05, 0.95, count).astype(np.float32),
        (0.25 * rng.normal(size=(count, (degree + 1) ** 2, 3))).clip(-0.9, 0.9).astype(np.float32),
    )


def angles(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the angles between rotations, degrees."""
    return 2 * np.degrees(np.arccos(np.clip(np.abs((a * b).sum(1)), 0, 1)))


def _byte(values: np.ndarray) -> bytes:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8).tobytes()


def _fixed(values: np.ndarray, bits: int) -> bytes:
    whole = np.rint(values.astype(np.float64) * 2**bits).astype("<i4").reshape(-1, 1)
    return np.ascontiguousarray(whole.view(np.uint8)[:, :3]).tobytes()


def _smallest_three(quats: np.ndarray) -> bytes:
    """Pack xyzw: two bits say which is largest, then ten for each of the others, the first one highest."""
    words = []
    for quat in quats[:, [1, 2, 3, 0]].astype(np.float64):
        largest = int(np.abs(quat).argmax())
        signed = quat if quat[largest] >= 0 else -quat
        word = largest
        for i in range(4):
            if i != largest:
                word = word << 10 | (512 if signed[i] < 0 else 0) | round(511 * 2**0.5 * abs(signed[i]))
        words.append(word)
    return np.asarray(words, "<u4").tobytes()


def spz_streams(scene: Scene, version: int, bits: int = 12) -> list[bytes]:
    """Return the six attributes as SPZ stores them."""
    quats = scene.quats * np.where(scene.quats[:, :1] < 0, -1, 1)
    return [
        scene.means.astype("<f2").tobytes() if version == 1 else _fixed(scene.means, bits),
        _byte(255 * scene.opacities),
        _byte(255 * (0.5 + 0.15 * scene.sh[:, 0])),
        _byte(16 * (np.log(scene.scales) + 10)),
        _smallest_three(scene.quats) if version >= 3 else _byte(127.5 * (quats[:, 1:] + 1)),
        _byte(128 * scene.sh[:, 1:] + 128),
    ]


def write_spz(path: Path, scene: Scene, version: int = 3, bits: int = 12) -> Path:
    """Write SPZ of version 1 to 4."""
    streams, degree = spz_streams(scene, version, bits), round(scene.sh.shape[1] ** 0.5) - 1
    if version < 4:
        head = struct.pack("<4sIIBBBB", b"NGSP", version, len(scene.means), degree, bits, 0, 0)
        path.write_bytes(gzip.compress(head + b"".join(streams), mtime=0))
        return path
    import zstandard

    packed = [zstandard.compress(stream) for stream in streams]
    head = struct.pack("<4sIIBBBBI12x", b"NGSP", 4, len(scene.means), degree, bits, 0, 6, 32)
    sizes = [struct.pack("<QQ", len(p), len(s)) for p, s in zip(packed, streams, strict=True)]
    path.write_bytes(head + b"".join(sizes) + b"".join(packed))
    return path


def _texture(values: np.ndarray) -> bytes:
    """Return an image of one pixel a row of values, RGBA."""
    count = len(values)
    width = int(np.ceil(np.sqrt(count)))
    pixels = np.zeros((width * int(np.ceil(count / width)), 4), np.uint8)
    pixels[:, 3] = 255
    pixels[:count, : values.shape[1]] = values
    buffer = io.BytesIO()
    Image.fromarray(pixels.reshape(-1, width, 4)).save(buffer, "WEBP", lossless=True, exact=True)
    return buffer.getvalue()


def sog_files(scene: Scene, version: int = 2) -> dict[str, bytes]:
    """Return the files of a SOG scene by name."""
    count = len(scene.means)
    logs = np.sign(scene.means) * np.log1p(np.abs(scene.means))
    low, high = logs.min(0).astype(float), logs.max(0).astype(float)
    codes = np.rint(65535 * (logs - low) / (high - low)).astype(np.uint32)
    files = {"means_l.webp": _texture(codes & 255), "means_u.webp": _texture(codes >> 8)}
    packed = np.zeros((count, 4))
    for row, quat in zip(packed, scene.quats, strict=True):
        largest = int(np.abs(quat).argmax())
        rest = np.delete(quat if quat[largest] >= 0 else -quat, largest)
        row[:3], row[3] = np.rint(127.5 * (rest * 2**0.5 + 1)), 252 + largest
    files["quats.webp"] = _texture(packed)
    meta: dict[str, Any] = {
        "means": {"mins": low.tolist(), "maxs": high.tolist(), "files": ["means_l.webp", "means_u.webp"]},
        "quats": {"files": ["quats.webp"]},
    }
    palette = scene.sh[:, 1:]
    terms, rows = palette.shape[1], int(np.ceil(count / 64))
    labels = np.arange(count)
    image = np.full((rows, 64, max(terms, 1), 4), 255, np.uint8)
    parts = {"scales": np.log(scene.scales), "sh0": scene.sh[:, 0], "shN": palette.reshape(count, -1)}
    if version == 1:
        parts["sh0"] = np.concatenate(
            [scene.sh[:, 0], np.log(scene.opacities / (1 - scene.opacities))[:, None]], axis=1
        )
        meta["means"]["shape"] = [count, 3]
    else:
        meta |= {"version": 2, "count": count}
    found = {}
    for name, values in parts.items():
        if not values.size:
            continue
        if version == 2 or name == "shN":
            least, most = float(values.min()), float(values.max())
        else:
            least, most = values.min(0), values.max(0)
        found[name] = np.rint(255 * (values - least) / (most - least))
        listed = {"codebook": np.linspace(least, most, 256).tolist()}
        if version == 1:
            listed = {"mins": np.asarray(least).tolist(), "maxs": np.asarray(most).tolist()}
        meta[name] = {**listed, "files": [f"{name}.webp"]}
    if version == 2:
        found["sh0"] = np.concatenate([found["sh0"], np.rint(255 * scene.opacities)[:, None]], axis=1)
    files |= {"scales.webp": _texture(found["scales"]), "sh0.webp": _texture(found["sh0"])}
    if terms:
        image[:, :, :, :3].reshape(-1, terms, 3)[:count] = found["shN"].reshape(count, terms, 3)
        buffer = io.BytesIO()
        Image.fromarray(image.reshape(rows, -1, 4)).save(buffer, "WEBP", lossless=True, exact=True)
        files["shN_centroids.webp"] = buffer.getvalue()
        files["shN_labels.webp"] = _texture(np.stack([labels & 255, labels >> 8], axis=1))
        meta["shN"] |= {"files": ["shN_centroids.webp", "shN_labels.webp"], "count": count}
        meta["shN"] |= {"bands": round((terms + 1) ** 0.5) - 1}
    return {**files, "meta.json": json.dumps(meta).encode()}


def write_sog(path: Path, scene: Scene, version: int = 2) -> Path:
    """Write a SOG zip file, or a folder where the name has no ending."""
    files = sog_files(scene, version)
    if not path.suffix:
        path.mkdir()
        for name, data in files.items():
            (path / name).write_bytes(data)
        return path
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def write_splat(path: Path, scene: Scene) -> Path:
    """Write a .splat file."""
    rows = b""
    for i in range(len(scene.means)):
        rows += scene.means[i].tobytes() + scene.scales[i].tobytes()
        rows += _byte(255 * np.append(0.5 + SH_C0 * scene.sh[i, 0], scene.opacities[i]))
        rows += _byte(128 * scene.quats[i] + 128)
    path.write_bytes(rows)
    return path


def write_glb(path: Path, scene: Scene, node: dict[str, Any] | None = None) -> Path:
    """Write a binary glTF with KHR_gaussian_splatting; opacities as bytes that are normalized."""
    prefix, degree = "KHR_gaussian_splatting", round(scene.sh.shape[1] ** 0.5) - 1
    arrays = {
        "POSITION": scene.means,
        f"{prefix}:ROTATION": scene.quats[:, [1, 2, 3, 0]],
        f"{prefix}:SCALE": scene.scales,
        f"{prefix}:OPACITY": np.rint(255 * scene.opacities).astype(np.uint8)[:, None],
    }
    terms = [(band, i) for band in range(degree + 1) for i in range(2 * band + 1)]
    for k, (band, i) in enumerate(terms):
        arrays[f"{prefix}:SH_DEGREE_{band}_COEF_{i}"] = scene.sh[:, k]
    body, views, accessors, attributes = b"", [], [], {}
    for name, values in arrays.items():
        data = np.ascontiguousarray(values).tobytes()
        attributes[name] = len(accessors)
        kind = 5121 if values.dtype == np.uint8 else 5126
        width = values.shape[1]
        accessor = {"bufferView": len(views), "componentType": kind, "count": len(values)}
        accessor["type"] = "SCALAR" if width == 1 else f"VEC{width}"
        accessors.append({**accessor, **({"normalized": True} if kind == 5121 else {})})
        views.append({"buffer": 0, "byteOffset": len(body), "byteLength": len(data)})
        body += data + b"\0" * (-len(data) % 4)
    settings = {"kernel": "ellipse", "colorSpace": "srgb_rec709_display"}
    document = {
        "asset": {"version": "2.0"},
        "extensionsUsed": [prefix],
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, **(node or {})}],
        "meshes": [{"primitives": [{"mode": 0, "attributes": attributes, "extensions": {prefix: settings}}]}],
        "buffers": [{"byteLength": len(body)}],
        "bufferViews": views,
        "accessors": accessors,
    }
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(body), b"BIN\0") + body
    path.write_bytes(struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks)
    return path


def write_compressed_ply(path: Path, scene: Scene) -> Path:
    """Write SuperSplat's compressed PLY."""
    count, chunks = len(scene.means), []
    packed = np.zeros((count, 4), "<u4")
    colours = 0.5 + SH_C0 * scene.sh[:, 0]
    for first in range(0, count, 256):
        rows = slice(first, first + 256)
        bounds = []
        for column, values in ((0, scene.means[rows]), (2, np.log(scene.scales[rows])), (3, colours[rows])):
            low, high = values.min(0), values.max(0)
            bounds += [low, high]
            part = (values - low) / np.maximum(high - low, 1e-9)
            if column == 3:
                channels = np.concatenate([part, scene.opacities[rows, None]], axis=1)
                codes = np.rint(255 * channels).astype(np.uint32)
                packed[rows, 3] = codes[:, 0] << 24 | codes[:, 1] << 16 | codes[:, 2] << 8 | codes[:, 3]
            else:
                codes = np.rint(part * [2047, 1023, 2047]).astype(np.uint32)
                packed[rows, column] = codes[:, 0] << 21 | codes[:, 1] << 11 | codes[:, 2]
        chunks.append(np.concatenate(bounds))
    for i, quat in enumerate(scene.quats.astype(np.float64)):
        largest = int(np.abs(quat).argmax())
        rest = np.delete(quat if quat[largest] >= 0 else -quat, largest)
        codes = np.rint(1023 * (rest / 2**0.5 + 0.5)).astype(int)
        packed[i, 1] = largest << 30 | int(codes[0]) << 20 | int(codes[1]) << 10 | int(codes[2])
    rest = scene.sh[:, 1:].transpose(0, 2, 1).reshape(count, -1)
    parts = [("", "xyz"), ("scale_", "xyz"), ("", "rgb")]
    names = [f"{side}_{kind}{axis}" for kind, axes in parts for side in ("min", "max") for axis in axes]
    words = ("packed_position", "packed_rotation", "packed_scale", "packed_color")
    head = f"ply\nformat binary_little_endian 1.0\nelement chunk {len(chunks)}\n"
    head += "".join(f"property float {name}\n" for name in names) + f"element vertex {count}\n"
    head += "".join(f"property uint {name}\n" for name in words) + f"element sh {count}\n"
    head += "".join(f"property uchar f_rest_{i}\n" for i in range(rest.shape[1])) + "end_header\n"
    body = np.asarray(chunks, "<f4").tobytes() + packed.tobytes() + _byte((rest / 8 + 0.5) * 256 - 0.5)
    path.write_bytes(head.encode() + body)
    return path
