"""Masks of a clip, one file a frame: ids of objects, or where something is, by one rule for all of them.

Palette indices, whole numbers and exact colours are ids. Masks with soft edges (resized, blurred, feathered,
from JPEG or from a video) hold one object between black and white, or several ids that run into each other:
the first are cut at half, in the others each pixel between takes the nearest id. Which it is, is told from
the values of all files together, never from one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Int32, Shaped

from dyn3d_ns.io.arrays import ids_of, load_npy, read_png
from dyn3d_ns.io.damage import ARRAY_ERRORS, image_errors, numbers
from dyn3d_ns.io.errors import DamagedFileError, DatasetError
from dyn3d_ns.io.images import in_black_and_white

SUFFIXES = (".png", ".npy", ".webp", ".bmp", ".tif", ".tiff", ".jpg", ".jpeg")
_LOSSY = (".jpg", ".jpeg", ".webp")
_JPEG = (".jpg", ".jpeg")
_TINT = 16
"""Difference of channels up to which a picture that was stored with loss is grey."""
_GREY_CODE = 1 + 256 + 65536
_BLACK, _WHITE = 1 / 16, 15 / 16
"""Shares of the largest value up to which noise is black, and from which it is white."""
_TWO_VALUED = 128
"""Largest value from which grey masks of one object are black and white, not ids counted from 1."""
_SOLID, _MANY, _REACH = 0.25, 16, 8
"""Share of pixels amid others of their value below which values are transitions; values that are many; pixels
from white within which also a few values are transitions."""
_MOST_IDS = 1000
_MOST_MARKED = 0.6
"""Share of the pixels of a clip above which what moves may be taken for what stands still."""


class _Values(NamedTuple):
    """What the masks of a clip hold together, by value: grey, or R + 256 G + 65536 B."""

    counts: Counter[int]
    """Pixels."""
    solid: Counter[int]
    """Those whose eight neighbours have the same value."""
    near: Counter[int]
    """Those close to what is white."""
    grey: bool
    """Whether all are black, grey or white."""


class MaskFiles:
    """Reads the masks of one clip; files are looked at when first asked for."""

    def __init__(self, paths: Sequence[Path]) -> None:
        """Name the files, one a frame."""
        self.paths = list(paths)

    def ids(self, i: int) -> Int32[np.ndarray, "h w"]:
        """Read the ids of frame i; 0 is the background.

        Raises:
            DatasetError: a file is no mask, or they are masks of no kind.
        """
        codes = self._codes(i)
        if self.kind == "soft":
            return np.where(codes > self.codes[0] / 2, self.codes[0], 0).astype(np.int32)
        return _nearest_of(codes, [0, *self.codes]) if self.kind == "edges" else codes

    def on(self, i: int) -> Bool[np.ndarray, "h w"]:
        """Read where frame i is not background; of black and white masks what is lighter than half."""
        pixels = _pixels(self.paths[i])
        values = pixels if pixels.ndim == 2 else pixels.max(-1)
        top = values.max(initial=0)
        if top == 0 or _is_indexed(self.paths[i]) or not (top >= _TWO_VALUED or self._has_white):
            return values > 0
        return values > (127 if top < 256 else 32767)

    @property
    def kind(self) -> str:
        """What the files hold: ``ids``, one ``soft`` object, or ids with soft ``edges``."""
        return self._decided[0]

    @property
    def codes(self) -> list[int]:
        """The ids that there are, in order."""
        return self._decided[1]

    @property
    def note(self) -> str | None:
        """What was decided, where that is more than to take the values as ids, and whether most is marked."""
        where = f"the masks of {self.paths[0].parent}" if self.paths else ""
        told = []
        if self.kind == "soft":
            half = f"they were cut at half of {self.codes[0]}"
            told.append(f"{where} have soft edges or noise: {half}, and are one object")
        if self.kind == "edges":
            ids = len(self.codes)
            told.append(f"{where} have soft edges: values between its {ids} ids became the nearest id")
        marked = self._marked
        if marked > _MOST_MARKED:
            told.append(
                f"{where} mark {marked:.0%} of the pixels as moving: 0, black, is what stands still; invert "
                "them if it is the other way round"
            )
        return "; ".join(told) or None

    @property
    def _marked(self) -> float:
        """Share of the pixels that are no background."""
        counts = self._values.counts
        least = self.codes[0] / 2 if self.kind == "soft" else 0
        return sum(n for value, n in counts.items() if value > least) / max(counts.total(), 1)

    @cached_property
    def _decided(self) -> tuple[str, list[int]]:
        folder = self.paths[0].parent if self.paths else Path()
        counts, solid, near, grey = self._values
        codes = sorted(value for value in counts if value != 0)
        jpeg = any(path.suffix.lower() in _JPEG for path in self.paths)
        top = codes[-1] if codes else 0
        if codes and codes[0] < 0:
            raise DatasetError(f"{folder} holds negative ids; 0 is static, objects have positive numbers")
        if grey and top >= _TWO_VALUED:
            between = [v for v in codes if _BLACK * top < v < _WHITE * top]
            pixels = sum(counts[v] for v in between)
            faint = sum(solid[v] for v in between) < _SOLID * pixels
            close = len(between) > _MANY or sum(near[v] for v in between) > 0.9 * pixels
            if (faint and close) or (jpeg and not pixels):
                return "soft", [top]
        if jpeg and codes:
            raise DatasetError(
                f"{folder}: JPEG does not keep ids, and these masks are not black and white; write PNG"
            )
        firm = [v for v in codes if solid[v] >= _SOLID * counts[v]]
        marked = sum(counts[v] for v in codes)
        if firm and len(codes) - len(firm) > max(_MANY, 4 * len(firm)):
            if sum(counts[v] for v in firm) > _SOLID * marked:
                return "edges", firm
            raise DatasetError(_no_masks(folder, len(codes)))
        if len(codes) > _MOST_IDS or (len(codes) > _MANY and sum(solid[v] for v in codes) < _SOLID * marked):
            raise DatasetError(_no_masks(folder, len(codes)))
        return "ids", codes

    @cached_property
    def _values(self) -> _Values:
        counts, solid, near = Counter[int](), Counter[int](), Counter[int]()
        grey = not any(_is_indexed(path) for path in self.paths)
        for path in self.paths:
            pixels = _pixels(path)
            values = ids_of(pixels)
            grey = grey and (pixels.ndim == 2 or _is_grey(pixels, path))
            same = _amid_same(values)
            top = values.max(initial=0)
            close = _within(values > _WHITE * top, _REACH) if top >= _TWO_VALUED else np.zeros_like(same)
            for counter, kept in ((counts, values), (solid, values[same]), (near, values[close])):
                found, times = np.unique(kept, return_counts=True)
                counter.update(dict(zip(found.tolist(), times.tolist(), strict=True)))
        if grey:
            counts, solid, near = (_in_grey(counter) for counter in (counts, solid, near))
        return _Values(counts, solid, near, grey)

    @cached_property
    def _has_white(self) -> bool:
        """Whether a file tells that masks are black and white, so that faint values elsewhere are noise."""
        jpeg = any(path.suffix.lower() in _JPEG for path in self.paths)
        return jpeg or any(_pixels(path).max(initial=0) >= _TWO_VALUED for path in self.paths)

    def _codes(self, i: int) -> Int32[np.ndarray, "h w"]:
        pixels = _pixels(self.paths[i])
        if self._values.grey and pixels.ndim == 3:
            return pixels[..., 1].astype(np.int32)
        return ids_of(pixels)


def _no_masks(folder: Path, values: int) -> str:
    return (
        f"{folder} holds {values} different values, as pictures do, so no masks: neither ids of objects nor "
        "black and white; give one of the two (of cut-outs their alpha)"
    )


def _pixels(path: Path) -> Shaped[np.ndarray, "h w *c"]:
    """Read indices, grey values or RGB; what is transparent is background.

    Raises:
        DatasetError: it is neither an image nor an array of one, three or four channels.
    """
    if path.suffix.lower() == ".npy":
        try:
            values = load_npy(path)
        except ARRAY_ERRORS as error:
            raise DamagedFileError(f"{path} is not a readable array ({error}); write it again") from error
    else:
        values = read_png(path, "L" if _palette(path) == "grey" else None, "masks")
    values = numbers(values, path)
    if values.ndim == 4 or (values.ndim == 3 and 1 in (values.shape[0], values.shape[2])):
        values = np.squeeze(values)
    if values.ndim != 2 and not (values.ndim == 3 and values.shape[2] in (2, 3, 4)):
        raise DamagedFileError(f"{path} has the shape {values.shape}; a mask is [H, W] or [H, W, 3]")
    if values.dtype.kind == "f":
        values = _of_floats(path, values)
    if values.ndim == 3 and values.shape[2] in (2, 4):
        colors, alpha = values[..., :-1], values[..., -1]
        if alpha.min(initial=255) < 255 and (colors == colors[:1, :1]).all():
            return alpha
        values = np.where(alpha[..., None] > 127, colors, 0)
        values = values[..., 0] if values.shape[2] == 1 else values
    return values.astype(np.uint8) if values.dtype == bool else values


def _of_floats(path: Path, values: np.ndarray) -> np.ndarray:
    """Return whole numbers as they are, and shares in [0, 1] as grey values."""
    if not np.isfinite(values).all():
        raise DamagedFileError(f"{path} holds numbers that are not finite; give ids, or shares in [0, 1]")
    if (values == np.rint(values)).all() and values.max(initial=0) > 1:
        return values.astype(np.int64)
    if values.min(initial=0) < 0 or values.max(initial=0) > 1:
        raise DamagedFileError(f"{path} holds fractions beyond [0, 1]; give ids, or shares in [0, 1]")
    return np.rint(255 * values).astype(np.uint8)


def _is_indexed(path: Path) -> bool:
    """Tell whether an image has a palette whose numbers are ids."""
    return _palette(path) == "ids"


def _palette(path: Path) -> Literal["ids", "grey"] | None:
    """Return what an image's palette holds, None where it has none: ids, or nothing but black and white."""
    from PIL import Image

    if path.suffix.lower() == ".npy":
        return None
    try:
        with Image.open(path) as image:
            return None if image.mode != "P" else "ids" if in_black_and_white(image).mode == "P" else "grey"
    except image_errors() as error:
        raise DamagedFileError(f"{path} is not a readable image ({error}); write it again") from error


def _is_grey(pixels: Shaped[np.ndarray, "h w 3"], path: Path) -> bool:
    tint = np.ptp(pixels.astype(np.int32), axis=-1).max(initial=0)
    return bool(tint <= (_TINT if path.suffix.lower() in _LOSSY else 0))


def _in_grey(counter: Counter[int]) -> Counter[int]:
    """Return the counts by grey value where some are by colour."""
    found: Counter[int] = Counter()
    for value, count in counter.items():
        found[value >> 8 & 255 if value >= 65536 else value] += count
    return found


def _amid_same(values: Int32[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """Return the pixels whose eight neighbours have their value; none at the border."""
    found = np.zeros(values.shape, bool)
    if min(values.shape) > 2:
        rows = (values[:, 1:-1] == values[:, :-2]) & (values[:, 1:-1] == values[:, 2:])
        middle = values[:, 1:-1]
        same = (middle[1:-1] == middle[:-2]) & (middle[1:-1] == middle[2:])
        found[1:-1, 1:-1] = rows[1:-1] & rows[:-2] & rows[2:] & same
    return found


def _within(mask: Bool[np.ndarray, "h w"], pixels: int) -> Bool[np.ndarray, "h w"]:
    import cv2

    return cv2.dilate(mask.astype(np.uint8), np.ones((2 * pixels + 1,) * 2, np.uint8)) > 0


def _nearest_of(values: Int32[np.ndarray, "h w"], codes: Sequence[int]) -> Int32[np.ndarray, "h w"]:
    """Give each pixel that has none of the ids that of the nearest pixel that has one."""
    import cv2

    known = np.isin(values, codes)
    if known.all() or not known.any():
        return np.where(known, values, 0).astype(np.int32)
    _, found = cv2.distanceTransformWithLabels(
        (~known).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    labels = np.asarray(found, dtype=np.intp)
    of_label = np.zeros(int(labels.max()) + 1, np.int32)
    of_label[labels[known]] = values[known]
    return of_label[labels]
