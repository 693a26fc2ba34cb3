"""What `scripts/fuzz.py` found: damage that ended in a traceback, each built anew and read with one error."""

from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scene_files import write_scene

from dyn3d_ns.engine.command_checks import check_camera_path
from dyn3d_ns.engine.method import DynamicMethod
from dyn3d_ns.engine.stream_run import RECORDS_NAME, StreamRun
from dyn3d_ns.io.arrays import read_npz, read_png
from dyn3d_ns.io.clip.folder import ClipFolder
from dyn3d_ns.io.dynamic_scene.splits import read_splits
from dyn3d_ns.io.errors import DamagedFileError, DatasetError, PoseError, StageError, UserError
from dyn3d_ns.io.flow_files import read_flow_npz
from dyn3d_ns.io.footage.files import read_array
from dyn3d_ns.io.frame_matching import ClipFrames
from dyn3d_ns.io.fused_4d import read_fused
from dyn3d_ns.io.images import read_image
from dyn3d_ns.io.layouts import describe
from dyn3d_ns.io.masks import MaskFiles
from dyn3d_ns.io.ply import read_points
from dyn3d_ns.io.recognised import image_size, image_sizes
from dyn3d_ns.io.recordings.readers import VideoFrames
from dyn3d_ns.io.segmentation import LabelledFrame
from dyn3d_ns.io.trajectories import read_cameras
from dyn3d_ns.io.transforms_scene import read_scene
from dyn3d_ns.io.transparency import is_transparent
from dyn3d_ns.io.video_file import VideoWriter
from dyn3d_ns.video.depth.given import DepthFiles
from dyn3d_ns.video.frames.decode import Source
from dyn3d_ns.video.masks.prompts import read_boxes


def read_mask(path: Path) -> np.ndarray:
    return MaskFiles([path]).ids(0)


DEEP = "[" * 100_000 + "]" * 100_000
HUGE = "1" + "0" * 400


def compressed(path: Path, **arrays: np.ndarray) -> bytearray:
    np.savez_compressed(path, **arrays)
    return bytearray(path.read_bytes())


def broken_stream(content: bytearray) -> None:
    """Make the compressed bytes of the first member no stream of zlib."""
    name, extra = struct.unpack("<HH", content[26:30])
    content[30 + name + extra] = 0xFF


def unknown_method(content: bytearray) -> None:
    content[8:10] = struct.pack("<H", 99)
    place = content.index(b"PK\1\2")
    content[place + 10 : place + 12] = struct.pack("<H", 99)


def encrypted(content: bytearray) -> None:
    content[6] |= 1
    content[content.index(b"PK\1\2") + 8] |= 1


@pytest.mark.parametrize("damage", [broken_stream, unknown_method, encrypted])
def test_archives_that_zipfile_cannot_read(tmp_path: Path, damage: Callable[[bytearray], None]) -> None:
    path = tmp_path / "a.npz"
    for name, read in (
        ("flow", read_flow_npz),
        ("static_points", read_fused),
        ("flow", lambda p: read_npz(p, ("flow",))),
        ("depth", lambda p: read_npz(p, None)),
    ):
        content = compressed(path, **{name: np.arange(24.0).reshape(3, 4, 2)})
        damage(content)
        path.write_bytes(content)
        with pytest.raises(DamagedFileError, match="is not a readable"):
            read(path)
    with pytest.raises(DatasetError):
        DepthFiles(path, ClipFrames(np.arange(1)))[0]


def header(text: str) -> bytes:
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text.encode() + bytes(64)


STATED = "{{'descr': '{}', 'fortran_order': False, 'shape': {}, }}\n"


@pytest.mark.parametrize(
    "content",
    [
        header("{'descr': '<f4', (\n"),
        header(STATED.format("<f4", (2**53, 2))),
        header(STATED.format("<f4", (2**63, 2**63))),
        pytest.param(
            header(STATED.format("<f4", (-1, 2))),
            marks=pytest.mark.skipif(
                int(np.__version__.split(".")[0]) < 2, reason="NumPy 1 takes -1 for what is there"
            ),
        ),
        header(STATED.format("<U3", (2, 2))),
        header(STATED.format("|V4", (2, 2))),
        header(STATED.format("<c16", (2, 2))),
        header(STATED.format("[[", (2, 2))),
    ],
)
def test_arrays_whose_header_states_what_cannot_be(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.npy"
    path.write_bytes(content)
    for read in (
        read_array,
        read_mask,
        LabelledFrame(path, np.eye(4), 0.0).labels,
        lambda p: DepthFiles(p, ClipFrames(np.arange(2)))[0],
    ):
        with pytest.raises(DatasetError):
            read(path) if read.__name__ != "labels" else read()  # type: ignore[call-arg]
    archive = tmp_path / "a.npz"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("flow.npy", content)
    for read in (read_flow_npz, lambda p: read_npz(p, ("flow",))):
        with pytest.raises(DamagedFileError):
            read(archive)


def test_an_archive_where_an_array_belongs_and_the_other_way_round(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", depth=np.ones((2, 3, 4)))
    np.save(tmp_path / "y.npy", np.ones((2, 3, 4)))
    (tmp_path / "x.npz").rename(tmp_path / "x.npy")
    (tmp_path / "y.npy").rename(tmp_path / "y.npz")
    for read in (read_array, read_mask, LabelledFrame(tmp_path / "x.npy", np.eye(4), 0.0).labels):
        with pytest.raises(DatasetError):
            read(tmp_path / "x.npy") if read.__name__ != "labels" else read()  # type: ignore[call-arg]
    with pytest.raises(DatasetError):
        read_npz(tmp_path / "y.npz", ("depth",))
    for name in ("x.npy", "y.npz"):
        with pytest.raises(DatasetError):
            DepthFiles(tmp_path / name, ClipFrames(np.arange(2)))[0]


def test_images_that_state_more_pixels_than_anybody_has(tmp_path: Path) -> None:
    file = io.BytesIO()
    Image.fromarray(np.zeros((3, 4), np.uint8)).save(file, "PNG")
    content = file.getvalue()
    chunk = b"IHDR" + struct.pack(">II", 2**31 - 1, 60_000) + content[24:29]
    path = tmp_path / "a.png"
    path.write_bytes(content[:12] + chunk + struct.pack(">I", zlib.crc32(chunk)) + content[33:])
    for read in (
        lambda: read_image(path, alpha=True),
        lambda: read_png(path, None),
        lambda: image_sizes([path]),
        lambda: is_transparent(path),
    ):
        with pytest.raises(DamagedFileError, match="exceeds limit"):
            read()
    assert "cannot be read" in image_size(path)


@pytest.mark.parametrize("value", [DEEP, HUGE, "NaN", '"x"', "{}"])
def test_json_of_any_depth_and_numbers_of_any_size(tmp_path: Path, value: str) -> None:
    write_scene(tmp_path, cameras=2, frames=3, observed=2)
    for key in ("time", "camera_angle_x"):
        content = json.loads((tmp_path / "transforms_train.json").read_text())
        (content["frames"][0] if key == "time" else content)[key] = "here"
        (tmp_path / "transforms_test.json").write_text(json.dumps(content).replace('"here"', value))
        with pytest.raises(DatasetError, match="transforms_test.json"):
            read_scene(tmp_path)
        assert describe(tmp_path).missing
    for name, text, read in (
        (
            "boxes.json",
            '{"objects": [{"frame": here, "box": [here, 1, 9, 9]}]}',
            lambda p: read_boxes(p, 9, 20, 20),
        ),
        (
            "splits.json",
            '{"scenes": {"a": {"train": [here], "evaluation": here}}}',
            lambda p: read_splits(p, ["a"]),
        ),
        (
            RECORDS_NAME,
            '[{"frame": here, "seconds": here, "cpu_seconds": 1, "bytes": 1, "figures": {}}]',
            lambda p: StreamRun(p.parent),
        ),
        (
            "path.json",
            "here",
            lambda p: check_camera_path(
                ["x", "camera-path", "--camera-path-filename", str(p)], DynamicMethod
            ),
        ),
        (
            "path.json",
            '{"seconds": 1, "render_width": 8, "render_height": 8, "camera_path": [{"fov": 50, '
            f'"camera_to_world": [here{", 0" * 15}]}}]}}',
            lambda p: check_camera_path(
                ["x", "camera-path", "--camera-path-filename", str(p)], DynamicMethod
            ),
        ),
        (
            "clip.json",
            '{"times": [here], "source_frames": [1], "width": 1, "height": 1, "fps": here}',
            lambda p: ClipFolder(p.parent).clip(),
        ),
        (
            "key_frames/keyframe_info.json",
            '{"selected": [{"index": here}]}',
            lambda p: ClipFolder(p.parents[1]).keyframes(),
        ),
    ):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text.replace("here", value))
        if name == RECORDS_NAME and value in ("NaN", HUGE):
            continue  # figures that nobody computes with
        if name.startswith("key") and value == HUGE:
            continue  # a frame that is not there, for who looks it up
        with pytest.raises(UserError, match=path.name):
            read(path)


@pytest.mark.parametrize(
    "lines",
    [
        "format",
        "format ascii 1.0\nelement",
        "format ascii 1.0\nelement vertex",
        f"format ascii 1.0\nelement vertex {HUGE}",
        "format ascii 1.0\nelement vertex 2\nproperty",
        "format ascii 1.0\nelement vertex 2\nproperty float",
        "format ascii 1.0\nelement vertex 1\nproperty float x\nproperty float x",
        "format binary_little_endian 1.0\nelement vertex 9007199254740992\nproperty double x",
        "format ascii 1.0\nelement vertex ²\nproperty float x",
    ],
)
def test_ply_headers_that_break_off(tmp_path: Path, lines: str) -> None:
    path = tmp_path / "a.ply"
    path.write_text(f"ply\n{lines}\nend_header\n1 2 3\n")
    with pytest.raises(DamagedFileError, match=r"a\.ply"):
        read_points(path)


@pytest.mark.parametrize("quaternion", ["nan 0 0 1", "inf 0 0 1", "0 0 0 0", "1e400 0 0 1"])
def test_rotations_that_are_none(tmp_path: Path, quaternion: str) -> None:
    (tmp_path / "tum.txt").write_text(f"0 0 0 0 {quaternion}\n")
    with pytest.raises(PoseError, match=r"tum\.txt"):
        read_cameras(tmp_path / "tum.txt")


def test_arrays_of_a_clip_that_do_not_fit_each_other(tmp_path: Path) -> None:
    clip = ClipFolder(tmp_path)
    (tmp_path / "rgb").mkdir()
    Image.fromarray(np.zeros((3, 4, 3), np.uint8)).save(tmp_path / "rgb/00000.png")
    clip.points_path.parent.mkdir()
    ids = np.zeros(2, np.int32)
    points = {"xyz": np.ones((2, 3)), "rgb": np.ones((2, 3), np.uint8), "frame_ids": ids, "point_ids": ids}
    for change in (
        {"xyz": np.ones(6)},
        {"rgb": np.ones((1, 3))},
        {"point_ids": ids + 2},
        {"frame_ids": ids[:1]},
    ):
        np.savez(clip.points_path, **{**points, "xy": np.ones((2, 2)), **change})
        with pytest.raises(DamagedFileError, match=r"points\.npz"):
            clip.points()
    tracks = clip.tracks_path()
    tracks.parent.mkdir()
    whole = {
        "all_tracks": np.ones((1, 4, 2)),
        "all_visibilities": np.ones((1, 4)),
        "init_frames": np.zeros(4),
    }
    np.savez(tracks, **whole)
    assert clip.tracks().xy.shape == (1, 4, 2)
    for change in ({"all_tracks": np.ones(8)}, {"init_frames": np.zeros(3)}, {"orig_shape": np.zeros(3)}):
        np.savez(tracks, **{**whole, **change})
        with pytest.raises(DamagedFileError, match=r"results\.npz"):
            clip.tracks()


def test_a_stage_error_stays_one(tmp_path: Path) -> None:
    (tmp_path / "boxes.json").write_text(DEEP)
    with pytest.raises(StageError, match="not valid JSON"):
        read_boxes(tmp_path / "boxes.json", 1, 2, 3)


def test_videos_of_a_codec_that_nobody_knows(tmp_path: Path) -> None:
    path = tmp_path / "v.mp4"
    with VideoWriter(path, 32, 24, fps=10, quality=0.5) as video:
        for _ in range(3):
            video.write(np.zeros((24, 32, 3), np.uint8))
    content = path.read_bytes()
    assert content.count(b"avc1") >= 1
    head, _, tail = content.rpartition(b"avc1")  # in the sample description, not among the brands
    path.write_bytes(head + b"\0\0\0\0" + tail)
    assert describe(path).layout in ("video", "video that cannot be read")
    for read in (lambda: VideoFrames(path), lambda: list(Source(path).frames())):
        with pytest.raises(DatasetError, match=r"v\.mp4"):
            read()


@pytest.mark.parametrize("key", ["fl_x", "cx", "w", "camera_angle_x"])
@pytest.mark.parametrize("value", ['"x"', "{}", DEEP, HUGE])
def test_intrinsics_that_are_no_numbers(tmp_path: Path, key: str, value: str) -> None:
    content = {"w": 16, "h": 12, "fl_x": 9, "cx": 8, "cy": 6}
    content |= {"frames": [{"file_path": "0.png", "transform_matrix": np.eye(4).tolist()}]}
    if key == "camera_angle_x":
        del content["fl_x"]
    path = tmp_path / "transforms.json"
    path.write_text(json.dumps({**content, key: "here"}).replace('"here"', value))
    with pytest.raises(DamagedFileError, match=r"transforms\.json"):
        read_cameras(path)


def test_a_model_whose_names_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "cameras.txt").write_text("1 PINHOLE 16 12 9 9 8 6\n")
    (tmp_path / "images.txt").write_bytes(b"1 1 0 0 0 0 0 0 1 \xffa.png\n\n2 1 0 0 0 0 0 0 1 b.png\n\n")
    (tmp_path / "points3D.txt").write_text("")
    with pytest.raises(DamagedFileError, match="names an image in no UTF-8"):
        read_cameras(tmp_path, "colmap")
