"""Which track of a video, how long it is, and what is told of it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import av
import imageio_ffmpeg
import numpy as np
import pytest
from av.video.frame import VideoFrame
from PIL import Image

from dyn3d_ns.io.layouts import describe
from dyn3d_ns.io.recordings.readers import VideoFrames
from dyn3d_ns.video.frames.decode import Source
from tests.video.clips import shifted_frames

FRAMES = shifted_frames(24)


def write(path: Path, *tracks: tuple[list[np.ndarray], str], rate: int = 24) -> Path:
    """Write tracks of frames in pixel formats; grey ones are stored without loss."""
    with av.open(str(path), "w") as box:
        streams = []
        for frames, pixels in tracks:
            stream = box.add_stream("ffv1" if pixels == "gray" else "libx264", rate=rate)
            stream.height, stream.width, stream.pix_fmt = *frames[0].shape[:2], pixels
            if pixels != "gray":
                stream.options = {"g": "48", "bf": "0", "crf": "10"}
            streams.append(stream)
        for i in range(max(len(frames) for frames, _ in tracks)):
            for stream, (frames, _) in zip(streams, tracks, strict=True):
                if i < len(frames):
                    box.mux(stream.encode(VideoFrame.from_ndarray(frames[i], format="rgb24")))
        for stream in streams:
            box.mux(stream.encode())
    return path


def ffmpeg(*options: object) -> None:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-loglevel", "error", *map(str, options)]
    subprocess.run(command, check=True)


def read(path: Path) -> tuple[list[np.ndarray], list[str]]:
    source = Source(path)
    return [frame.image for frame in source.frames()], source.notes


def close(image: np.ndarray, expected: np.ndarray) -> bool:
    return image.shape == expected.shape and np.abs(image.astype(int) - expected).mean() < 8


SMALL = [frame[:32, :48].copy() for frame in FRAMES]
LARGE = [np.kron(frame, np.ones((2, 2, 1), np.uint8)) for frame in FRAMES[:2]]


@pytest.mark.parametrize(
    ("name", "first", "second", "taken"),
    [
        ("small.mp4", (SMALL, "yuv420p"), (FRAMES, "yuv420p"), 1),
        ("depth.mkv", (FRAMES, "gray"), (FRAMES, "yuv420p"), 1),
        ("short.mp4", (FRAMES, "yuv420p"), (LARGE, "yuv420p"), 0),
        ("alike.mp4", (FRAMES, "yuv420p"), (FRAMES, "yuv420p"), 0),
    ],
)
def test_one_track_is_taken_and_the_other_told(tmp_path: Path, name: str, first, second, taken: int) -> None:
    path = write(tmp_path / name, first, second)
    images, notes = read(path)
    assert len(images) == 24
    assert close(images[3], FRAMES[3])
    told = f"holds 2 video tracks: number {taken} (96x64) is taken, number {1 - taken}"
    assert told in notes[0]
    assert told in describe(path).facts["tracks"]
    camera = VideoFrames(path)
    assert (camera.size, camera.num_frames, len(list(camera.frames_from(0)))) == ((96, 64), 24, 24)
    assert told in camera.notes[0]


def test_cover_art_is_no_video(tmp_path: Path) -> None:
    Image.new("RGB", (600, 600), "red").save(tmp_path / "cover.jpg")
    write(tmp_path / "v.mp4", (FRAMES, "yuv420p"))
    inputs = ("-i", tmp_path / "cover.jpg", "-i", tmp_path / "v.mp4", "-map", 0, "-map", 1, "-c", "copy")
    ffmpeg(*inputs, "-disposition:v:0", "attached_pic", tmp_path / "art.mp4")
    images, notes = read(tmp_path / "art.mp4")
    assert (len(images), images[0].shape, notes) == (24, (64, 96, 3), [])


def test_a_trimmed_clip_is_whole_and_a_cut_one_is_not(tmp_path: Path) -> None:
    """An edit list leaves the frames before it in the file, and in its count of frames."""
    write(tmp_path / "v.mp4", (FRAMES, "yuv420p"))
    ffmpeg(
        "-ss", 0.3, "-i", tmp_path / "v.mp4", "-c", "copy", "-movflags", "faststart", tmp_path / "trim.mp4"
    )
    with av.open(str(tmp_path / "trim.mp4")) as box:
        assert box.streams.video[0].frames == 24, "the count that misleads"
    source = Source(tmp_path / "trim.mp4")
    shown = sum(1 for _ in source.frames())
    assert source.notes == []
    assert 14 <= shown <= 18
    assert abs((source.count_hint(None) or 0) - shown) <= 1
    camera = VideoFrames(tmp_path / "trim.mp4")
    assert camera.num_frames == shown == len(list(camera.frames_from(0)))
    content = (tmp_path / "trim.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(content[: len(content) * 4 // 5])
    images, notes = read(tmp_path / "cut.mp4")
    assert 1 < len(images) < shown
    assert any("cut short" in note for note in notes)


def test_a_turned_recording_stands_upright(tmp_path: Path) -> None:
    write(tmp_path / "v.mp4", (FRAMES, "yuv420p"))
    ffmpeg("-display_rotation", 90, "-i", tmp_path / "v.mp4", "-c", "copy", tmp_path / "turned.mp4")
    camera = VideoFrames(tmp_path / "turned.mp4")
    assert camera.size == (64, 96)
    assert close(next(camera.frames_from(5))(), np.rot90(FRAMES[5]))
