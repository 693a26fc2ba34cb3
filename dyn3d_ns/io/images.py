"""Image files to 8-bit arrays, and area-averaged resizing."""

from __future__ import annotations

import struct
from collections.abc import Iterable
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


DEPTHS = (8, 10, 12, 14, 16)
"""Bits that cameras use of 16."""


def read_image(path: Path, alpha: bool, bits: int = 16) -> UInt8[np.ndarray, "H W C"]:
    """Decode an image of any mode to 8-bit RGB, or to RGBA with straight alpha if ``alpha`` is set.

    Images of 16 bits a channel use as many as ``bits``.
    """
    if not path.is_file():
        raise MissingFileError(f"image {path} does not exist; it was there when the dataset was read")
    try:
        with Image.open(path) as image:
            return to_8_bits(image, "RGBA" if alpha else "RGB", bits)
    except image_errors() as error:
        raise DamagedFileError(f"{path} cannot be decoded ({error}); restore it from the original") from error


def to_8_bits(image: Image.Image, mode: str, bits: int = 16) -> UInt8[np.ndarray, "H W *c"]:
    """Decode an opened image to one of Pillow's modes of 8 bits.

    Args:
        image: Of any mode, not loaded yet; of 16 bits a channel the upper 8 of those in use are taken.
            Pillow itself takes the upper 8 of all colours, and cuts grey values off at 255.
        mode: L, RGB or RGBA (straight alpha).
        bits: Bits that values of 16 bits use: cameras of 12 bits store up to 4095.

    Raises:
        ValueError: it holds floating-point numbers, or whole ones beyond 16 bits, whose range nobody states.
    """
    if image.mode == "F":
        raise ValueError("it holds floating-point numbers, whose white is not stated: write 8 or 16 bits")
    return np.array(of_8_bits(image, bits).convert(mode))


def of_8_bits(image: Image.Image, bits: int) -> Image.Image:
    """Return an opened image, not loaded yet, with 8 bits a channel; its metadata stay.

    Args:
        image: Of 16 bits a channel, or as it is returned.
        bits: Bits that values of 16 bits use; the upper 8 of these are taken.

    Raises:
        ValueError: it holds values beyond 16 bits.
    """
    if is_deep_grey(image):
        found = _upper(deep_grey(image), bits)
    elif bits < DEPTHS[-1] and _is_deep_color(image):
        alpha = image.convert("RGBA").getchannel("A") if "A" in image.getbands() else None
        found = _upper(_deep_color(image), bits)
        found = found if alpha is None else np.dstack((found, np.asarray(alpha)))
    else:
        return image
    scaled = Image.fromarray(found)
    scaled.info = dict(image.info)
    return scaled


def _upper(values: UInt16[np.ndarray, "H W *c"], bits: int) -> UInt8[np.ndarray, "H W *c"]:
    return np.minimum(values >> (bits - 8), 255).astype(np.uint8)


def bits_used(images: Iterable[Path]) -> int:
    """Return how many bits images of more than 8 a channel use, all of them together; 16 without any.

    Others are only opened; what cannot be read counts as none, as whoever decodes it says what is wrong.
    """
    highest = 0
    for path in images:
        try:
            with Image.open(path) as image:
                if is_deep(image):
                    highest = max(highest, int(deep_values(image).max(initial=0)))
        except image_errors():
            continue
    return depth_of(highest) if highest else DEPTHS[-1]


def depth_of(highest: int) -> int:
    """Return how many bits a camera uses whose values of 16 bits go up to a highest one."""
    return next(bits for bits in DEPTHS if highest < 1 << bits)


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


def is_deep(image: Image.Image) -> bool:
    """Tell whether an opened image, not loaded yet, has more than 8 bits of whole numbers a channel."""
    return is_deep_grey(image) or _is_deep_color(image)


def deep_values(image: Image.Image) -> UInt16[np.ndarray, "H W *c"]:
    """Decode grey values or colours of more than 8 bits.

    Raises:
        ValueError: values need more than 16 bits, or cannot be read.
    """
    return deep_grey(image) if is_deep_grey(image) else _deep_color(image)


def bits_note(bits: int) -> str | None:
    """Tell that images of 16 bits a channel use fewer; None if they use all."""
    return f"of images of 16 bits {bits} are used, of which the upper 8 are taken" if bits < 16 else None


def _is_deep_color(image: Image.Image) -> bool:
    # Pillow keeps 8 bits of each, and tells of 16 only how it will decode them.
    how = (tile[3] for tile in getattr(image, "tile", ()))
    return any(";16" in str(args[0] if isinstance(args, tuple) else args) for args in how)


def _deep_color(image: Image.Image) -> UInt16[np.ndarray, "H W 3"]:
    import cv2

    page, name = image.tell(), str(getattr(image, "filename", ""))
    image.load()  # says what is wrong with a damaged file
    _, pages = cv2.imreadmulti(name, page, 1, flags=cv2.IMREAD_UNCHANGED)
    found = pages[0] if pages else None
    if found is None or found.dtype != np.uint16 or found.ndim != 3:
        raise ValueError("its colours of 16 bits cannot be read: write 8 bits")
    return found[..., 2::-1]


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


def in_black_and_white(image: Image.Image) -> Image.Image:
    """Return an opened mask whose palette shows nothing but black and white as these; others as they are.

    Programs that reduce colours number them as they please: there black may be 1.
    """
    if image.mode != "P":
        return image
    shown = image.convert("RGB").getcolors(2) or []
    black_and_white = {(0, 0, 0), (255, 255, 255)}
    return image.convert("L") if {color for _, color in shown} == black_and_white else image


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
