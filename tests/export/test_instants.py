"""Formats of one instant: what stands in the files, and which files there are."""

import gzip
import json
import shutil
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from splat_scenes import angles, swarm

from dyn3d_ns.export.glb import EXTENSION, encode_glb, linear
from dyn3d_ns.export.instants import require_free, write_instants
from dyn3d_ns.export.ply import encode_ply
from dyn3d_ns.export.spz import encode_spz, fractional_bits
from dyn3d_ns.io.errors import CommandError
from dyn3d_ns.io.ply import read_vertices
from dyn3d_ns.io.splats import About, Splats, StoredSequence

ENCODERS: dict[str, Callable[[Splats, About], bytes]] = {
    ".ply": encode_ply,
    ".spz": encode_spz,
    ".glb": encode_glb,
}


def names(count: int) -> list[str]:
    return [f"frame_{i:05d}" for i in range(count)]


# -- what stands in the files -------------------------------------------------------------------------


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_spz_holds_what_version_3_says(degree: int) -> None:
    """The layout of niantic/spz 3: 16 bytes, then places, opacities, colours, sizes, orientations, harmonics;
    readers find their blocks by these lengths."""
    truth = swarm(degree=degree).at(5)
    truth.quats[0] = 0.5, -0.5, 0.5, -0.5  # four of the same size
    n, k = len(truth), (degree + 1) ** 2 - 1
    data = gzip.decompress(encode_spz(truth, About()))
    magic, version, count, stated, bits, flags, _ = struct.unpack("<4sIIBBBB", data[:16])
    assert (magic, version, count, stated, flags) == (b"NGSP", 3, n, degree, 0)
    lengths = np.cumsum([16, 9 * n, n, 3 * n, 3 * n, 4 * n, 3 * k * n])
    assert len(data) == lengths[-1]
    blocks = [
        np.frombuffer(data[a:b], np.uint8).astype(np.int64)
        for a, b in zip(lengths[:-1], lengths[1:], strict=True)
    ]
    parts = blocks[0].reshape(n, 3, 3)
    fixed = parts[..., 0] + (parts[..., 1] << 8) + (parts[..., 2] << 16)
    fixed = np.where(fixed >= 1 << 23, fixed - (1 << 24), fixed)
    assert np.abs(fixed / 2**bits - truth.means).max() <= 0.5 / 2**bits + 1e-6
    assert np.abs(blocks[1] / 255 - truth.opacities).max() <= 0.5 / 255 + 1e-6
    dc = (blocks[2].reshape(n, 3) / 255 - 0.5) / 0.15
    assert np.abs(dc - truth.sh[:, 0]).max() <= 0.5 / 255 / 0.15 + 1e-5
    assert np.abs(blocks[3].reshape(n, 3) / 16 - 10 - np.log(truth.scales)).max() <= 1 / 32 + 1e-5
    rest = (blocks[5].reshape(n, k, 3) - 128) / 128
    assert np.abs(rest - np.clip(truth.sh[:, 1:], -1, 127 / 128)).max(initial=0) <= 0.5 / 128 + 1e-6
    words = blocks[4].reshape(n, 4) @ (1 << np.array([0, 8, 16, 24]))
    quats = np.zeros((n, 4))
    for row, word in enumerate(words.tolist()):
        largest = word >> 30
        for place, axis in enumerate(reversed([axis for axis in range(4) if axis != largest])):
            part = word >> 10 * place
            quats[row, axis] = (part & 511) / 511 / np.sqrt(2) * (-1 if part & 512 else 1)
        quats[row, largest] = np.sqrt(max(0.0, 1 - np.square(quats[row]).sum()))
    assert angles(quats[:, [3, 0, 1, 2]], truth.quats).max() < 0.006


@pytest.mark.parametrize(
    ("reach", "bits"), [(1.0, 12), (1023.0, 12), (3000.0, 11), (1e6, 3), (0.01, 19), (1e-5, 24)]
)
def test_spz_of_large_scenes_has_fewer_fractional_bits_and_of_small_ones_more(
    reach: float, bits: int
) -> None:
    """Readers wrap places beyond what 24 bits hold by 4096 (splat-transform 3.7.0, gaussforge 0.6.0).

    gsply 0.4.6 takes 1 to 24 of them, gaussforge 0.6.0 up to 30.
    """
    places = np.float32([[reach, 0, -reach]])
    assert fractional_bits(places) == bits
    assert reach * 2**bits < 2**23


@pytest.mark.parametrize("factor", [1e-4, 1e6])
def test_sizes_that_spz_does_not_hold_are_refused(factor: float) -> None:
    truth = swarm().at(0)
    scaled = replace(truth, scales=truth.scales * np.float32(factor))
    with pytest.raises(CommandError, match=r"SPZ holds sizes from 4.5e-05 to 379 units, and most Gaussians"):
        encode_spz(scaled, About())


def test_glb_as_fourdgs_reads_it(tmp_path: Path) -> None:
    """fourdgs 0.6.0 checks unit quaternions, linear sizes, opacities in 0..1, the kernel and the colour
    space."""
    fourdgs = pytest.importorskip("fourdgs", reason="needs the extra `4dgs`")
    truth = swarm(degree=3).at(4)
    (tmp_path / "a.glb").write_bytes(encode_glb(truth, swarm().about))
    read = fourdgs.from_gltf(tmp_path / "a.glb").gaussians
    np.testing.assert_allclose(read.positions, truth.means, atol=1e-6)
    np.testing.assert_allclose(read.scales, truth.scales, rtol=1e-6)
    assert angles(read.rotations[:, [3, 0, 1, 2]], truth.quats).max() < 1e-3
    np.testing.assert_allclose(read.colors[:, 3], truth.opacities, rtol=1e-6)
    np.testing.assert_allclose(
        read.colors[:, :3], np.clip(0.5 + 0.28209479 * truth.sh[:, 0], 0, 1), atol=1e-5
    )
    rest = read.sh.reshape(len(truth), 3, 15).transpose(0, 2, 1) / 255 * 8 - 4
    assert np.abs(rest - truth.sh[:, 1:]).max() < 0.017


def test_glb_is_a_valid_container_with_a_point_cloud_for_other_viewers() -> None:
    truth = swarm().at(0)
    truth.sh[0, 0] = (145 / 255 - 0.5) / 0.28209479177387814
    data = encode_glb(truth, swarm().about)
    magic, version, total, length, kind = struct.unpack("<4sIII4s", data[:20])
    assert (magic, version, total, kind) == (b"glTF", 2, len(data), b"JSON") and length % 4 == 0
    document = json.loads(data[20 : 20 + length])
    (primitive,) = document["meshes"][0]["primitives"]
    assert primitive["mode"] == 0 and document["extensionsUsed"] == [EXTENSION]
    said = {"kernel": "ellipse", "colorSpace": "srgb_rec709_display"}
    assert primitive["extensions"][EXTENSION] == said
    place = document["accessors"][primitive["attributes"]["POSITION"]]
    np.testing.assert_allclose(place["min"], truth.means.min(0))
    np.testing.assert_allclose(place["max"], truth.means.max(0))
    color = document["accessors"][primitive["attributes"]["COLOR_0"]]
    start = 28 + length + document["bufferViews"][color["bufferView"]]["byteOffset"]
    first = np.frombuffer(data, "<f4", 4, start)
    np.testing.assert_allclose(first[:3] * 255, 72.0, atol=1.0)  # linear, of 145 as displayed
    assert first[3] == truth.opacities[0]
    assert document["asset"]["extras"]["method"] == "dyn3d-test"


def test_linear_values_follow_the_standard() -> None:
    np.testing.assert_allclose(linear(np.float32([0, 0.04, 0.5, 1])), [0, 0.003096, 0.214041, 1], atol=1e-6)


def test_ply_states_where_it_comes_from(tmp_path: Path) -> None:
    data = encode_ply(swarm().at(0), swarm().about)
    header = data[: data.index(b"end_header")].decode()
    assert "comment method: dyn3d-test" in header and "comment metres per unit: 0.5" in header
    (tmp_path / "a.ply").write_bytes(data)
    assert len(read_vertices(tmp_path / "a.ply")) == 120


@pytest.mark.parametrize("suffix", ENCODERS)
def test_degree_4_is_refused(suffix: str) -> None:
    splats = swarm().at(0)
    wide = replace(splats, sh=np.zeros((len(splats), 25, 3), np.float32))
    with pytest.raises(CommandError, match="up to degree 3"):
        ENCODERS[suffix](wide, About())


# -- which files there are ------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ENCODERS)
def test_a_folder_holds_a_sequence_and_a_file_one_time(tmp_path: Path, suffix: str) -> None:
    sequence, encode = swarm(frames=3), ENCODERS[suffix]
    written = write_instants(sequence, tmp_path / "all", names(3), suffix, encode, "exact")
    files = sorted((tmp_path / "all").iterdir())
    assert [file.name for file in files] == [f"frame_0000{i}{suffix}" for i in range(3)]
    assert written.size == sum(file.stat().st_size for file in files)
    assert written.note == "the files follow each other at 20 a second"
    write_instants(sequence, tmp_path / f"one{suffix}", names(1), suffix, encode, "exact")
    assert (tmp_path / f"one{suffix}").read_bytes() == files[0].read_bytes()
    with pytest.raises(CommandError, match="is one file, and 3 times were asked for"):
        write_instants(sequence, tmp_path / f"two{suffix}", names(3), suffix, encode, "exact")
    assert len(list(tmp_path.iterdir())) == 2


def test_a_failure_leaves_nothing_and_keeps_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "all").mkdir()
    (tmp_path / "all" / "frame_00000.ply").write_text("of before")

    def encode(splats: Splats, about: About) -> bytes:
        if np.array_equal(splats.means, swarm().at(2).means):
            raise OSError(28, "No space left on device")
        return b"new"

    with pytest.raises(OSError, match="No space left"):
        write_instants(swarm(frames=3), tmp_path / "all", names(3), ".ply", encode, "exact")
    assert [path.name for path in tmp_path.iterdir()] == ["all"]
    assert (tmp_path / "all" / "frame_00000.ply").read_text() == "of before"


def test_a_full_disk_is_told_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(CommandError, match="has 0.0 MB left, and the export takes about 0.1 MB"):
        write_instants(swarm(frames=9), tmp_path / "all", names(9), ".ply", encode_ply, "exact")
    assert not list(tmp_path.iterdir())


def test_files_of_another_sequence_are_not_mixed_with(tmp_path: Path) -> None:
    (tmp_path / "frame_00007.ply").touch()
    (tmp_path / "notes_1.ply").touch()
    require_free(tmp_path, names(8), ".ply")
    with pytest.raises(CommandError, match=r"holds 1 files of another export \(frame_00007.ply\)"):
        require_free(tmp_path, names(3), ".ply")
    require_free(tmp_path, ["time_00000"], ".ply")
    (tmp_path / "time_05000.ply").mkdir()
    with pytest.raises(CommandError, match="time_05000.ply is a folder"):
        require_free(tmp_path, ["time_00000", "time_05000"], ".ply")


def test_uneven_times_have_no_rate(tmp_path: Path) -> None:
    frames = swarm(frames=3)
    sequence = StoredSequence(frames.instants, [0.0, 0.05, 0.4], frames.about)
    written = write_instants(sequence, tmp_path / "all", names(3), ".ply", encode_ply, "exact")
    assert "not evenly spaced" in written.note
