"""Image files to 8-bit arrays, and area-averaged resizing."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8, UInt16
from PIL import Image

from dyn3d_ns.io.damage import image_errors
from dyn3d_ns.io.errors import DamagedFileError, MissingFileError

_DEEP = 1 << 16
_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What shows an image upright, by EXIF's orientation."""


def read_image(path: Path, alpha: bool) -> UInt8[np.ndarray, "H W C"]:
    """Decode an image of any mode to 8-bit RGB, or to RGBA with straight alpha if ``alpha`` is set."""
    if not path.is_file():
        raise MissingFileError(f"image {path} does not exist; it was there when the dataset was read")
    try:
        with Image.open(path) as image:
            return to_8_bits(image, "RGBA" if alpha else "RGB")
    except image_errors() as error:
        raise DamagedFileError(f"{path} cannot be decoded ({error}); restore it from the original") from error


def to_8_bits(image: Image.Image, mode: str, bits: int = 16) -> UInt8[np.ndarray, "H W *c"]:
    """Decode an opened image to one of Pillow's modes of 8 bits.

    Args:
        image: Of any mode; of 16 bits a channel the upper 8 are taken, which Pillow itself does for colours,
            while it cuts grey values off at 255.
        mode: L, RGB or RGBA (straight alpha).
        bits: Bits that grey values of 16 bits use: cameras of 12 bits store up to 4095.

    Raises:
        ValueError: it holds floating-point numbers, or whole ones beyond 16 bits, whose range nobody states.
    """
    if is_deep_grey(image):
        values = deep_grey(image)
        image = Image.fromarray(np.minimum(values >> (bits - 8), 255).astype(np.uint8))
    elif image.mode == "F":
        raise ValueError("it holds floating-point numbers, whose white is not stated: write 8 or 16 bits")
    return np.array(image.convert(mode))


def exif_of(image: Image.Image, tag: int, ifd: int | None = None) -> Any:
    """Return an entry of an opened image's EXIF data; None where there is none that can be read."""
    try:
        exif = image.getexif()
        return exif.get(tag) if ifd is None else exif.get_ifd(ifd).get(tag)
    except (OSError, SyntaxError, ValueError, TypeError, KeyError, struct.error):
        # Broken data are those of no camera; the picture does not suffer from them.
        return None


def is_turned(image: Image.Image) -> bool:
    """Tell whether EXIF data say that an opened image is to be shown in another way than it is decoded.

    Pillow turns TIFFs itself, and decodes the whole of a PNG to look for EXIF data: these never are.
    """
    return image.format not in ("TIFF", "PNG") and exif_of(image, _ORIENTATION) in _TURNS


def upright(image: Image.Image) -> Image.Image:
    """Return an opened image as it is to be shown, by its EXIF data."""
    image.load()
    turn = exif_of(image, _ORIENTATION)
    return image.transpose(_TURNS[turn]) if turn in _TURNS else image


def is_deep_grey(image: Image.Image) -> bool:
    """Tell whether an opened image is grey with more than 8 bits of whole numbers."""
    return image.mode == "I" or image.mode.startswith("I;16")


def deep_grey(image: Image.Image) -> UInt16[np.ndarray, "H W"]:
    """Decode grey values of more than 8 bits.

    Raises:
        ValueError: some are negative, or need more than 16 bits.
    """
    # Pillow before 10.3 opens 16-bit grey PNGs as 32 bits.
    values = np.asarray(image)
    if image.mode == "I" and values.size and not (values.min() >= 0 and values.max() < _DEEP):
        raise ValueError(
            f"it holds whole numbers from {values.min()} to {values.max()}, whose white is not stated: write "
            "8 or 16 bits"
        )
    return values.astype(np.uint16)


def resize_area(image: UInt8[np.ndarray, "H W C"], width: int, height: int) -> UInt8[np.ndarray, "H2 W2 C"]:
    """Shrink an RGB or straight-alpha RGBA image by averaging areas.

    Colours are averaged weighted by their alpha, so that what lies hidden under transparent pixels does
    not bleed into the edges.
    """
    if image.shape[:2] == (height, width):
        return image
    values = image.astype(np.float32)
    if image.shape[2] == 4:
        values[..., :3] *= values[..., 3:] / 255.0
    values = cv2.resize(values, (width, height), interpolation=cv2.INTER_AREA)
    if image.shape[2] == 4:
        values[..., :3] *= 255.0 / np.maximum(values[..., 3:], 1e-6)
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
