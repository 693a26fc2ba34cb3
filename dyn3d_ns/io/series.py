"""Which files of a folder are the frames: one series of pictures, told by what the names have in common.

Names that differ by their numbers alone are a series (``rgba_00000.png``, ``rgba_00001.png``, …); a number
that names a camera (``cam0_0001.png``) counts as part of the name. Hidden files, macOS's ``._`` ones among
them, are never looked at.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from pathlib import Path
from typing import NamedTuple

from dyn3d_ns.io.errors import DatasetError
from dyn3d_ns.io.recognised import images_in, natural_order

_PICTURES = frozenset(
    re.findall(
        r"\w+",
        "rgb rgba color colors colour colours image images img frame frames picture pictures photo beauty "
        "combined final",
    )
)
_OTHERS = frozenset(
    re.findall(
        r"\w+",
        "depth depths disp disparity normal normals mask masks matte alpha trimap seg segm segmentation "
        "segmentations semantic semantics instance instances label labels annotation annotations id ids "
        "object objects flow flows forward backward fwd bwd albedo diffuse specular glossy emission shadow "
        "shadows ao uv motion vector vectors conf confidence error edge edges visibility occlusion "
        "occlusions thumb thumbs thumbnail thumbnails preview previews overlay overlays vis viz heatmap "
        "background",
    )
)
"""Words in the names of what simulators and tools write beside pictures."""
_CAMERA = re.compile(r"((?:cam|camera|view|eye|sensor|angle|channel)[ _\-]?)(\d+)")
_SAME_FORMAT = {".jpeg": ".jpg", ".tiff": ".tif"}
_LETTERS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
"""Digits that are part of a name, out of reach of what looks for numbers."""
_UNNUMBERED = "*"


class Series(NamedTuple):
    """The frames of a folder, in natural order."""

    images: list[Path]
    note: str | None
    """What was left out, and by which rule; None if nothing was."""


def picture_series(folder: Path) -> Series:
    """Return the frames of a folder; none if it holds no image.

    Where it holds several series, that of the pictures is taken: the only one not named for anything else
    (depth, mask, …), the only one named for pictures (rgb, color, image, frame, … or a number alone), the
    only one in colour, or one with twice as many files as any other.

    Raises:
        DatasetError: it is not plain which one is meant.
    """
    files = images_in(folder)
    groups = _grouped(files)
    other = any(_words(name) & _OTHERS for name in groups)
    if len(groups) < 2 or (not other and len(files) < 2 * len(groups)):
        # Names that follow no pattern tell nothing.
        if len(groups) < 2:
            return Series(files, None)
        odd = f"the names in {folder} follow no pattern: its images are taken in their order, {_shown(files)}"
        return Series(files, odd)
    chosen = _chosen(groups)
    if chosen is None:
        raise DatasetError(
            f"{folder} holds several series of images: {_listed(groups)}; put the frames of one into a "
            "folder of their own"
        )
    left = {name: found for name, found in groups.items() if name != chosen}
    return Series(
        groups[chosen],
        f"{folder} holds several series of images: {_shown(groups[chosen])} is taken, left out: "
        f"{_listed(left)}",
    )


def _grouped(files: list[Path]) -> dict[str, list[Path]]:
    """Return files by what is the same in the names of a series."""
    groups: dict[str, list[Path]] = defaultdict(list)
    for path in files:
        groups[_pattern(path)].append(path)
    # One series whose frames are in several formats.
    by_stem: dict[str, list[str]] = defaultdict(list)
    for name in groups:
        by_stem[name.rpartition(".")[0]].append(name)
    for names in by_stem.values():
        stems = Counter(path.stem for name in names for path in groups[name])
        if len(names) > 1 and max(stems.values()) == 1:
            joined = sorted((path for name in names for path in groups.pop(name)), key=natural_order)
            groups[names[0]] = joined
    return dict(groups)


def _pattern(path: Path) -> str:
    """Return a name with ``#`` for its numbers, but those of cameras."""
    suffix = path.suffix.lower()
    suffix = _SAME_FORMAT.get(suffix, suffix)
    stem = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", path.stem).lower()
    numbers = len(re.findall(r"\d+", stem))
    if numbers == 0 and not _words(stem) & _OTHERS:
        return _UNNUMBERED + suffix
    if numbers > 1:
        stem = _CAMERA.sub(lambda found: found[1] + found[2].translate(_LETTERS), stem)
    return re.sub(r"[0-9]+", "#", stem) + suffix


def _words(name: str) -> set[str]:
    return set(re.findall(r"[a-z]+", name.rpartition(".")[0] or name))


def _chosen(groups: dict[str, list[Path]]) -> str | None:
    """Return the name of the series of pictures; None where it is not plain."""
    clips = [name for name, found in groups.items() if len(found) > 1]
    numbered = [name for name in clips if not name.startswith(_UNNUMBERED)] or clips
    plain = [name for name in numbered if not _words(name) & _OTHERS]
    named = [name for name in plain if _words(name) & _PICTURES or not _words(name)]
    for names in (plain, named, _in_colour(named or plain, groups)):
        if len(names) == 1:
            return names[0]
    ranked = sorted(plain or numbered, key=lambda name: len(groups[name]), reverse=True)
    if len(ranked) == 1 or (ranked and len(groups[ranked[0]]) >= 2 * len(groups[ranked[1]])):
        return ranked[0]
    return None


def _in_colour(names: list[str], groups: dict[str, list[Path]]) -> list[str]:
    """Return the series whose first image is in colour: beside grey ones and palettes it is the picture."""
    from PIL import Image

    found = []
    for name in names:
        try:
            with Image.open(groups[name][0]) as image:
                if image.mode not in ("1", "L", "LA", "P", "I", "F") and not image.mode.startswith("I;16"):
                    found.append(name)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            # Whoever reads it says what is wrong with it.
            continue
    return found


def _listed(groups: dict[str, list[Path]]) -> str:
    ranked = sorted(groups, key=lambda name: (bool(_words(name) & _OTHERS), -len(groups[name])))
    parts = [_shown(groups[name]) for name in ranked]
    return ", ".join(parts[:6]) + (f" and {len(parts) - 6} more" if len(parts) > 6 else "")


def _shown(files: list[Path]) -> str:
    return files[0].name if len(files) == 1 else f"{files[0].name} … ({len(files)})"
