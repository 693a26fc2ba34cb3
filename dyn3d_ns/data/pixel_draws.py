"""Which pixels of an image rays go through, from random numbers."""

from __future__ import annotations

from typing import Protocol

import cv2
import numpy as np
from jaxtyping import Float, Int64

from dyn3d_ns.data.dataset import DynamicDataset
from dyn3d_ns.data.priors import Priors


class PixelDraw(Protocol):
    """Chooses pixels of an image."""

    def __call__(self, image: int, draw: Float[np.ndarray, "P 2"]) -> Int64[np.ndarray, "P"]:
        """Turn pairs of random numbers in [0, 1) into flat pixel indices of an image."""
        ...


class MatterAndRim:
    """Pixels that are not transparent, or lie near such; a share of them anywhere.

    Those that the dataset's mask leaves out are drawn only where it leaves out the whole image.
    """

    def __init__(self, dataset: DynamicDataset, background_share: float, rim: int) -> None:
        self._dataset, self._background_share, self._rim = dataset, background_share, rim
        self._matter: dict[int, Int64[np.ndarray, "M"] | None] = {}
        self._counted: dict[int, Int64[np.ndarray, "M"] | None] = {}

    def __call__(self, image: int, draw: Float[np.ndarray, "P 2"]) -> Int64[np.ndarray, "P"]:
        """Turn pairs of random numbers into pixels; all are anywhere in an image without alpha or matter."""
        picture = self._dataset.get_numpy_image(image)
        counted = self._counted_pixels(image)
        if counted is None:
            anywhere = (draw[:, 0] * (picture.shape[0] * picture.shape[1])).astype(np.int64)
        else:
            anywhere = _picked(counted, draw[:, 0])
        if image not in self._matter:
            found = matter_pixels(picture, self._rim)
            if found is not None and counted is not None:
                found = np.intersect1d(found, counted, assume_unique=True)
            self._matter[image] = found if found is not None and len(found) else None
        matter = self._matter[image]
        if matter is None:
            return anywhere
        return np.where(draw[:, 1] < self._background_share, anywhere, _picked(matter, draw[:, 0]))

    def _counted_pixels(self, image: int) -> Int64[np.ndarray, "M"] | None:
        """Return the pixels that a mask leaves in; None for all."""
        if image not in self._counted:
            mask = self._dataset.get_mask(image)
            self._counted[image] = None if mask is None or not mask.any() else np.flatnonzero(mask)
        return self._counted[image]


class MaskHalves:
    """One half of the pixels where something moves, the other where nothing does."""

    def __init__(self, priors: Priors) -> None:
        self._priors = priors

    def __call__(self, image: int, draw: Float[np.ndarray, "P 2"]) -> Int64[np.ndarray, "P"]:
        """Turn pairs of random numbers into pixels; an image without one of the halves gives the other."""
        mask = self._priors.of(image)["dynamic_mask"].numpy().ravel()
        moving, still = np.flatnonzero(mask), np.flatnonzero(~mask)
        if not len(moving) or not len(still):
            return _picked(moving if len(moving) else still, draw[:, 0])
        # The odd one out goes to either half.
        first = np.arange(len(draw)) + draw[:1, 1] < len(draw) / 2
        return np.where(first, _picked(moving, draw[:, 0]), _picked(still, draw[:, 0]))


def _picked(pixels: Int64[np.ndarray, "M"], draw: Float[np.ndarray, "P"]) -> Int64[np.ndarray, "P"]:
    return pixels[(draw * len(pixels)).astype(np.int64)]


def matter_pixels(picture: np.ndarray, rim: int) -> Int64[np.ndarray, "P"] | None:
    """Return the pixels within ``rim`` of any that is not transparent; None without alpha or matter."""
    if picture.shape[-1] < 4:
        return None
    mask = cv2.dilate((picture[..., 3] > 0).astype(np.uint8), np.ones((2 * rim + 1, 2 * rim + 1), np.uint8))
    found = np.flatnonzero(mask)
    return found if len(found) else None
