"""What a file or folder was recognised as, and helpers for those who recognise one."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dyn3d_ns.io.damage import JSON_ERRORS, image_errors
from dyn3d_ns.io.errors import DamagedFileError, ImageSizeError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
VIDEO_SUFFIXES = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v")


@dataclass
class Recognised:
    """What something on disk is, and what can be done with it."""

    layout: str
    facts: dict[str, str] = field(default_factory=dict)
    """Names and values, in the order in which to show them."""
    missing: list[str] = field(default_factory=list)
    """What the layout would hold and is not there."""
    use: list[str] = field(default_factory=list)
    """Commands that take it."""
    notes: list[str] = field(default_factory=list)
    """What a user should know of how it is read."""


def images_in(folder: Path) -> list[Path]:
    """List the images of a folder in natural order; none if it is no folder. Hidden files are none."""
    return files_in(folder, IMAGE_SUFFIXES)


def videos_in(folder: Path) -> list[Path]:
    """List the videos of a folder in natural order; none if it is no folder. Hidden files are none."""
    return files_in(folder, VIDEO_SUFFIXES)


def files_in(folder: Path, suffixes: Iterable[str]) -> list[Path]:
    """List the files of a folder with one of the endings, in natural order; none if it is no folder.

    Hidden files, such as the ``._`` files that macOS leaves beside others, are none.
    """
    if not folder.is_dir():
        return []
    kept = tuple(suffixes)
    found = (p for p in folder.iterdir() if p.suffix.lower() in kept and not p.name.startswith("."))
    return sorted((p for p in found if p.is_file()), key=natural_order)


def natural_order(path: Path) -> list[tuple[int, int | str]]:
    """Return a key that sorts frame2 before frame10, by the whole path."""
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in re.split(r"(\d+)", path.as_posix())]


def number_of(path: Path) -> int | None:
    """Return the last number in a file's name, which frames and their maps share; None without any."""
    digits = re.findall(r"\d+", path.stem)
    return int(digits[-1]) if digits else None


def image_size(image: Path) -> str:
    """Return an image's size as text."""
    from PIL import Image

    try:
        with Image.open(image) as file:
            return f"{file.size[0]}x{file.size[1]}"
    except image_errors():
        return f"unknown ({image.name} cannot be read)"


def image_sizes(images: list[Path]) -> tuple[int, int]:
    """Return width and height that all images share; only their headers are read.

    Pixels count as they are stored, as for COLMAP and Nerfstudio; images that EXIF turns are told.

    Raises:
        DamagedFileError: one cannot be read.
        ImageSizeError: they differ.
    """
    from PIL import Image

    from dyn3d_ns.io.images import is_turned

    first: tuple[int, int] | None = None
    turned: list[Path] = []
    for path in images:
        try:
            with Image.open(path) as file:
                size = file.size
                if is_turned(file):
                    turned.append(path)
        except image_errors() as error:
            raise DamagedFileError(
                f"{path} is not a readable image ({error}); restore it from the original"
            ) from error
        first = first or size
        if size != first:
            raise ImageSizeError(
                f"{path} is {size[0]}x{size[1]}, {images[0].name} {first[0]}x{first[1]}; the frames of a "
                "video share one size: cut it where its size changes, or resize them"
            )
    if turned:
        print(
            f"{turned[0]} ({len(turned)} of {len(images)} images) is turned by its EXIF data; its pixels are "
            "taken as they are stored, as COLMAP and Nerfstudio take them: write the images upright if their "
            "cameras and maps are for that",
            file=sys.stderr,
        )
    assert first is not None
    return first


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON object; an empty one where there is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except JSON_ERRORS:
        return {}
    return content if isinstance(content, dict) else {}
