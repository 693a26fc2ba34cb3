"""Every format read back: values within its steps, whoever wrote it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from splat_files import (
    Scene,
    angles,
    random_scene,
    write_compressed_ply,
    write_glb,
    write_sog,
    write_splat,
    write_spz,
)

from dyn3d_ns.io.ply import write_splats
from dyn3d_ns.io.splat_files.opening import read_splats
from dyn3d_ns.io.splats import Splats


def ply(path: Path, scene: Scene) -> None:
    write_splats(path, scene.means, 3 * scene.quats, scene.scales, scene.opacities, scene.sh)


def check(
    found: Splats, scene: Scene, place: float, turn: float, size: float, alpha: float, sh: float
) -> None:
    np.testing.assert_allclose(found.means, scene.means, rtol=0, atol=place)
    assert angles(found.quats, scene.quats).max() < turn
    np.testing.assert_allclose(np.linalg.norm(found.quats, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(np.log(found.scales), np.log(scene.scales), rtol=0, atol=size)
    np.testing.assert_allclose(found.opacities, scene.opacities, rtol=0, atol=alpha)
    np.testing.assert_allclose(found.sh, scene.sh, rtol=0, atol=sh)


SPZ = (2e-4, 0.4, 0.032, 0.002, 0.015)
"""Errors that SPZ makes: half of its steps."""
FORMATS: dict[str, tuple[Callable[[Path, Scene], object], tuple[float, ...], int]] = {
    "a.ply": (ply, (0, 0.06, 1e-6, 1e-6, 0), 3),
    "a.compressed.ply": (write_compressed_ply, (4e-3, 0.2, 2e-3, 0.002, 0.017), 3),
    "a.splat": (write_splat, (0, 1.0, 1e-6, 0.002, 0.008), 0),
    "a.glb": (write_glb, (0, 0.06, 1e-6, 0.002, 0), 3),
    "a.sog": (write_sog, (2e-4, 1.0, 0.007, 0.002, 0.005), 3),
    "v1.sog": (lambda path, scene: write_sog(path, scene, 1), (2e-4, 1.0, 0.007, 0.006, 0.005), 2),
    "folder": (write_sog, (2e-4, 1.0, 0.007, 0.002, 0.005), 1),
    "v1.spz": (lambda path, scene: write_spz(path, scene, 1), (2e-3, 12.0, *SPZ[2:]), 3),
    "v2.spz": (lambda path, scene: write_spz(path, scene, 2), (SPZ[0], 12.0, *SPZ[2:]), 1),
    "v3.spz": (write_spz, SPZ, 3),
    "v3 of degree 0.spz": (write_spz, SPZ, 0),
}


@pytest.mark.parametrize("name", FORMATS)
def test_values_come_back(name: str, tmp_path: Path) -> None:
    write, errors, degree = FORMATS[name]
    scene = random_scene(300, degree)
    write(tmp_path / name, scene)
    file = read_splats(tmp_path / name)
    assert file.sequence.seconds == (0.0,) and file.notes == ()
    assert file.sequence.at(0).degree == degree
    assert file.sequence.about.up == ("y" if name.endswith(".glb") else "data")
    check(file.sequence.at(0), scene, *errors)


def test_spz_of_version_4_is_read_with_its_extension_records(tmp_path: Path) -> None:
    pytest.importorskip("zstandard", reason="the extra spz: pip install -e '.[spz]'")
    scene = random_scene(50)
    path = write_spz(tmp_path / "a.spz", scene, 4)
    check(read_splats(path).sequence.at(0), scene, *SPZ)
    data = path.read_bytes()
    moved = data[:16] + (44).to_bytes(4, "little") + data[20:32] + b"\1\0\0\0\4\0\0\0abcd" + data[32:]
    path.write_bytes(moved)
    check(read_splats(path).sequence.at(0), scene, *SPZ)


def test_spz_takes_its_fractional_bits(tmp_path: Path) -> None:
    """Scenes beyond 2048 units need fewer than 12 (gsply 0.4.6 and others write 12 whatever the size)."""
    scene = random_scene(50).shifted(3000)
    found = read_splats(write_spz(tmp_path / "a.spz", scene, bits=10)).sequence.at(0)
    np.testing.assert_allclose(found.means, scene.means, rtol=0, atol=6e-4)


def test_a_node_of_a_glb_turns_places_rotations_and_colours(tmp_path: Path) -> None:
    """Half a turn about x changes the signs of fifteen coefficients in a known way."""
    scene = random_scene(40)
    node = {"rotation": [1, 0, 0, 0], "scale": [2, 2, 2], "translation": [1, 0, 0]}
    found = read_splats(write_glb(tmp_path / "a.glb", scene, node)).sequence.at(0)
    np.testing.assert_allclose(found.means, 2 * scene.means * [1, -1, -1] + [1, 0, 0], atol=1e-5)
    np.testing.assert_allclose(found.scales, 2 * scene.scales, rtol=1e-5)
    w, x, y, z = scene.quats.T
    assert angles(found.quats, np.stack([-x, w, -z, y], axis=1)).max() < 0.1
    signs = [1, *(-1, -1, 1), *(-1, 1, 1, -1, 1), *(-1, 1, -1, -1, 1, -1, 1)]
    np.testing.assert_allclose(found.sh, scene.sh * np.reshape(signs, (16, 1)), atol=1e-5)
