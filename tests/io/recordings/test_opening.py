"""Recordings in every layout, and cameras that do not fit together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from recording_files import (
    FOCAL,
    HEIGHT,
    NEAR_FAR,
    WIDTH,
    Rig,
    write_3dgstream,
    write_camera_folders,
    write_streamrf,
    write_videos,
)

from dyn3d_ns.io.errors import DamagedFileError, DatasetError, ImageSizeError, MissingFileError, PoseError
from dyn3d_ns.io.layouts import describe
from dyn3d_ns.io.recordings.opening import open_recording
from dyn3d_ns.io.video_stream import Pictures

MEET_ROOM = Rig(names=("azure_3", "azure_7", "azure_10"))
LAYOUTS: dict[str, tuple[Callable[[Path, Rig], Path], Rig]] = {
    "N3DV": (write_videos, Rig()),
    "Meet Room": (write_videos, MEET_ROOM),
    "StreamRF": (write_streamrf, Rig()),
    "3DGStream": (write_3dgstream, Rig()),
    "3DGStream (": (lambda root, rig: write_3dgstream(root, rig, "."), Rig()),
    "QUEEN": (write_camera_folders, Rig()),
    "QUEEN, ": (lambda root, rig: write_camera_folders(root, rig, "."), MEET_ROOM),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout(tmp_path: Path, layout: str) -> None:
    write, rig = LAYOUTS[layout]
    recording = open_recording(write(tmp_path, rig))
    assert layout in recording.layout
    assert [camera.name for camera in recording.cameras] == list(rig.names)
    assert recording.num_frames == recording.available() == 6 and recording.size == (WIDTH, HEIGHT)
    videos = write is write_videos
    assert recording.fps == (25 if videos else 30)
    for i, camera in enumerate(recording.cameras):
        K = camera.calibration.K
        np.testing.assert_allclose(camera.calibration.pose, rig.poses[i] * [1, -1, -1, 1], atol=1e-6)
        np.testing.assert_allclose(K, [[FOCAL, 0, WIDTH / 2], [0, FOCAL, HEIGHT / 2], [0, 0, 1]], atol=1e-9)
        assert camera.calibration.near_far == (None if "3DGStream" in layout else NEAR_FAR)
        for frame, decode in enumerate(camera.frames.frames_from(0)):
            rig.check(decode(), i, frame)
        assert frame == 5
        assert (camera.frames.path(2) is None) == videos == camera.frames.sequential
    assert (recording.points is not None) == ("3DGStream" in layout)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_info_names_the_command(tmp_path: Path, layout: str) -> None:
    write, rig = LAYOUTS[layout]
    found = describe(write(tmp_path, rig))
    assert layout in found.layout and found.facts["cameras"] == "3" and not found.missing
    assert found.use == [
        f"ns-train dyn3d-stream-splat --data {tmp_path} n3dv-data  # on an NVIDIA GPU",
        f"ns-train dyn3d-stream-splat-fast --data {tmp_path} n3dv-data  # on a CPU",
    ]


def test_info_says_that_poses_are_missing(tmp_path: Path) -> None:
    (write_videos(tmp_path, Rig(frames=1)) / "poses_bounds.npy").unlink()
    found = describe(tmp_path)
    assert found.missing == ["poses_bounds.npy"] and "N3DV" in found.layout
    with pytest.raises(MissingFileError, match=r"poses_bounds\.npy does not exist.*imgs2poses\.py"):
        open_recording(tmp_path)


def test_what_is_no_recording(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="is no recording: expected"):
        open_recording(tmp_path)
    with pytest.raises(MissingFileError, match="gone does not exist"):
        open_recording(tmp_path / "gone")
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(MissingFileError, match=r"notes\.txt is no folder"):
        open_recording(tmp_path / "notes.txt")


def test_one_camera_is_one_too_few(tmp_path: Path) -> None:
    rig = Rig(names=("cam00",), frames=2)
    video = write_videos(tmp_path, rig) / "cam00.mp4"
    with pytest.raises(DatasetError, match=r"has one camera \(cam00\.mp4\).*two or more.*dyn3d process"):
        open_recording(tmp_path)
    with pytest.raises(DatasetError, match=r"cam00\.mp4 is a single video; .*dyn3d process .*cam00\.mp4 OUT"):
        open_recording(video)
    with pytest.raises(DatasetError, match=r"has one camera \(cam00\); a recording needs two"):
        open_recording(write_streamrf(tmp_path / "moments", rig))


def test_rows_go_by_the_order_of_the_names(tmp_path: Path) -> None:
    """A camera that is dropped takes its own row with it."""
    rig = Rig()
    recording = open_recording(write_camera_folders(tmp_path, rig), ("cam02",))
    assert [camera.name for camera in recording.cameras] == ["cam00", "cam10"]
    np.testing.assert_allclose(recording.cameras[1].calibration.pose[:3, 3], rig.poses[2, :3, 3])


def test_an_additional_camera_beside_the_poses(tmp_path: Path) -> None:
    rig = Rig()
    write_camera_folders(tmp_path, rig)
    rig.write_poses_bounds(tmp_path / "poses_bounds.npy", [0, 2])
    message = r"has 2 rows, but there are 3 cameras \(cam00 to cam10\).*Name those that have no row"
    with pytest.raises(DatasetError, match=message):
        open_recording(tmp_path)
    recording = open_recording(tmp_path, ("cam02",))
    np.testing.assert_allclose(recording.cameras[1].calibration.pose[:3, 3], rig.poses[2, :3, 3])


def test_a_missing_camera_beside_the_poses(tmp_path: Path) -> None:
    full = Rig(names=("cam00", "cam02", "cam05", "cam10"))
    few = Rig(names=("cam00", "cam02", "cam10"))
    write_camera_folders(tmp_path, few)
    full.write_poses_bounds(tmp_path / "poses_bounds.npy")
    with pytest.raises(DatasetError, match="has 4 rows, but there are 3 cameras.*whose frames are missing"):
        open_recording(tmp_path)
    recording = open_recording(tmp_path, ("cam05",))
    np.testing.assert_allclose(recording.cameras[2].calibration.pose[:3, 3], full.poses[3, :3, 3])


def test_a_camera_that_is_not_there_cannot_be_dropped(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no camera is named cam7; there are cam00, cam02"):
        open_recording(write_camera_folders(tmp_path, Rig()), ("cam7",))
    with pytest.raises(DatasetError, match="leaves only cam10 of the 3 cameras of .*; two are needed"):
        open_recording(tmp_path, ("cam00", "cam02"))
    with pytest.raises(DatasetError, match="leaves none of the 3 cameras"):
        open_recording(tmp_path, ("cam00", "cam02", "cam10"))


def test_the_model_of_colmap_and_the_images_go_by_name(tmp_path: Path) -> None:
    write_3dgstream(tmp_path, Rig())
    (tmp_path / "frame000001/images/cam02.png").unlink()
    with pytest.raises(DatasetError, match=r"images of cam02 are missing; .* --drop-cameras cam02"):
        open_recording(tmp_path)
    assert len(open_recording(tmp_path, ("cam02",)).cameras) == 2


def test_lenses_of_colmap_must_be_undone(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"SIMPLE_RADIAL lens.*image_undistorter"):
        open_recording(write_3dgstream(tmp_path, Rig(), lens="SIMPLE_RADIAL"))


def test_videos_of_different_lengths(tmp_path: Path) -> None:
    rig = Rig()
    rig.write_video(write_videos(tmp_path, rig) / "cam02.mp4", 1, frames=4)
    recording = open_recording(tmp_path)
    assert recording.num_frames == 4
    (note,) = recording.notes
    assert note.startswith("cameras have 4 to 6 frames (cam02 fewer than the others): the first 4 are used")


def test_videos_of_different_rates(tmp_path: Path) -> None:
    rig = Rig(frames=8)
    rig.write_video(write_videos(tmp_path, rig) / "cam02.mp4", 1, fps=30.0)
    with pytest.raises(DatasetError, match="cam02 has 30 frames a second, cam00 25: after 8 frames"):
        open_recording(tmp_path)
    assert open_recording(tmp_path, fps=25.0).fps == 25.0
    assert open_recording(tmp_path, ("cam02",)).fps == 25.0


def test_cameras_of_different_sizes(tmp_path: Path) -> None:
    write_videos(tmp_path, Rig())
    Rig(size=(24, 16)).write_video(tmp_path / "cam02.mp4", 1)
    with pytest.raises(ImageSizeError, match=r"cam02\.mp4 is 24x16, cam00 is 48x32; .* --drop-cameras cam02"):
        open_recording(tmp_path)


def test_frames_shrunk_since_they_were_calibrated(tmp_path: Path) -> None:
    recording = open_recording(write_videos(tmp_path, Rig(size=(24, 16))))
    np.testing.assert_allclose(
        recording.cameras[0].calibration.K[:2], [[FOCAL / 2, 0, 12], [0, FOCAL / 2, 8]]
    )
    with pytest.raises(ImageSizeError, match="calibrated for 48x32, its frames are 24x24"):
        open_recording(write_videos(tmp_path / "square", Rig(size=(24, 24))))


def test_a_frame_missing_in_the_middle(tmp_path: Path) -> None:
    write_camera_folders(tmp_path, Rig())
    (tmp_path / "cam02/images/0003.png").unlink()
    message = r"cam02/images/0003 does not exist.*frame 3 of cam02 is missing.*--drop-cameras cam02"
    with pytest.raises(MissingFileError, match=message):
        open_recording(tmp_path)
    (tmp_path / "cam02/images/0004.png").unlink()
    (tmp_path / "cam02/images/0005.png").unlink()
    assert open_recording(tmp_path).num_frames == 3


@pytest.mark.parametrize("content", [b"", b"no video"])
def test_a_damaged_video(tmp_path: Path, content: bytes) -> None:
    (write_videos(tmp_path, Rig(frames=2)) / "cam02.mp4").write_bytes(content)
    with pytest.raises(DamagedFileError, match=r"cam02\.mp4 is not a readable video.*--drop-cameras"):
        open_recording(tmp_path)


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (np.zeros((3, 15)), DamagedFileError, r"17 numbers a camera, got \(3, 15\)"),
        (np.full((3, 17), "x"), DamagedFileError, "must hold numbers, got <U1"),
        (np.full((3, 17), np.nan), PoseError, "row 0 is not finite"),
        (np.zeros((3, 17)), PoseError, "row 0 has height"),
        (np.ones((3, 17)), PoseError, "row 0 is no rotation"),
    ],
)
def test_damaged_poses(tmp_path: Path, content: np.ndarray, error: type[Exception], message: str) -> None:
    np.save(write_camera_folders(tmp_path, Rig(frames=1)) / "poses_bounds.npy", content)
    with pytest.raises(error, match=message):
        open_recording(tmp_path)


@pytest.mark.parametrize("content", [b"\x93NUMPY", b"hello\n", b""])
def test_poses_that_are_no_array(tmp_path: Path, content: bytes) -> None:
    (write_camera_folders(tmp_path, Rig(frames=1)) / "poses_bounds.npy").write_bytes(content)
    with pytest.raises(DamagedFileError, match=r"is no \.npy array of N x 17 numbers; .*imgs2poses") as stop:
        open_recording(tmp_path)
    assert "pickle" not in str(stop.value)


def test_videos_cannot_be_followed(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="--follow takes folders of images"):
        open_recording(write_videos(tmp_path, Rig(frames=1)), planned=10)


@pytest.mark.parametrize("layout", ["StreamRF", "3DGStream", "QUEEN"])
def test_a_recording_that_is_still_being_made(tmp_path: Path, layout: str) -> None:
    write, rig = LAYOUTS[layout]
    write(tmp_path, rig)
    recording = open_recording(tmp_path, planned=9)
    assert recording.live and recording.num_frames == 9 and recording.available() == 6
    paths = [camera.frames.path(6) for camera in recording.cameras]
    for i, path in enumerate(paths):
        assert path is not None
        rig.write_image(path, i, 6)
        assert recording.available() == (7 if i == 2 else 6)
    last = recording.cameras[1].frames.path(7)
    assert last is not None and last.stem in ("cam02", "0007")
    for i in (0, 2):
        path = recording.cameras[i].frames.path(7)
        assert path is not None
        rig.write_image(path, i, 7)
    whole = paths[1].read_bytes()
    last.parent.mkdir(parents=True, exist_ok=True)
    last.write_bytes(whole[:-20])
    assert recording.available() == 7, "half a file is no frame"
    last.write_bytes(whole)
    assert recording.available() == 8


def test_a_video_that_is_no_camera_is_left_out_and_told(tmp_path: Path) -> None:
    rig = Rig()
    write_videos(tmp_path, rig)
    rig.write_video(tmp_path / "preview.mp4", 0)
    (tmp_path / f"._{rig.names[0]}.mp4").write_bytes(b"\0\5")
    recording = open_recording(tmp_path)
    assert [camera.name for camera in recording.cameras] == list(rig.names)
    assert "left out: preview.mp4" in recording.notes[0]


def test_depth_beside_a_cameras_images_is_no_moment(tmp_path: Path) -> None:
    rig = Rig()
    write_camera_folders(tmp_path, rig)
    for name in rig.names:
        for frame in range(rig.frames):
            rig.write_image(tmp_path / name / f"images/{frame:04d}_depth.png", 0, frame)
    recording = open_recording(tmp_path)
    assert recording.num_frames == rig.frames
    assert "0000_depth.png" in recording.notes[0]
    assert len(recording.notes) == 1


def test_odd_colours_of_all_cameras_are_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pictures, "notes", lambda pictures, frame: ["is HDR"])
    recording = open_recording(write_videos(tmp_path, Rig()))
    assert recording.notes == (f"cam00.mp4 (and {len(Rig().names) - 1} others) is HDR",)
