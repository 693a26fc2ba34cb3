"""Small whole files of Gaussians in the formats of others, which `scripts/fuzz.py` damages."""

from __future__ import annotations

import gzip
import random
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import fuzz_damage as damage
import fuzz_files  # puts the tests' helpers on the path  # noqa: F401
import numpy as np
from splat_files import (
    Scene,
    random_scene,
    write_compressed_ply,
    write_glb,
    write_sog,
    write_splat,
    write_spz,
)

SCENE = random_scene(6, degree=1)


def read(folder: Path, name: str) -> None:
    from dyn3d_ns.io.splat_files.opening import read_splats

    read_splats(folder / name, fps=10)


def _write_ply(path: Path, scene: Scene) -> None:
    from dyn3d_ns.io.ply import write_splats

    write_splats(path, scene.means, scene.quats, scene.scales, scene.opacities, scene.sh)


def _write_usd(path: Path, scene: Scene) -> None:
    from pxr import Usd, Vt

    stage = Usd.Stage.CreateNew(str(path))
    prim = stage.DefinePrim("/splats", "ParticleField3DGaussianSplat")
    for code in (0, 1):
        places = Vt.Vec3fArray.FromNumpy(scene.means + np.float32(code))
        prim.GetAttribute("positions").Set(places, code)
    prim.GetAttribute("scales").Set(Vt.Vec3fArray.FromNumpy(scene.scales))
    stage.Save()


def _write_4dgs(path: Path, scene: Scene) -> None:
    import fourdgs

    count = len(scene.means)
    gaussians = fourdgs.GaussianSet(
        positions=scene.means,
        scales=scene.scales,
        rotations=scene.quats[:, [1, 2, 3, 0]],
        colors=np.full((count, 4), 0.5, np.float32),
        motions=scene.means,
        mu_t=np.zeros(count, np.float32),
        sigma_t=np.full(count, np.inf, np.float32),
        win_lo=np.zeros(count),
        win_hi=np.full(count, 0.5),
    )
    fourdgs.write(str(path), gaussians, 0.3)


def _inside(data: bytes, rng: random.Random) -> bytes:
    """Damage what a gzip stream packs, with the checksum that fits."""
    return gzip.compress(damage.BYTES[rng.choice(sorted(damage.BYTES))](gzip.decompress(data), rng), mtime=0)


def _described(data: bytes, rng: random.Random) -> bytes:
    """Damage the JSON of a GLB file, with the lengths that fit."""
    length = struct.unpack_from("<I", data, 12)[0]
    text = damage.JSON[rng.choice(sorted(damage.JSON))](data[20 : 20 + length], rng)
    chunks = struct.pack("<I4s", len(text), b"JSON") + text + data[20 + length :]
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


Write = Callable[[Path, Scene], Any]
GZIP = {**damage.BYTES, "inside": _inside, "inside-again": _inside}
GLB = {**damage.BYTES, "json": _described, "json-again": _described}
FILES: dict[str, tuple[str, Write, dict[str, damage.Damage]]] = {
    "splats ply": ("s.ply", _write_ply, damage.BYTES),
    "splats compressed ply": ("c.ply", write_compressed_ply, damage.BYTES),
    "splats splat": ("s.splat", write_splat, damage.BYTES),
    "splats glb": ("s.glb", write_glb, GLB),
    "splats sog": ("s.sog", write_sog, damage.NPZ),
    "splats sog meta": ("sog/meta.json", lambda path, scene: write_sog(path.parent, scene), damage.JSON),
    "splats sog v1 meta": (
        "sog/meta.json",
        lambda path, scene: write_sog(path.parent, scene, 1),
        damage.JSON,
    ),
    "splats sog image": ("sog/quats.webp", lambda path, scene: write_sog(path.parent, scene), damage.BYTES),
    "splats spz v1": ("s.spz", partial(write_spz, version=1), GZIP),
    "splats spz v3": ("s.spz", write_spz, GZIP),
    "splats spz v4": ("s.spz", partial(write_spz, version=4), damage.BYTES),
    "splats 4dgs": ("s.4dgs", _write_4dgs, damage.BYTES),
    "splats usda": ("s.usda", _write_usd, damage.BYTES),
    "splats usdc": ("s.usdc", _write_usd, damage.BYTES),
}
"""What is damaged, by the reader's name: the file, what writes it and those beside it, kinds of damage."""


def make(folder: Path, name: str) -> None:
    file, write, _ = FILES[name]
    write(folder / file, SCENE)


def read_file(folder: Path, name: str) -> None:
    file = FILES[name][0]
    read(folder, "sog" if file.startswith("sog/") else file)
