"""Decoding of odd images and area averaging with alpha."""

import struct

import numpy as np
import pytest
from PIL import Image, ImageOps

from dyn3d_ns.io.errors import DamagedFileError, MissingFileError
from dyn3d_ns.io.images import is_turned, read_image, resize_area, upright


def test_modes_become_rgb_or_rgba(tmp_path):
    rng = np.random.default_rng(0)
    rgba = rng.integers(0, 256, (5, 7, 4), dtype=np.uint8)
    Image.fromarray(rgba).save(tmp_path / "rgba.png")
    np.testing.assert_array_equal(read_image(tmp_path / "rgba.png", alpha=True), rgba)
    np.testing.assert_array_equal(read_image(tmp_path / "rgba.png", alpha=False), rgba[..., :3])
    Image.fromarray(rgba[..., 0]).save(tmp_path / "grey.png")
    grey = read_image(tmp_path / "grey.png", alpha=True)
    np.testing.assert_array_equal(grey[..., 2], rgba[..., 0])
    assert (grey[..., 3] == 255).all()
    Image.fromarray(rgba[..., 0].astype(np.uint16) * 257).save(tmp_path / "grey16.png")
    np.testing.assert_array_equal(read_image(tmp_path / "grey16.png", alpha=False)[..., 1], rgba[..., 0])


def test_deep_grey_in_32_bits_and_numbers_without_a_white(tmp_path):
    grey = np.arange(0, 240, 12, dtype=np.int32).reshape(4, 5)
    Image.fromarray(grey * 257).save(tmp_path / "a.tif")
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif", alpha=True)[..., 0], grey)
    for values in (grey * 100000, grey - 1, (grey / 255).astype(np.float32)):
        Image.fromarray(values).save(tmp_path / "b.tif")
        with pytest.raises(DamagedFileError, match="b.tif cannot be decoded .*white is not stated"):
            read_image(tmp_path / "b.tif", alpha=False)


def test_damaged_images(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 50, 3), dtype=np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(DamagedFileError, match="a.png cannot be decoded"):
        read_image(path, alpha=False)
    with pytest.raises(MissingFileError):
        read_image(tmp_path / "none.png", alpha=False)


def test_resize_averages_blocks():
    image = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    expected = image.reshape(3, 2, 4, 2, 3).mean(axis=(1, 3))
    assert np.abs(resize_area(image, 4, 3) - expected).max() <= 0.51
    assert resize_area(image, 8, 6) is image


def test_resize_weights_colours_by_alpha():
    """A red opaque pixel beside invisible green ones shrinks to red, a quarter opaque."""
    image = np.zeros((2, 2, 4), np.uint8)
    image[..., 1] = 255
    image[0, 0] = (255, 0, 0, 255)
    np.testing.assert_array_equal(resize_area(image, 1, 1)[0, 0], [255, 0, 0, 64])


def test_compositing_and_resizing_commute():
    image = np.random.default_rng(3).integers(0, 256, (20, 20, 4), dtype=np.uint8)

    def on_white(rgba):
        alpha = rgba[..., 3:] / 255.0
        return rgba[..., :3] * alpha + 255.0 * (1 - alpha)

    expected = on_white(image).reshape(10, 2, 10, 2, 3).mean(axis=(1, 3))
    assert np.abs(on_white(resize_area(image, 10, 10)) - expected).max() < 1.1


@pytest.mark.parametrize("ending", ["tif", "png", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_upright_is_what_pillow_shows(tmp_path, orientation, ending):
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    path = tmp_path / f"a.{ending}"
    Image.fromarray(pixels).save(path, exif=exif, **({"lossless": True} if ending == "webp" else {}))
    with Image.open(path) as image, Image.open(path) as same:
        assert is_turned(image) == (orientation > 1 and ending == "webp")
        same.load()
        np.testing.assert_array_equal(np.asarray(upright(image)), np.asarray(ImageOps.exif_transpose(same)))


def test_broken_exif_data_turn_nothing(monkeypatch):
    image = Image.new("RGB", (3, 2))
    for error in (struct.error("not an integer"), TypeError("bytes"), SyntaxError("not a TIFF file")):
        monkeypatch.setattr(image, "getexif", lambda error=error: (_ for _ in ()).throw(error))
        assert upright(image) is image
        assert not is_turned(image)
