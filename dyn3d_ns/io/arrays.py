"""Images and array files, read with errors that name the file and the stage that writes it."""

from __future__ import annotations

import io
import threading
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
from jaxtyping import Int32, Shaped

from dyn3d_ns.io.atomic import atomic_open
from dyn3d_ns.io.damage import ARRAY_ERRORS, image_errors, numbers
from dyn3d_ns.io.errors import DamagedFileError, MissingFileError

_one_header = threading.Lock()
"""Held while numpy parses a header, which is a Python literal: Python 3.11 (cpython#106905) may raise a
SystemError when two threads parse at once."""


def load_npy(file: Path | IO[bytes], mmap_mode: Literal["r"] | None = None) -> Shaped[np.ndarray, "..."]:
    """Read an .npy, or map it into memory, without unpickling anything; from several threads as well.

    Raises:
        one of ARRAY_ERRORS: it is no .npy, not whole, or holds objects.
    """
    with _one_header:
        array = np.load(file, mmap_mode=mmap_mode, allow_pickle=False)
    if not isinstance(array, np.ndarray):
        array.close()
        raise ValueError("it holds several arrays")
    return array


def read_npy_header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype]:
    """Read shape and type of an .npy, up to where its values begin.

    Raises:
        one of ARRAY_ERRORS: it is no .npy.
    """
    version = np.lib.format.read_magic(file)
    first = version == (1, 0)
    read = np.lib.format.read_array_header_1_0 if first else np.lib.format.read_array_header_2_0
    with _one_header:
        shape, _, kind = read(file)
    return shape, kind


class Npz(Mapping[str, np.ndarray]):
    """An open .npz, whose arrays are read when they are asked for, without unpickling; a context manager.

    Raises:
        one of ARRAY_ERRORS: it is no .npz; and of an array, that it is not whole or holds objects.
    """

    def __init__(self, path: Path) -> None:
        self._archive = zipfile.ZipFile(path)
        self._members = {name.removesuffix(".npy"): name for name in self._archive.namelist()}

    def __enter__(self) -> Npz:
        return self

    def __exit__(self, *_: object) -> None:
        self._archive.close()

    def __getitem__(self, name: str) -> np.ndarray:
        # What takes long, to decompress, needs no lock.
        return load_npy(io.BytesIO(self._archive.read(self._members[name])))

    def __contains__(self, name: object) -> bool:
        # That of Mapping would read the array.
        return name in self._members

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)


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
        with Npz(path) as content:
            held = list(content)
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
