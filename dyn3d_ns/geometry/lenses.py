"""Lenses that bend the picture, and images as a pinhole camera in their place sees them.

Lenses are those of OpenCV, under COLMAP's names. Intrinsics here have the first pixel's centre at 0.5, as
COLMAP's and Nerfstudio's have; OpenCV's own, with it at 0, occur only where its functions are called.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from jaxtyping import Float32, Float64, Shaped, UInt8

from dyn3d_ns.geometry.cameras import HALF_PIXEL, project, scale_intrinsics, shift_pixel_centers, unproject

_PINHOLES = ("PINHOLE", "SIMPLE_PINHOLE", "PERSPECTIVE")
_RADIALS = ("OPENCV", "SIMPLE_RADIAL", "RADIAL", "FULL_OPENCV")
_FISHEYES = ("OPENCV_FISHEYE", "SIMPLE_RADIAL_FISHEYE", "RADIAL_FISHEYE", "FISHEYE", "SIMPLE_FISHEYE")
MODELS = (*_PINHOLES, *_RADIALS, *_FISHEYES)
"""Names of the camera models that are read: Nerfstudio's and COLMAP's."""
_RATIONAL = ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6")
"""OpenCV's order; only FULL_OPENCV has more than the first five."""
_EQUIDISTANT = ("k1", "k2", "k3", "k4")
COEFFICIENTS = tuple(sorted({*_RATIONAL, *_EQUIDISTANT}))
"""What the coefficients are called."""
_UNSEEN = 0.1
"""Pixels that a lens may move the border of an image by and still count as none."""
_STRETCH = 8.0
"""Times that a picture may be longer, away from the principal point, than what of the lens it shows: that of
a fisheye is so at 69 degrees off its axis, that of a polynomial shortly before it turns back."""
_ZOOMS = (8.0, 0.1)
"""Focal lengths that are tried, in those of the lens."""


@dataclass(frozen=True)
class Lens:
    """How a camera departs from a pinhole, whatever the size of its images."""

    model: str = "PINHOLE"
    coefficients: tuple[float, ...] = (0.0,) * len(_RATIONAL)
    """In OpenCV's order: k1 k2 p1 p2 k3 k4 k5 k6, or k1 k2 k3 k4 of a fisheye."""

    @classmethod
    def named(cls, model: str, values: Mapping[str, float]) -> Lens:
        """Return the lens of a camera model.

        Args:
            model: Nerfstudio's or COLMAP's name of it.
            values: Coefficients by their names, ``k`` of COLMAP's SIMPLE models among them; those that are
                missing are 0, and names that are none of coefficients do not count.

        Raises:
            ValueError: the model is not one of ``MODELS``, or a coefficient is not finite or not one of its.
        """
        if model not in MODELS:
            raise ValueError(f"camera model {model} is none of those that are read: {', '.join(MODELS)}")
        values = {"k1": values.get("k", 0.0), **values}
        found = {name: float(values.get(name, 0.0)) for name in COEFFICIENTS}
        if not all(map(math.isfinite, found.values())):
            raise ValueError(f"the lens has coefficients that are not finite: {_listed(found)}")
        order = _EQUIDISTANT if model in _FISHEYES else _RATIONAL
        allowed = order if model in (*_FISHEYES, "FULL_OPENCV") else order[:5]
        others = {name: value for name, value in found.items() if value and name not in allowed}
        if others:
            rational = "" if model in _FISHEYES else " (FULL_OPENCV has them all, OpenCV's rational model)"
            raise ValueError(f"camera model {model} has no coefficients {_listed(others)}{rational}")
        if model in _PINHOLES:
            model = "OPENCV" if any(found.values()) else _PINHOLES[0]
        return cls(model, tuple(found[name] for name in order))

    @property
    def is_fisheye(self) -> bool:
        """Whether angles off the axis are what it maps to distances."""
        return self.model in _FISHEYES

    def __str__(self) -> str:
        order = _EQUIDISTANT if self.is_fisheye else _RATIONAL
        bends = {n: v for n, v in zip(order, self.coefficients, strict=True) if v}
        return f"{self.model} ({_listed(bends)})" if bends else self.model

    def distort(self, places: Float64[np.ndarray, "P 2"]) -> Float64[np.ndarray, "P 2"]:
        """Bring places in the picture of a pinhole camera, both of focal length 1, to where they are seen."""
        import cv2

        places = np.ascontiguousarray(places, dtype=np.float64)
        with np.errstate(all="ignore"):
            if self.is_fisheye:
                return cv2.fisheye.distortPoints(places[None], np.eye(3), np.array(self.coefficients))[0]
            ahead = np.concatenate([places, np.ones((len(places), 1))], axis=1)
            still = np.zeros(3)
            return cv2.projectPoints(ahead, still, still, np.eye(3), np.array(self.coefficients))[0][:, 0]

    def deviation(self, K: Float64[np.ndarray, "3 3"], size: tuple[int, int]) -> float:
        """Return by how many pixels at most it moves the border of a pinhole camera's image.

        Args:
            K: Intrinsics, first pixel centre at 0.5.
            size: Width and height of the images.
        """
        border = _border(size)
        moved = _seen(self, _ahead(border, K), K)
        return float(np.linalg.norm(moved - border, axis=1).max())

    def is_pinhole(self, K: Float64[np.ndarray, "3 3"], size: tuple[int, int]) -> bool:
        """Return whether images are those of a pinhole camera, up to a tenth of a pixel at their border."""
        return not self.is_fisheye and self.deviation(K, size) <= _UNSEEN


@dataclass(frozen=True)
class Undistortion:
    """What makes images of a lens those of a pinhole camera: at the same place, of the same size, all seen.

    Maps of another size than the images, such as masks, are undone at their own.
    """

    lens: Lens
    size: tuple[int, int]
    """Width and height of the images."""
    intrinsics: tuple[tuple[float, ...], ...]
    """Of the lens, row by row."""
    zoom: float
    """Focal length of the pinhole camera, in that of the lens."""

    @cached_property
    def K(self) -> Float64[np.ndarray, "3 3"]:
        """Intrinsics of the pinhole camera: principal point and shape of the pixels are the lens's."""
        return _zoomed(np.array(self.intrinsics), self.zoom)

    def colors(self, image: UInt8[np.ndarray, "h w C"]) -> UInt8[np.ndarray, "h w C"]:
        """Undo the lens in an RGB or straight-alpha RGBA image, colours weighted by their alpha."""
        if image.shape[2] < 4:
            return self._linear(image)
        values = image.astype(np.float32)
        values[..., :3] *= values[..., 3:] / 255.0
        values = self._linear(values)
        values[..., :3] *= 255.0 / np.maximum(values[..., 3:], 1e-6)
        return np.clip(np.rint(values), 0, 255).astype(np.uint8)

    def soft(self, values: Float32[np.ndarray, "h w"]) -> Float32[np.ndarray, "h w"]:
        """Undo the lens in a map that may be averaged, such as a probability."""
        return self._linear(values)

    def nearest(self, values: Shaped[np.ndarray, "h w *c"]) -> Shaped[np.ndarray, "h w *c"]:
        """Undo the lens in a map whose values must not be mixed: a mask, ids, planar depth."""
        columns, rows = (np.rint(m).astype(np.intp) for m in _maps(self, (values.shape[1], values.shape[0])))
        return values[rows.clip(0, values.shape[0] - 1), columns.clip(0, values.shape[1] - 1)]

    def _linear(self, values: np.ndarray) -> np.ndarray:
        import cv2

        maps = _maps(self, (values.shape[1], values.shape[0]))
        return cv2.remap(values, *maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def undistortion(
    lens: Lens, K: Float64[np.ndarray, "3 3"], size: tuple[int, int], radius: float | None = None
) -> Undistortion | None:
    """Return how to undo a lens; None where there is nothing to undo.

    The pinhole camera has the widest view in which every pixel shows something of the image.

    Args:
        lens: Of the camera.
        K: Its intrinsics, first pixel centre at 0.5.
        size: Width and height of its images.
        radius: Pixels around the images' centre that hold something; None for all.

    Raises:
        ValueError: not even the middle of the image can be undone.
    """
    if lens.is_pinhole(K, size):
        return None
    rays = _ahead(_border(size), K)
    zooms = np.geomspace(*_ZOOMS, 48)
    for _ in range(3):  # to a hundred-thousandth
        fits = _fits(lens, rays[None] / zooms[:, None, None], K, size, radius)
        last = len(zooms) - 1 if fits.all() else int(fits.argmin()) - 1
        if last < 0:
            raise ValueError(f"the lens {lens} cannot be undone around the principal point {K[:2, 2]}")
        zooms = np.linspace(zooms[last], zooms[min(last + 1, len(zooms) - 1)], 32)
    return Undistortion(lens, size, tuple(map(tuple, K.tolist())), float(zooms[0]))


def _fits(
    lens: Lens,
    rays: Float64[np.ndarray, "Z P 2"],
    K: Float64[np.ndarray, "3 3"],
    size: tuple[int, int],
    radius: float | None,
) -> np.ndarray:
    """Return which of several borders, each wider than the one before, a lens shows, up to the first not."""
    pixels = project(np.concatenate([rays, np.ones((*rays.shape[:2], 1))], axis=2), K)
    seen = _seen(lens, rays.reshape(-1, 2), K).reshape(rays.shape)
    corner = np.array(size, dtype=np.float64)
    with np.errstate(invalid="ignore"):
        # A hair wider than the centres of the outermost pixels, for rounding.
        inside = (seen >= HALF_PIXEL - 1e-6) & (seen <= corner - HALF_PIXEL + 1e-6)
        good: np.ndarray = np.all(inside, axis=(1, 2))
        if radius is not None:
            good &= (np.linalg.norm(seen - corner / 2, axis=-1) <= radius).all(1)
        outwards, of_lens = (np.diff(np.linalg.norm(p - K[:2, 2], axis=-1), axis=0) for p in (pixels, seen))
        good[1:] &= (of_lens * _STRETCH >= outwards).all(1)
    return good


def _border(size: tuple[int, int], steps: int = 33) -> Float64[np.ndarray, "P 2"]:
    """Return places on the line through the centres of the outermost pixels."""
    part = np.linspace(0.0, 1.0, steps)
    zero, one = np.zeros(steps), np.ones(steps)
    square = np.concatenate([np.stack(s, 1) for s in ((part, zero), (part, one), (zero, part), (one, part))])
    return HALF_PIXEL + square * (np.array(size) - 1.0)


def _ahead(pixels: Float64[np.ndarray, "P 2"], K: Float64[np.ndarray, "3 3"]) -> Float64[np.ndarray, "P 2"]:
    """Return where a pinhole camera of focal length 1 shows what is at pixels of one with intrinsics."""
    return unproject(pixels, np.ones(len(pixels)), K)[:, :2]


def _seen(
    lens: Lens, places: Float64[np.ndarray, "P 2"], K: Float64[np.ndarray, "3 3"]
) -> Float64[np.ndarray, "P 2"]:
    """Return the pixels at which a lens shows what a pinhole camera of focal length 1 has at places."""
    moved = lens.distort(places)
    return project(np.concatenate([moved, np.ones((len(moved), 1))], axis=1), K)


def _zoomed(K: Float64[np.ndarray, "3 3"], zoom: float) -> Float64[np.ndarray, "3 3"]:
    return K * np.array([[zoom, 1.0, 1.0], [1.0, zoom, 1.0], [1.0, 1.0, 1.0]])


@lru_cache(maxsize=4)
def _maps(
    undo: Undistortion, size: tuple[int, int]
) -> tuple[Float32[np.ndarray, "h w"], Float32[np.ndarray, "h w"]]:
    """Return the column and row, first centre at 0, that each pixel of an undistorted map is taken from."""
    import cv2

    x, y = size[0] / undo.size[0], size[1] / undo.size[1]
    of_lens, of_pinhole = (
        shift_pixel_centers(scale_intrinsics(K, x, y), -HALF_PIXEL)
        for K in (np.array(undo.intrinsics), undo.K)
    )
    make = cv2.fisheye.initUndistortRectifyMap if undo.lens.is_fisheye else cv2.initUndistortRectifyMap
    return make(of_lens, np.array(undo.lens.coefficients), np.eye(3), of_pinhole, size, cv2.CV_32FC1)


def _listed(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in values.items())
