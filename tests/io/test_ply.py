"""PLY files: splats that an independent reader understands, point clouds of several flavours, damage."""

import numpy as np
import pytest

from dyn3d_ns.io.errors import DamagedFileError, MissingFileError
from dyn3d_ns.io.ply import SH_C0, read_points, read_vertices, write_points, write_splats


def splats(n=50, k=9):
    rng = np.random.default_rng(0)
    return {
        "means": rng.normal(size=(n, 3)).astype(np.float32),
        "quats": rng.normal(size=(n, 4)).astype(np.float32),
        "scales": rng.uniform(0.01, 0.5, (n, 3)).astype(np.float32),
        "opacities": rng.uniform(0.05, 0.95, n).astype(np.float32),
        "sh": rng.normal(size=(n, k, 3)).astype(np.float32),
    }


@pytest.mark.parametrize("k", [1, 4, 9, 16])
def test_splats_follow_the_3dgs_layout(tmp_path, k):
    """Read by hand: float32 little endian, logit opacities, log scales, coefficients by channel."""
    values = splats(k=k)
    write_splats(tmp_path / "a.ply", **values)
    header, body = (tmp_path / "a.ply").read_bytes().split(b"end_header\n", 1)
    names = [line.split()[2].decode() for line in header.splitlines() if line.startswith(b"property float ")]
    assert names[:9] == ["x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2"]
    assert len(names) == 9 + 3 * (k - 1) + 8
    table = dict(zip(names, np.frombuffer(body, "<f4").reshape(50, -1).T, strict=True))
    np.testing.assert_array_equal(table["y"], values["means"][:, 1])
    np.testing.assert_allclose(1 / (1 + np.exp(-table["opacity"])), values["opacities"], rtol=1e-5)
    np.testing.assert_allclose(np.exp(table["scale_2"]), values["scales"][:, 2], rtol=1e-5)
    quats = np.stack([table[f"rot_{i}"] for i in range(4)], axis=1)
    np.testing.assert_allclose(np.linalg.norm(quats, axis=1), 1, rtol=1e-5)
    assert (quats * values["quats"] >= 0).all()
    np.testing.assert_array_equal(table["f_dc_1"], values["sh"][:, 0, 1])
    if k > 1:
        # Green's second coefficient above the base follows all of red's.
        np.testing.assert_array_equal(table[f"f_rest_{(k - 1) + 1}"], values["sh"][:, 2, 1])


def test_another_reader_opens_splats(tmp_path):
    plyfile = pytest.importorskip("plyfile", reason="plyfile is not installed: pip install plyfile")
    write_splats(tmp_path / "a.ply", **splats())
    vertex = plyfile.PlyData.read(str(tmp_path / "a.ply"))["vertex"]
    np.testing.assert_array_equal(vertex["x"], splats()["means"][:, 0])


def test_opaque_and_empty_splats_stay_finite(tmp_path):
    values = splats(4)
    values["opacities"][:] = [0, 1, 0.5, 1]
    values["scales"][0] = 0
    write_splats(tmp_path / "a.ply", **values)
    table = read_vertices(tmp_path / "a.ply")
    assert all(np.isfinite(table[name]).all() for name in table.dtype.names)


def test_wrong_shapes_are_refused(tmp_path):
    with pytest.raises(ValueError, match="square number"):
        write_splats(tmp_path / "a.ply", **splats(k=5))
    with pytest.raises(ValueError, match="50 Gaussians"):
        write_splats(tmp_path / "a.ply", **{**splats(), "quats": np.ones((3, 4), np.float32)})
    assert not list(tmp_path.iterdir())


def test_point_cloud_round_trip(tmp_path):
    rng = np.random.default_rng(1)
    xyz, rgb = rng.normal(size=(9, 3)).astype(np.float32), rng.integers(0, 256, (9, 3), dtype=np.uint8)
    write_points(tmp_path / "p.ply", xyz, rgb)
    cloud = read_points(tmp_path / "p.ply")
    np.testing.assert_array_equal(cloud.xyz, xyz)
    np.testing.assert_array_equal(cloud.rgb, rgb)


HEADER = (
    "ply\nformat {0} 1.0\ncomment x\nelement vertex 2\n"
    "property double x\nproperty float y\nproperty float z\n"
)
COLORS = "property uchar red\nproperty uchar green\nproperty uchar blue\n"
FACES = "element face 1\nproperty list uchar int vertex_indices\nend_header\n"


def test_ascii_with_faces(tmp_path):
    body = "1 2 3 4 5 6\n-1 0.5 1e3 255 0 7\n3 0 1 0\n"
    (tmp_path / "p.ply").write_text(HEADER.format("ascii") + COLORS + FACES + body)
    cloud = read_points(tmp_path / "p.ply")
    np.testing.assert_allclose(cloud.xyz, [[1, 2, 3], [-1, 0.5, 1000]])
    assert cloud.rgb.tolist() == [[4, 5, 6], [255, 0, 7]]


def test_big_endian_without_colors(tmp_path):
    rows = np.array([(1.0, 2.0, 3.0), (4.0, 5.0, 6.0)], dtype=[("x", ">f8"), ("y", ">f4"), ("z", ">f4")])
    header = HEADER.format("binary_big_endian") + "end_header\n"
    (tmp_path / "p.ply").write_bytes(header.encode() + rows.tobytes())
    cloud = read_points(tmp_path / "p.ply")
    np.testing.assert_array_equal(cloud.xyz, [[1, 2, 3], [4, 5, 6]])
    assert (cloud.rgb == 128).all()


def test_splats_read_as_points_have_their_base_colour(tmp_path):
    values = splats(3, 1)
    values["sh"][:, 0] = (np.array([0.2, 0.4, 0.8]) - 0.5) / SH_C0
    write_splats(tmp_path / "a.ply", **values)
    assert read_points(tmp_path / "a.ply").rgb.tolist() == [[51, 102, 204]] * 3


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"not a ply", "not a PLY"),
        (b"ply\nformat ascii 1.0\n", "no end"),
        (b"ply\nformat ascii 1.0\nelement face 1\nend_header\n", "must be `vertex`"),
        (b"ply\nformat odd 1.0\nelement vertex 1\nproperty float x\nend_header\n", "known format"),
        (
            b"ply\nformat ascii 1.0\nelement vertex 1\nproperty list uchar int x\nend_header\n",
            "not supported",
        ),
        (b"ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nend_header\n1\n", "no x, y, z"),
        ((HEADER.format("ascii") + "end_header\n1 2\n").encode(), "damaged|announces"),
        ((HEADER.format("ascii") + "end_header\n1 2 nan\n1 2 3\n").encode(), "1 points that are NaN"),
        (
            (HEADER.format("binary_little_endian") + "end_header\n").encode() + b"1234",
            "cut off: 4 bytes of the 32",
        ),
        (
            (HEADER.format("ascii").replace("vertex 2", "vertex 0") + "end_header\n").encode(),
            "no point|announces",
        ),
    ],
)
def test_damaged_files(tmp_path, content, message):
    (tmp_path / "p.ply").write_bytes(content)
    with pytest.raises(DamagedFileError, match=message):
        read_points(tmp_path / "p.ply")


def test_missing_file(tmp_path):
    with pytest.raises(MissingFileError):
        read_points(tmp_path / "none.ply")


def test_further_columns_stand_behind_the_others(tmp_path):
    extra = {"conf_static": np.linspace(0, 1, 50, dtype=np.float32)}
    write_splats(tmp_path / "a.ply", **splats(), extra=extra)
    table = read_vertices(tmp_path / "a.ply")
    assert table.dtype.names[-2:] == ("rot_3", "conf_static")
    np.testing.assert_array_equal(table["conf_static"], extra["conf_static"])
    with pytest.raises(ValueError, match="50 Gaussians"):
        write_splats(tmp_path / "b.ply", **splats(), extra={"a": np.ones(3, np.float32)})
