"""What of others' files is put right, left out, and told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from splat_files import Scene, random_scene, sog_files, write_compressed_ply, write_sog, write_spz

from dyn3d_ns.io.errors import CommandError, DamagedFileError, DatasetError, MissingFileError
from dyn3d_ns.io.ply import read_vertices, write_columns, write_splats
from dyn3d_ns.io.splat_files.opening import read_splats
from dyn3d_ns.io.splat_files.ply import read_ply


def ply(path: Path, scene: Scene) -> Path:
    write_splats(path, scene.means, scene.quats, scene.scales, scene.opacities, scene.sh)
    return path


def change(path: Path, **columns: np.ndarray) -> Path:
    """Replace columns of a PLY, or add some."""
    vertices = read_vertices(path)
    write_columns(path, {name: vertices[name] for name in vertices.dtype.names or ()} | columns)
    return path


def test_infinite_logits_become_0_and_1(tmp_path: Path) -> None:
    """A byte of 255 becomes +inf in PLYs of splat-transform 3.7.0 and open3d 0.20.0."""
    path = ply(tmp_path / "a.ply", random_scene(4))
    logits = np.array([np.inf, -np.inf, 0, 1], np.float32)
    file = read_splats(change(path, opacity=logits))
    np.testing.assert_allclose(file.sequence.at(0).opacities, [1, 0, 0.5, 0.731059], atol=1e-5)
    assert "2 opacities have an infinite logit" in file.notes[0]


def test_quaternions_of_any_length_are_normalised_and_none_is_told(tmp_path: Path) -> None:
    scene = random_scene(5)
    path = ply(tmp_path / "a.ply", scene)
    lengths = np.array([0.05, 8, 1, 1e-3, 0], np.float32)
    file = read_splats(change(path, **{f"rot_{i}": scene.quats[:, i] * lengths for i in range(4)}))
    found = file.sequence.at(0).quats
    np.testing.assert_allclose(found[:4], scene.quats[:4], atol=1e-6)
    np.testing.assert_array_equal(found[4], [1, 0, 0, 0])
    assert file.notes == ("1 rotations of length zero: taken as none",)


def test_what_is_not_finite_is_left_out_at_all_times(tmp_path: Path) -> None:
    scene, folder = random_scene(6), tmp_path / "frames"
    folder.mkdir()
    for i in range(3):
        path = ply(folder / f"f{i}.ply", scene)
        column = scene.means[:, 0].copy()
        column[i] = np.nan
        change(path, x=column)
    file = read_splats(folder)
    assert "left out: 3 Gaussians" in file.notes[0] and file.same_rows
    for i in range(3):
        np.testing.assert_array_equal(file.sequence.at(i).means, scene.means[3:])


def test_big_endian_is_read_and_told(tmp_path: Path) -> None:
    """splat-transform 3.7.0 takes such files for little-endian ones and says nothing."""
    scene = random_scene(5)
    path = ply(tmp_path / "a.ply", scene)
    vertices = read_vertices(path)
    head = path.read_bytes().partition(b"end_header\n")[0].replace(b"little", b"big")
    swapped = vertices.astype(vertices.dtype.newbyteorder(">"))
    path.write_bytes(head + b"end_header\n" + swapped.tobytes())
    file = read_splats(path)
    np.testing.assert_array_equal(file.sequence.at(0).means, scene.means)
    assert file.sequence.at(0).sh.dtype == np.dtype("=f4") and "big-endian" in file.notes[0]


def test_degree_4_loses_its_last_degree_and_keeps_the_channels_apart(tmp_path: Path) -> None:
    """gaussforge 0.6.0 takes the first 45 of 72 columns, which mixes the channels."""
    scene = random_scene(5, degree=4)
    file = read_splats(ply(tmp_path / "a.ply", scene))
    np.testing.assert_array_equal(file.sequence.at(0).sh, scene.sh[:, :16])
    assert file.notes == ("colours of degree 4: those beyond 3 are left out",)
    assert read_splats(write_spz(tmp_path / "a.spz", scene)).sequence.at(0).degree == 3


def test_far_places_stay_double(tmp_path: Path) -> None:
    scene = random_scene(5)
    far = replace(scene, means=scene.means.astype(np.float64) + [448000.0, 5411000.0, 120.0])
    found = read_splats(ply(tmp_path / "a.ply", far)).sequence.at(0).means
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, far.means)


def test_frames_come_in_natural_order_at_the_rate_asked_for(tmp_path: Path) -> None:
    scene = random_scene(3)
    for i in (10, 2, 1):
        ply(tmp_path / f"frame_{i}.ply", scene.shifted(i))
    file = read_splats(tmp_path, fps=10)
    assert file.sequence.seconds == (0.0, 0.1, 0.2) and file.sequence.about.fps == 10
    shifts = [float((file.sequence.at(i).means - scene.means)[0, 0]) for i in range(3)]
    np.testing.assert_allclose(shifts, [1, 2, 10], rtol=1e-5)
    assert file.same_rows and file.notes == () and file.sequence.moving.all()
    assert read_splats(tmp_path).sequence.seconds[1] == 1 / 30


def test_different_numbers_are_made_equal_by_what_is_not_seen(tmp_path: Path) -> None:
    small, large = random_scene(4), random_scene(7, degree=1, seed=1)
    ply(tmp_path / "0.ply", small)
    ply(tmp_path / "1.ply", large)
    file = read_splats(tmp_path)
    first, second = (file.sequence.at(i) for i in range(2))
    assert len(first) == len(second) == 7 and not file.same_rows
    np.testing.assert_array_equal(first.means[:4], small.means)
    np.testing.assert_array_equal(first.opacities[4:], 0)
    np.testing.assert_array_equal(second.sh[:, 4:], 0)
    assert "between 4 and 7 Gaussians" in file.notes[0] and "degrees of colour differ" in file.notes[1]


def test_sorted_formats_lose_who_is_who(tmp_path: Path) -> None:
    for i in range(2):
        write_compressed_ply(tmp_path / f"{i}.ply", random_scene(4, seed=i))
    file = read_splats(tmp_path)
    assert not file.same_rows and "sorts Gaussians by place" in file.notes[0]


def test_a_point_cloud_is_no_scene(tmp_path: Path) -> None:
    write_columns(tmp_path / "a.ply", {axis: np.zeros(3, np.float32) for axis in "xyz"})
    with pytest.raises(DamagedFileError, match="no Gaussians but a point cloud: its vertices lack f_dc_0"):
        read_ply(tmp_path / "a.ply")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nothing.ply", "does not exist"),
        ("a.txt", "is none of .ply, .spz"),
        ("empty", "holds no file of .ply"),
    ],
)
def test_what_is_no_file_of_gaussians(name: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").touch()
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match=message):
        read_splats(tmp_path / name)


def test_two_formats_in_a_folder_are_refused(tmp_path: Path) -> None:
    ply(tmp_path / "0.ply", random_scene(2))
    write_spz(tmp_path / "0.spz", random_scene(2))
    with pytest.raises(DamagedFileError, match=r"holds files of \.ply and \.spz"):
        read_splats(tmp_path)
    with pytest.raises(CommandError, match="--fps must be a number above 0"):
        read_splats(tmp_path / "0.ply", fps=0)


def test_a_sog_names_files_beside_its_meta_only(tmp_path: Path) -> None:
    files = sog_files(random_scene(5))
    (tmp_path / "secret.webp").write_bytes(files["quats.webp"])
    folder = write_sog(tmp_path / "folder", random_scene(5))
    meta = folder / "meta.json"
    meta.write_bytes(meta.read_bytes().replace(b'"quats.webp"', b'"../secret.webp"'))
    with pytest.raises(DatasetError, match="'../secret.webp', which is no file beside its meta.json"):
        read_splats(folder)
    (folder / "quats.webp").unlink()
    meta.write_bytes(files["meta.json"])
    with pytest.raises(MissingFileError, match="quats.webp does not exist"):
        read_splats(folder)


def test_images_larger_than_their_gaussians_are_refused(tmp_path: Path) -> None:
    import io

    from PIL import Image

    folder = write_sog(tmp_path / "folder", random_scene(5))
    buffer = io.BytesIO()
    Image.new("RGBA", (2048, 1024)).save(buffer, "PNG")
    (folder / "quats.webp").write_bytes(buffer.getvalue())
    with pytest.raises(DamagedFileError, match="2048x1024 pixels for 5 values"):
        read_splats(folder)


def test_a_count_that_a_file_cannot_hold_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    import gzip
    import struct

    head = struct.pack("<4sIIBBBB", b"NGSP", 3, 40_000_000, 3, 12, 0, 0)
    (tmp_path / "a.spz").write_bytes(gzip.compress(head + bytes(1000)))
    with pytest.raises(DamagedFileError, match="cannot hold the 40000000 Gaussians"):
        read_splats(tmp_path / "a.spz")
