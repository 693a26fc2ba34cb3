"""PlayCanvas' SOG: images of quantised values and a meta.json, in a folder or in one zip file."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from scipy.special import expit

from dyn3d_ns.io.damage import ARRAY_ERRORS, CONTENT_ERRORS, JSON_ERRORS, image_errors, is_number
from dyn3d_ns.io.errors import DamagedFileError, MissingFileError, UnsafePathError
from dyn3d_ns.io.splat_files.compressed_ply import smallest_three
from dyn3d_ns.io.splat_files.table import MAX_GAUSSIANS, Table

META = "meta.json"
_TERMS = (0, 3, 8, 15)
_PALETTE = 64
"""Entries of the palette of colours in a row of its image."""
_MAX_META, _MAX_IMAGE = 1 << 22, 1 << 30
"""Bytes of a file within."""
Load = Callable[[str, int], bytes]


def read_sog(path: Path) -> Table:
    """Read a SOG file, or a folder with its meta.json and images; of version 1 or 2.

    Raises:
        DatasetError: a part is missing or damaged.
    """
    if path.is_dir():
        return _read(path, lambda name, most: _from_folder(path, name, most))
    try:
        with zipfile.ZipFile(path) as archive:
            return _read(path, lambda name, most: _from_zip(archive, path, name, most))
    except (zipfile.BadZipFile, EOFError) as error:
        raise DamagedFileError(f"{path} is no whole zip file ({error}); copy it again") from error


def _from_folder(folder: Path, name: str, most: int) -> bytes:
    file = folder / name
    if not file.is_file():
        raise MissingFileError(f"{file} does not exist; copy the folder again")
    if file.stat().st_size > most:
        raise DamagedFileError(f"{file} is larger than the {most} bytes that it may have")
    return file.read_bytes()


def _from_zip(archive: zipfile.ZipFile, path: Path, name: str, most: int) -> bytes:
    found = [entry for entry in archive.namelist() if entry.rpartition("/")[2] == name]
    if not found:
        raise MissingFileError(f"{path} holds no {name}; export it again")
    try:
        with archive.open(min(found, key=len)) as file:
            data = file.read(most + 1)
    except ARRAY_ERRORS as error:
        raise DamagedFileError(f"{path}: {name} is damaged ({error}); copy it again") from error
    if len(data) > most:
        raise DamagedFileError(f"{path}: {name} is larger than the {most} bytes that it may have")
    return data


def _read(path: Path, load: Load) -> Table:
    try:
        meta = json.loads(load(META, _MAX_META))
    except JSON_ERRORS as error:
        if isinstance(error, (DamagedFileError, MissingFileError)):
            raise
        raise DamagedFileError(f"{path}: its {META} is not valid JSON ({error})") from error
    try:
        return _decode(_Reader(path, load, meta))
    except CONTENT_ERRORS as error:
        if isinstance(error, (DamagedFileError, MissingFileError, UnsafePathError)):
            raise
        said = str(error).partition("\n")[0] or type(error).__name__
        raise DamagedFileError(f"{path}: its {META} lacks something or is damaged ({said})") from error


class _Reader:
    """The images and numbers that a meta.json names."""

    def __init__(self, path: Path, load: Load, meta: dict[str, Any]) -> None:
        self.path, self.load, self.meta = path, load, meta
        self.version = meta.get("version", 1)
        if self.version not in (1, 2):
            raise DamagedFileError(f"{path} is SOG of version {self.version!r:.20}; 1 and 2 can be read")
        count = meta["count"] if self.version == 2 else meta["means"]["shape"][0]
        if type(count) is not int or not 0 <= count <= MAX_GAUSSIANS:
            raise DamagedFileError(
                f"{path} states {count!r:.40} Gaussians; up to {MAX_GAUSSIANS} can be read"
            )
        self.count: int = count

    def image(self, part: str, index: int = 0, pixels: int | None = None) -> UInt8[np.ndarray, "H W 4"]:
        """Decode an image that holds at least so many pixels, by default one for each Gaussian."""
        from PIL import Image

        name = str(self.meta[part]["files"][index])
        if Path(name).name != name or "\\" in name:
            raise UnsafePathError(f"{self.path} names {name!r:.80}, which is no file beside its {META}")
        needed = self.count if pixels is None else pixels
        try:
            with Image.open(io.BytesIO(self.load(name, _MAX_IMAGE)), formats=("WEBP", "PNG")) as image:
                width, height = image.size
                if not needed <= width * height <= max(2 * needed, 1 << 20):
                    raise DamagedFileError(
                        f"{self.path}: {name} has {width}x{height} pixels for {needed} values"
                    )
                return np.asarray(image.convert("RGBA"))
        except image_errors() as error:
            if isinstance(error, (DamagedFileError, MissingFileError)):
                raise
            raise DamagedFileError(
                f"{self.path}: {name} is no whole image ({error}); copy it again"
            ) from error

    def rows(self, part: str, index: int = 0) -> UInt8[np.ndarray, "N 4"]:
        """Return the pixels of an image, one for each Gaussian."""
        return self.image(part, index).reshape(-1, 4)[: self.count]

    def numbers(self, part: str, name: str, count: int) -> Float[np.ndarray, "_"]:
        """Return so many numbers of a part."""
        values = self.meta[part][name]
        values = values if isinstance(values, list) else [values] * count
        if len(values) < count or not all(is_number(value) for value in values[:count]):
            raise DamagedFileError(f"{self.path}: `{part}.{name}` must hold {count} numbers")
        return np.asarray(values[:count], np.float64)

    def looked_up(self, part: str, codes: UInt8[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
        """Return what codes of a byte stand for: entries of a codebook, or steps between two bounds."""
        if self.version == 2:
            return self.numbers(part, "codebook", 256)[codes]
        channels = codes.shape[-1] if isinstance(self.meta[part]["mins"], list) else 1
        low, high = (self.numbers(part, name, channels) for name in ("mins", "maxs"))
        return low + (high - low) * (codes / 255)


def _decode(file: _Reader) -> Table:
    low, high = (file.rows("means", i)[:, :3].astype(np.float64) for i in (0, 1))
    first, last = (file.numbers("means", name, 3) for name in ("mins", "maxs"))
    logs = first + (last - first) * ((low + 256 * high) / 65535)
    quats = file.rows("quats")
    colours = file.rows("sh0")
    if file.version == 2:
        dc, opacities = file.looked_up("sh0", colours[:, :3]), colours[:, 3] / 255
    else:
        values = file.looked_up("sh0", colours)
        dc, opacities = values[:, :3], expit(values[:, 3])
    tags = quats[:, 3].astype(np.int64) - 252
    turns = smallest_three((quats[:, :3] / 255 * 2 - 1) / 2**0.5, tags)
    turns[tags < 0] = [1, 0, 0, 0]
    notes = ()
    blank = int((opacities == 0).sum()) if file.version == 2 else 0
    if blank:
        notes = (f"{blank} Gaussians of opacity 0, whose colours the images do not keep",)
    with np.errstate(over="ignore"):
        means = np.sign(logs) * np.expm1(np.abs(logs))
        scales = np.exp(file.looked_up("scales", file.rows("scales")[:, :3]))
    return Table(
        means=means.astype(np.float32),
        quats=turns,
        scales=scales,
        opacities=opacities,
        sh=np.concatenate([dc[:, None], _harmonics(file)], axis=1).astype(np.float32),
        notes=notes,
        sorted_by_place=True,
    )


def _harmonics(file: _Reader) -> Float[np.ndarray, "N K 3"]:
    """Return the colours that depend on the view, which each Gaussian takes out of a palette."""
    if not file.meta.get("shN"):
        return np.zeros((file.count, 0, 3))
    palette = file.image("shN", 0, pixels=1)
    terms, left = divmod(palette.shape[1], _PALETTE)
    if left or terms not in _TERMS[1:]:
        raise DamagedFileError(
            f"{file.path}: its palette of colours is {palette.shape[1]} wide; it must be 192, 512 or 960"
        )
    labels = file.rows("shN", 1).astype(np.int64)
    entries = labels[:, 0] + 256 * labels[:, 1]
    if len(entries) and entries.max() >= palette.shape[0] * _PALETTE:
        raise DamagedFileError(f"{file.path}: colours lie beyond its palette; export it again")
    values = file.looked_up("shN", palette[..., :3]).reshape(-1, terms, 3)
    return values[entries]
