"""What a file or folder was recognised as, and helpers for those who recognise one."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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
    """List the images of a folder in the natural order of their names; none if it is no folder."""
    if not folder.is_dir():
        return []
    found = (p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file())
    return sorted(found, key=natural_order)


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
    except OSError:
        return f"unknown ({image.name} cannot be read)"


def image_sizes(images: list[Path]) -> tuple[int, int]:
    """Return width and height that all images share; only their headers are read.

    Raises:
        DamagedFileError: one cannot be read.
        ImageSizeError: they differ.
    """
    from PIL import Image

    first: tuple[int, int] | None = None
    for path in images:
        try:
            with Image.open(path) as file:
                size = file.size
        except OSError as error:
            raise DamagedFileError(
                f"{path} is not a readable image ({error}); restore it from the original"
            ) from error
        first = first or size
        if size != first:
            raise ImageSizeError(
                f"{path} is {size[0]}x{size[1]}, {images[0].name} {first[0]}x{first[1]}; the frames of a "
                "video share one size: cut it where its size changes, or resize them"
            )
    assert first is not None
    return first


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON object; an empty one where there is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
