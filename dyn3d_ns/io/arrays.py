"""Images and array files, read with errors that name the file and the stage that writes it."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int32

from dyn3d_ns.io.atomic import atomic_open
from dyn3d_ns.io.damage import ARRAY_ERRORS, image_errors, numbers
from dyn3d_ns.io.errors import DamagedFileError, MissingFileError


def read_png(path: Path, mode: str | None, stage: str = "frames") -> np.ndarray:
    """Read an image in one of Pillow's modes of 8 bits; None keeps palette indices and 16 bits as they are.

    Raises:
        MissingFileError: there is no such file; the message names the stage that writes it.
        DamagedFileError: it is not a whole image.
    """
    from PIL import Image

    from dyn3d_ns.io.images import to_8_bits

    if not path.is_file():
        raise MissingFileError(f"{path} does not exist; run the stage `{stage}` first")
    try:
        with Image.open(path) as image:
            return np.array(image) if mode is None else to_8_bits(image, mode)
    except image_errors() as error:
        raise DamagedFileError(
            f"{path} is not a readable image ({error}); delete it and run again"
        ) from error


def encode_png(image: np.ndarray) -> bytes:
    """Return an 8- or 16-bit grey or 8-bit RGB image as PNG, compressed for speed."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def write_npz(path: Path, **arrays: Any) -> None:
    """Write arrays into a compressed .npz, atomically."""
    with atomic_open(path) as file:
        np.savez_compressed(file, **arrays)


def read_npz(
    path: Path, names: Sequence[str] | None, stage: str = "", optional: Sequence[str] = ()
) -> dict[str, np.ndarray]:
    """Read the named arrays of an .npz (all without names), and optional ones, without unpickling anything.

    Raises:
        MissingFileError: there is no such file.
        DamagedFileError: it is no .npz, lacks one of the names, or would have to be unpickled.
    """
    if not path.is_file():
        raise MissingFileError(
            f"{path} does not exist" + (f"; run the stage `{stage}` first" if stage else "")
        )
    try:
        with np.load(path, allow_pickle=False) as content:
            held = content.files
            wanted = held if names is None else list(names)
            values = {name: content[name] for name in (*wanted, *optional) if name in held}
    except ARRAY_ERRORS as error:
        raise DamagedFileError(f"{path} is not a readable .npz ({error}); delete it and run again") from error
    missing = [name for name in wanted if name not in values]
    if missing:
        raise DamagedFileError(f"{path} lacks {', '.join(missing)}; it holds {', '.join(held) or 'nothing'}")
    return {name: numbers(value, f"{path}, {name}") for name, value in values.items()}


def ids_of(pixels: np.ndarray) -> Int32[np.ndarray, "H W"]:
    """Return a mask's ids: palette indices and grey values as they are, colours as R + 256 G + 65536 B."""
    values = pixels.astype(np.int32)
    return values if values.ndim == 2 else values[..., 0] + 256 * values[..., 1] + 65536 * values[..., 2]
