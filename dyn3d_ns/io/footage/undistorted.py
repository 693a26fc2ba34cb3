"""Images of a video without their lens, made once and kept on the disk."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from dyn3d_ns.geometry.lenses import Undistortion
from dyn3d_ns.io.arrays import encode_png
from dyn3d_ns.io.atomic import write_bytes
from dyn3d_ns.io.errors import DatasetError
from dyn3d_ns.io.images import DEPTHS, bits_used, read_image
from dyn3d_ns.io.recordings.store import store_folder


def undistorted_images(
    root: Path, images: Sequence[Path], undos: Sequence[Undistortion | None]
) -> list[Path]:
    """Return images without their lens: PNG beside the video, or in the user's cache if that is read-only.

    They are made again when the image or the lens is another one.

    Args:
        root: Folder of the video.
        images: Files; those without a lens are returned as they are.
        undos: What undoes the lens of each.

    Raises:
        DatasetError: an image cannot be read, or there is no room to write.
    """
    folder = store_folder(root) / "undistorted"
    bits = bits_used(image for image, undo in zip(images, undos, strict=True) if undo is not None)
    found = []
    for image, undo in zip(images, undos, strict=True):
        if undo is None:
            found.append(image)
            continue
        path = folder / f"{image.stem}-{_stamp(image, undo, bits)}.png"
        if not path.is_file():
            try:
                write_bytes(path, encode_png(_undone(image, undo, bits)))
            except OSError as error:
                raise DatasetError(
                    f"{image} has a lens, but the picture without it cannot be kept in {folder} ({error}); "
                    "make room, or run `colmap image_undistorter`"
                ) from error
        found.append(path)
    return found


def _undone(image: Path, undo: Undistortion, bits: int) -> np.ndarray:
    with Image.open(image) as file:
        transparent = "A" in file.getbands() or "transparency" in file.info
    return undo.colors(read_image(image, transparent, bits))


def _stamp(image: Path, undo: Undistortion, bits: int) -> str:
    state = image.stat()
    lens = (undo.lens, undo.size, undo.intrinsics, undo.zoom)
    deep = (bits,) if bits < DEPTHS[-1] else ()
    facts = repr((str(image.resolve()), state.st_size, state.st_mtime_ns, lens, *deep))
    return hashlib.sha256(facts.encode()).hexdigest()[:12]
