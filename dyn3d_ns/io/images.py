"""Image files to 8-bit arrays, and area-averaged resizing."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8
from PIL import Image

from dyn3d_ns.io.damage import IMAGE_ERRORS
from dyn3d_ns.io.errors import DamagedFileError, MissingFileError


def read_image(path: Path, alpha: bool) -> UInt8[np.ndarray, "H W C"]:
    """Decode an image of any mode to 8-bit RGB, or to RGBA with straight alpha if ``alpha`` is set."""
    if not path.is_file():
        raise MissingFileError(f"image {path} does not exist; it was there when the dataset was read")
    try:
        with Image.open(path) as image:
            if image.mode.startswith("I;16"):
                # Pillow's own conversion clips 16-bit grey instead of scaling it.
                image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))  # noqa: PLW2901
            return np.array(image.convert("RGBA" if alpha else "RGB"))
    except IMAGE_ERRORS as error:
        raise DamagedFileError(f"{path} cannot be decoded ({error}); restore it from the original") from error


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
