"""Frames out of videos and folders: times, turns, focal lengths, and what is broken."""

from __future__ import annotations

import subprocess
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

from dyn3d_ns.io.errors import StageError
from dyn3d_ns.video.frames.decode import Source, focal_in_pixels
from tests.video.clips import shifted_frames, texture, write_folder, write_video


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(-10 * np.log10(np.mean((a / 255.0 - b / 255.0) ** 2) + 1e-12))


def test_a_video_gives_its_frames_and_times(tmp_path: Path) -> None:
    frames = shifted_frames(5)
    found = list(Source(write_video(tmp_path / "v.mp4", frames, fps=20)).frames())
    assert [f.number for f in found] == [0, 1, 2, 3, 4]
    assert np.allclose([f.seconds for f in found], np.arange(5) / 20, atol=1e-3)
    assert all(psnr(f.image, frame) > 25 for f, frame in zip(found, frames, strict=True))
    assert psnr(found[0].image, frames[2]) < 22


def test_variable_frame_rate_keeps_the_times_of_the_file(tmp_path: Path) -> None:
    ticks = [0, 40, 200, 210, 500]
    path = write_video(tmp_path / "v.mkv", shifted_frames(5), ticks=ticks)
    assert np.allclose([f.seconds * 1000 for f in Source(path).frames()], ticks, atol=1)


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_a_turned_video_comes_out_as_players_show_it(tmp_path: Path, degrees: int) -> None:
    plain = write_video(tmp_path / "plain.mp4", shifted_frames(3))
    ffmpeg = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-loglevel", "error"]
    turned = tmp_path / "turned.mp4"
    options = ["-display_rotation", str(degrees), "-i", str(plain), "-c", "copy", str(turned)]
    subprocess.run([*ffmpeg, *options], check=True)
    # ffmpeg itself turns frames when it writes images.
    subprocess.run([*ffmpeg, "-i", str(turned), str(tmp_path / "%d.png")], check=True)
    for k, frame in enumerate(Source(turned).frames()):
        expected = np.array(Image.open(tmp_path / f"{k + 1}.png").convert("RGB"))
        assert frame.image.shape == expected.shape
        assert psnr(frame.image, expected) > 35


def test_pixels_that_are_not_square_are_made_square(tmp_path: Path) -> None:
    plain = write_video(tmp_path / "plain.mp4", shifted_frames(2))
    wide = tmp_path / "wide.mp4"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-loglevel", "error", "-i", str(plain), "-c", "copy"]
    subprocess.run([*command, "-bsf:v", "h264_metadata=sample_aspect_ratio=2/1", str(wide)], check=True)
    assert next(iter(Source(wide).frames())).image.shape == (64, 192, 3)


def test_a_folder_is_read_in_the_order_of_its_numbers(tmp_path: Path) -> None:
    frames = shifted_frames(12)
    folder = write_folder(tmp_path / "in", frames)
    found = list(Source(folder, folder_fps=10).frames())
    assert all(np.array_equal(f.image, frame) for f, frame in zip(found, frames, strict=True))
    assert np.allclose([f.seconds for f in found], np.arange(12) / 10)


def test_exif_turns_the_image_and_gives_the_focal_length(tmp_path: Path) -> None:
    image = Image.fromarray(texture(48, 96))
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    exif.get_ifd(0x8769)[0xA405] = 28
    image.save(tmp_path / "a.jpg", exif=exif)
    source = Source(tmp_path)
    assert next(source.frames()).image.shape == (96, 48, 3)
    assert source.focal_35mm == 28
    assert focal_in_pixels(28, 48, 96) == pytest.approx(96 * 28 / 36)
    assert focal_in_pixels(None, 48, 96) is None


def test_unreadable_images_are_left_out_and_named(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "in", shifted_frames(5))
    (folder / "f2.png").write_bytes((folder / "f2.png").read_bytes()[:200])
    source = Source(folder)
    assert [f.number for f in source.frames()] == [0, 1, 3, 4]
    assert "f2.png" in source.notes[0] and "1 image" in source.notes[0]


@pytest.mark.parametrize("suffix", [".mkv", ".avi"])
def test_a_truncated_video_gives_what_it_holds_and_says_so(tmp_path: Path, suffix: str) -> None:
    path = write_video(tmp_path / f"v{suffix}", shifted_frames(60, step=(3, 0)))
    source = Source(path)
    assert sum(1 for _ in source.frames()) == 60 and source.notes == []
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    source = Source(path)
    count = sum(1 for _ in source.frames())
    assert 2 < count < 60
    assert "cut short" in " ".join(source.notes)


def test_a_damaged_stretch_does_not_end_the_video(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mp4", shifted_frames(60, step=(3, 0)))
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 60] = bytes(60)
    path.write_bytes(bytes(content))
    source = Source(path)
    assert sum(1 for _ in source.frames()) > 30


@pytest.mark.parametrize(
    ("content", "message"), [(b"", "is empty"), (b"hello" * 50, "not a video"), (None, "does not exist")]
)
def test_what_is_no_video_is_refused(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "v.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(StageError, match=message):
        list(Source(path).frames())


def test_folders_without_images_and_with_several_sizes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="holds no image"):
        list(Source(tmp_path).frames())
    write_folder(tmp_path, [texture(32, 48), texture(32, 50)])
    with pytest.raises(StageError, match=r"f1\.png is 50x32.*48x32"):
        list(Source(tmp_path).frames())
    for path in tmp_path.iterdir():
        path.write_text("no image")
    with pytest.raises(StageError, match="none of the 2 images"):
        list(Source(tmp_path).frames())


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    tone = ["-f", "lavfi", "-i", "sine=d=0.1", str(path)]
    subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", *tone], check=True)
    with pytest.raises(StageError, match="no video stream"):
        list(Source(path).frames())
