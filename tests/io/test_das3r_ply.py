"""DAS3R's PLY: our own round trip, what a stock viewer makes of it, and damage."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dyn3d_ns.io.das3r_ply import StaticSplats, read_das3r_ply, write_das3r_ply
from dyn3d_ns.io.errors import DamagedFileError, MissingFileError
from dyn3d_ns.io.ply import read_vertices, write_splats


def splats(n: int = 30, k: int = 4) -> StaticSplats:
    rng = np.random.default_rng(0)
    quats = rng.normal(size=(n, 4)).astype(np.float32)
    static = rng.uniform(0.05, 0.95, n).astype(np.float32)
    static[:5] = 0
    return StaticSplats(
        means=rng.normal(size=(n, 3)).astype(np.float32),
        quats=quats / np.linalg.norm(quats, axis=1, keepdims=True),
        scales=rng.uniform(0.01, 0.5, (n, 3)).astype(np.float32),
        opacities=rng.uniform(0.05, 0.95, n).astype(np.float32),
        static=static,
        sh=rng.normal(size=(n, k, 3)).astype(np.float32),
    )


@pytest.mark.parametrize("k", [1, 4, 16])
def test_round_trip(tmp_path: Path, k: int) -> None:
    before = splats(k=k)
    write_das3r_ply(tmp_path / "a.ply", before)
    after = read_das3r_ply(tmp_path / "a.ply")
    for name, value in vars(before).items():
        np.testing.assert_allclose(getattr(after, name), value, rtol=1e-5, atol=1e-6, err_msg=name)


def test_columns_are_those_of_the_published_code(tmp_path: Path) -> None:
    before = splats()
    write_das3r_ply(tmp_path / "a.ply", before)
    table = read_vertices(tmp_path / "a.ply")
    names = list(table.dtype.names or ())
    assert names[:9] == ["x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2"]
    assert {"opacity_ori", "opacity", "conf_static"} < set(names)
    own = 1 / (1 + np.exp(-table["opacity_ori"].astype(np.float64)))
    np.testing.assert_allclose(own, before.opacities, rtol=1e-5)
    # What their loader shows is what ours does: the own opacity times the staticness.
    np.testing.assert_allclose(own * table["conf_static"], before.shown, rtol=1e-5)


def test_a_stock_viewer_shows_the_static_scene(tmp_path: Path) -> None:
    before = splats()
    write_das3r_ply(tmp_path / "a.ply", before)
    table = read_vertices(tmp_path / "a.ply")
    seen = 1 / (1 + np.exp(-table["opacity"].astype(np.float64)))
    np.testing.assert_allclose(seen, before.opacities * before.static, rtol=1e-4, atol=2e-6)
    assert (seen[:5] < 1e-5).all()


def test_plain_splats_rest(tmp_path: Path) -> None:
    s = splats()
    write_splats(tmp_path / "a.ply", s.means, s.quats, s.scales, s.opacities, s.sh)
    found = read_das3r_ply(tmp_path / "a.ply")
    assert (found.static == 1).all()
    np.testing.assert_allclose(found.shown, s.opacities, rtol=1e-5)


def damaged(tmp_path: Path, change) -> Path:
    """Write a file whose header or table has been changed."""
    s = splats(4, 4)
    path = tmp_path / "a.ply"
    write_das3r_ply(path, s)
    header, body = path.read_bytes().split(b"end_header\n", 1)
    table = np.frombuffer(body, "<f4").reshape(4, -1).copy()
    names = [line.split()[2].decode() for line in header.splitlines() if line.startswith(b"property")]
    header, table = change(header, table, names)
    path.write_bytes(header + b"end_header\n" + table.tobytes())
    return path


def renamed(old: str, new: str):
    return lambda header, table, names: (header.replace(f" {old}\n".encode(), f" {new}\n".encode()), table)


def set_to(name: str, value: float):
    def change(header, table, names):
        table[2, names.index(name)] = value
        return header, table

    return change


def no_rotation(header, table, names):
    table[1, names.index("rot_0") : names.index("rot_0") + 4] = 0
    return header, table


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (renamed("rot_3", "spin"), "lacks rot_3"),
        (renamed("conf_static", "conf"), "both opacity_ori and conf_static"),
        (renamed("f_rest_8", "f_rust_8"), "8 columns f_rest"),
        (renamed("f_rest_3", "f_rest_9"), "9 columns f_rest"),
        (set_to("conf_static", np.nan), "conf_static of 1 Gaussians are not finite"),
        (set_to("x", np.inf), "of 1 Gaussians are not finite"),
        (no_rotation, "1 rotations have length 0"),
        (lambda header, table, names: (header, table[:3]), "cut off"),
        (lambda header, table, names: (header.replace(b"vertex 4", b"vertex 0"), table), "holds no Gaussian"),
    ],
)
def test_damaged_files(tmp_path: Path, change, message: str) -> None:
    with pytest.raises(DamagedFileError, match=message):
        read_das3r_ply(damaged(tmp_path, change))


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError):
        read_das3r_ply(tmp_path / "none.ply")
