"""Folders of images of all kinds, and files of several pictures."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms

from dyn3d_ns.io.errors import StageError
from dyn3d_ns.video.frames.decode import Source
from tests.video.clips import shifted_frames

FRAMES = shifted_frames(4)
GREY = [frame[..., 1] for frame in FRAMES]


def read(path: Path) -> tuple[list[np.ndarray], list[float], list[str]]:
    source = Source(path, folder_fps=10)
    found = list(source.frames())
    return [f.image for f in found], [f.seconds for f in found], source.notes


@pytest.mark.parametrize(("factor", "bits"), [(257, 16), (64, 14), (16, 12), (4, 10), (1, 8)])
@pytest.mark.parametrize("ending", ["png", "tif"])
def test_deep_grey_is_scaled_by_what_the_whole_clip_uses(
    tmp_path: Path, factor: int, bits: int, ending: str
) -> None:
    """The brightest pixel, which only one frame shows, tells how many bits a camera used."""
    values = [np.minimum(grey, 120) for grey in GREY]
    values[2] = np.where(np.arange(96) < 3, 255, values[2]).astype(np.uint8)
    for i, grey in enumerate(values):
        Image.fromarray(grey.astype(np.uint16) * factor).save(tmp_path / f"a{i}.{ending}")
    images, _, notes = read(tmp_path)
    assert all(np.array_equal(image[..., 2], grey) for image, grey in zip(images, values, strict=True))
    assert f"{bits} bits are used" in notes[0]


@pytest.mark.parametrize(("factor", "bits"), [(257, 16), (16, 12), (4, 10)])
@pytest.mark.parametrize("ending", ["png", "tif"])
def test_deep_colours_are_scaled_as_grey_is(tmp_path: Path, factor: int, bits: int, ending: str) -> None:
    for i, frame in enumerate(FRAMES):
        alpha = (
            np.full((*frame.shape[:2], 1), 65535, np.uint16) if i == 1 else np.empty((*frame.shape[:2], 0))
        )
        deep = np.dstack((frame[..., ::-1].astype(np.uint16) * factor, alpha.astype(np.uint16)))
        cv2.imwrite(str(tmp_path / f"a{i}.{ending}"), deep)
    images, _, notes = read(tmp_path)
    assert all(np.array_equal(image, frame) for image, frame in zip(images, FRAMES, strict=True))
    assert f"{bits} bits are used" in notes[0]


@pytest.mark.parametrize(
    ("dtype", "factor", "message"),
    [(np.float32, 1 / 255, "floating-point numbers"), (np.int32, 10**6, r"whole numbers from 0 to \d+")],
)
def test_numbers_without_a_white_are_refused(tmp_path: Path, dtype, factor: float, message: str) -> None:
    for i, grey in enumerate(GREY):
        Image.fromarray((grey.astype(float) * factor).astype(dtype)).save(tmp_path / f"a{i}.tif")
    with pytest.raises(StageError, match=f"none of the 4 images.*{message}.*write 8 or 16 bits"):
        read(tmp_path)


def test_transparent_pixels_are_laid_over_black_and_told(tmp_path: Path) -> None:
    alpha = np.full((64, 96), 255, np.uint8)
    alpha[:20], alpha[20:40] = 0, 128
    for i, frame in enumerate(FRAMES):
        Image.fromarray(np.dstack((frame, alpha if i == 3 else np.full_like(alpha, 255)))).save(
            tmp_path / f"a{i}.png"
        )
    images, _, notes = read(tmp_path)
    assert np.array_equal(images[0], FRAMES[0])
    assert not images[3][:20].any()
    assert np.abs(images[3][20:40] - FRAMES[3][20:40] * (128 / 255)).max() <= 1
    assert notes == ["1 image(s) with transparent pixels, which are laid over black: a3.png"]


def test_who_takes_a_part_of_the_frames_is_told_too(tmp_path: Path) -> None:
    for i, grey in enumerate(GREY):
        Image.fromarray(grey.astype(np.uint16) * 16).save(tmp_path / f"a{i}.png")
    source = Source(tmp_path)
    frames = source.frames()
    next(frames)
    frames.close()
    assert "12 bits are used" in source.notes[0]


def test_a_profile_that_is_not_srgb_is_converted_and_told(tmp_path: Path) -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    # Red and green swapped: nothing but the profile tells.
    swapped = bytearray(srgb)
    red, green = swapped.index(b"rXYZ"), swapped.index(b"gXYZ")
    swapped[red : red + 4], swapped[green : green + 4] = b"gXYZ", b"rXYZ"
    name = bytes(swapped).replace(b"s\0R\0G\0B", b"o\0d\0d\0X").replace(b"sRGB", b"oddX")
    for i, (frame, profile) in enumerate(zip(FRAMES, (srgb, name, b"broken", None), strict=True)):
        Image.fromarray(frame).save(tmp_path / f"a{i}.png", icc_profile=profile)
    images, _, notes = read(tmp_path)
    for i in (0, 2, 3):
        assert np.array_equal(images[i], FRAMES[i])
    assert np.abs(images[1].astype(int) - FRAMES[1][..., (1, 0, 2)]).mean() < 3
    assert len(notes) == 1
    assert "1 image(s) in another colour space than sRGB" in notes[0]


@pytest.mark.parametrize(
    ("name", "options", "step"),
    [
        ("a.png", {"duration": 40}, 0.04),
        ("a.webp", {"duration": 40, "lossless": True}, 0.04),
        ("stack.tif", {}, 0.1),
    ],
)
def test_the_pictures_of_one_file_are_frames(tmp_path: Path, name: str, options: dict, step: float) -> None:
    first, *others = (Image.fromarray(frame) for frame in FRAMES)
    first.save(tmp_path / name, save_all=True, append_images=others, **options)
    images, seconds, notes = read(tmp_path / name)
    assert all(np.array_equal(image, frame) for image, frame in zip(images, FRAMES, strict=True))
    assert seconds == pytest.approx([step * i for i in range(4)])
    assert notes == []


def test_one_picture_is_no_clip_and_several_in_a_frame_are_told(tmp_path: Path) -> None:
    Image.fromarray(FRAMES[0]).save(tmp_path / "a0.png")
    with pytest.raises(StageError, match=r"a0\.png is one image; give a video file or a folder"):
        read(tmp_path / "a0.png")
    Image.fromarray(FRAMES[1]).save(
        tmp_path / "a1.png", save_all=True, append_images=[Image.fromarray(FRAMES[2])]
    )
    images, _, notes = read(tmp_path)
    assert np.array_equal(images[1], FRAMES[1])
    assert "several pictures" in notes[0]
    assert "a1.png" in notes[0]


@pytest.mark.parametrize(
    ("name", "message"),
    [("clip.mp4", "holds 1 video.*clip.mp4"), ("a.heic", "a.heic and such"), ("rgb/a.png", "such as .*rgb")],
)
def test_a_folder_without_images_says_what_it_holds(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(StageError, match=f"holds no image.*{message}"):
        read(tmp_path)
