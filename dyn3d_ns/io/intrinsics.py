"""Intrinsics and lenses as transforms files state them: of all frames, of a camera, of a frame."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import Float64

from dyn3d_ns.geometry.lenses import COEFFICIENTS, Lens, Undistortion, undistortion
from dyn3d_ns.io.damage import is_number
from dyn3d_ns.io.errors import DamagedFileError, DatasetError, ImageSizeError

_FOCALS = ("camera_angle_x", "camera_angle_y", "fl_x", "fl_y")
_NUMBERS = (*_FOCALS, "cx", "cy", "w", "h", "fisheye_crop_radius", *COEFFICIENTS)
_OTHER_LENSES = ("ftheta_p0", "latlong", "equirectangular", "orthographic")
"""Keys of instant-ngp that mean a lens of another kind."""
_BROWN = ("k1", "k2", "k3", "k4", "p1", "p2")
"""Nerfstudio's order in `distortion_params`."""


@dataclass(frozen=True)
class Intrinsics:
    """Intrinsics as a transforms file states them; what it does not state is None."""

    camera_angle_x: float | None = None
    camera_angle_y: float | None = None
    fl_x: float | None = None
    fl_y: float | None = None
    cx: float | None = None
    cy: float | None = None
    w: int | None = None
    h: int | None = None
    lens: Lens = Lens()
    radius: float | None = None
    """Pixels around the centre of a fisheye's image that hold something."""

    @property
    def in_pixels(self) -> bool:
        """Whether the size of the images matters, which is not stated."""
        pixels = (self.fl_x, self.fl_y, self.cx, self.cy, self.radius)
        return self.w is None and self.h is None and any(value is not None for value in pixels)

    def stated_size(self, width: int, height: int) -> tuple[float, float]:
        """Return the width and height that the file means, given those of an image.

        Raises:
            ImageSizeError: the two are not of the same proportion, up to a pixel.
        """
        if self.w is None and self.h is None:
            return width, height
        w = self.w or width * (self.h or height) / height
        h = self.h or height * w / width
        if not same_proportion((w, h), (width, height)):
            raise ImageSizeError(
                f"is {width}x{height}, but its file expects {w:g}x{h:g} or the same made smaller or larger; "
                "resize it, or correct `w`, `h` and the focal length"
            )
        return w, h

    def resolve(self, width: int, height: int) -> tuple[float, float, float, float]:
        """Return fx, fy, cx, cy in pixels for images of a size (pixel centres at +0.5), the lens included.

        What the file states of a larger or smaller size is brought to it.

        Raises:
            ImageSizeError: the images are of another proportion than the file states, or the principal point
                lies outside of them and the file does not say what size it is meant for.
        """
        w, h = self.stated_size(width, height)
        fx = self._focal(width, w, self.fl_x, self.camera_angle_x)
        fy = self._focal(height, h, self.fl_y, self.camera_angle_y)
        if fx is None and fy is not None:
            # Square pixels, in the size that the file states.
            fx = fy * (width / w) / (height / h)
        if fy is None and fx is not None:
            fy = fx * (height / h) / (width / w)
        assert fx is not None and fy is not None
        cx = width / 2 if self.cx is None else self.cx * width / w
        cy = height / 2 if self.cy is None else self.cy * height / h
        if self.in_pixels and not (0 <= cx <= width and 0 <= cy <= height):
            raise ImageSizeError(
                f"is {width}x{height}, which its principal point ({cx:g}, {cy:g}) lies outside of; state the "
                "`w` and `h` of the images that `fl_x`, `cx` and `cy` are meant for"
            )
        return fx, fy, cx, cy

    @staticmethod
    def _focal(side: int, stated: float, focal: float | None, angle: float | None) -> float | None:
        if focal is not None:
            return focal * side / stated
        return None if angle is None else 0.5 * side / math.tan(0.5 * angle)


def same_proportion(one: tuple[float, float], other: tuple[float, float]) -> bool:
    """Return whether a width and height are another's made smaller or larger, up to a pixel for rounding."""
    (w, h), (width, height) = sorted((one, other), reverse=True)
    if w == width or h == height:  # made smaller, one side alone is cut off
        return (w, h) == (width, height)
    return abs(width - w * height / h) <= 1 or abs(height - h * width / w) <= 1


@lru_cache(maxsize=4096)
def pinhole_of(
    intrinsics: Intrinsics, width: int, height: int
) -> tuple[tuple[float, float, float, float], Undistortion | None]:
    """Return fx, fy, cx, cy of images of a size once their lens is undone, and how; None if there is none.

    Raises:
        ImageSizeError: as ``Intrinsics.resolve``.
        DatasetError: the lens cannot be undone.
    """
    fx, fy, cx, cy = intrinsics.resolve(width, height)
    radius = intrinsics.radius
    if radius is not None:
        radius *= width / intrinsics.stated_size(width, height)[0]
    try:
        undo = undistortion(intrinsics.lens, matrix_of(fx, fy, cx, cy), (width, height), radius)
    except ValueError as error:
        raise DatasetError(f"cannot be undistorted: {error}; correct the coefficients") from error
    if undo is None:
        return (fx, fy, cx, cy), None
    return (fx * undo.zoom, fy * undo.zoom, cx, cy), undo


def matrix_of(fx: float, fy: float, cx: float, cy: float) -> Float64[np.ndarray, "3 3"]:
    """Return the matrix of intrinsics without skew."""
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]])


def merged(outer: Mapping[str, Any], inner: Mapping[str, Any]) -> dict[str, Any]:
    """Return what holds for a frame, or a camera, that states some things itself and others with its file.

    A focal length of its own, in pixels or as an angle, takes the place of all that the file has.
    """
    own = any(inner.get(key) is not None for key in _FOCALS)
    return {key: value for key, value in outer.items() if not (own and key in _FOCALS)} | {
        key: value for key, value in inner.items() if value is not None
    }


def read_intrinsics(content: Mapping[str, Any], where: object) -> Intrinsics:
    """Read and check the intrinsics that hold for a frame.

    Args:
        content: The frame's own entries over those of its file.
        where: The place in the file, for messages.

    Raises:
        DamagedFileError: there is no focal length, or one of the values is none.
        DatasetError: the lens is of a kind that is not read.
    """
    values = _numbers(content, _NUMBERS, where)
    focals = {key: value for key in _FOCALS if (value := values[key]) is not None}
    if not focals:
        raise DamagedFileError(
            f"{where} has neither `camera_angle_x` (radians) nor `fl_x` (pixels); state one in the file, "
            "or in every frame"
        )
    for key, value in focals.items():
        if key.startswith("fl") and value <= 0:
            raise DamagedFileError(f"{where}: focal lengths must be positive, got {key} {value}")
        if key.startswith("camera") and not 0 < value < math.pi:
            raise DamagedFileError(f"{where}: `{key}` must lie in (0, pi) radians, got {value}")
    w, h = (None if values[k] is None else round(values[k] or 0) for k in ("w", "h"))
    if (w is not None and w < 1) or (h is not None and h < 1):
        raise DamagedFileError(f"{where}: `w` and `h` must be at least 1 pixel, got {w} and {h}")
    lens = read_lens(content, where)
    return Intrinsics(
        **{key: values[key] for key in (*_FOCALS, "cx", "cy")},
        w=w,
        h=h,
        lens=lens,
        radius=values["fisheye_crop_radius"] if lens.is_fisheye else None,
    )


def _numbers(content: Mapping[str, Any], keys: Sequence[str], where: object) -> dict[str, float | None]:
    values: dict[str, float | None] = {}
    for key in keys:
        value = content.get(key)
        if value is not None and not is_number(value):
            raise DamagedFileError(f"{where}: `{key}` must be a finite number, got {value!r}")
        values[key] = value
    return values


def read_lens(content: Mapping[str, Any], where: object) -> Lens:
    """Read the lens that holds for a frame; arguments and errors are those of :func:`read_intrinsics`."""
    values = _numbers(content, COEFFICIENTS, where)
    other = [key for key in _OTHER_LENSES if content.get(key)]
    if other:
        raise DatasetError(f"{where}: `{other[0]}` is a lens that is not read; make pinhole images of it")
    coefficients: dict[str, float] = {key: value for key in COEFFICIENTS if (value := values[key])}
    listed = content.get("distortion_params")
    if listed is not None:
        if not isinstance(listed, list) or len(listed) != len(_BROWN) or not all(map(is_number, listed)):
            raise DamagedFileError(
                f"{where}: `distortion_params` must be six numbers, {' '.join(_BROWN)}, got {listed!r:.80}"
            )
        coefficients = {key: float(value) for key, value in zip(_BROWN, listed, strict=True)}
    model = content.get("camera_model")
    if model is None:
        model = "OPENCV_FISHEYE" if content.get("is_fisheye") else "OPENCV" if coefficients else "PINHOLE"
    if not isinstance(model, str):
        raise DamagedFileError(f"{where}: `camera_model` must be a name, got {model!r:.80}")
    try:
        lens = Lens.named(model, coefficients)
    except ValueError as error:
        raise DatasetError(
            f"{where}: {error}; make pinhole images of it, as with `colmap image_undistorter`"
        ) from error
    if content.get("is_fisheye") and not lens.is_fisheye:
        raise DatasetError(
            f"{where} says `is_fisheye`, but its `camera_model` {model} is none; correct either"
        )
    return lens
