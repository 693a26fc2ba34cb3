"""What moves in images of a camera at rest, told from the other times that it recorded."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import cached_property

import cv2
import numpy as np
from jaxtyping import Bool, Float32, UInt8

from dyn3d_ns.io.dynamic_scene.base import View
from dyn3d_ns.io.dynamic_scene.maps import SceneMaps
from dyn3d_ns.io.images import read_image, resize_area

FEW = 4
"""Times below which the median of a camera does not show the ground behind what moves."""
_MOST = 48
"""Times that the median is taken over."""
_AT_REST = 1e-4
"""Spread of the poses of a camera that does not move."""
_NOISES = 6.0
_LEAST = 22.0
"""Difference from the ground from which a pixel moves: over the images' noise, and at least, grey values."""


def differing(
    image: UInt8[np.ndarray, "H W 3"], ground: Float32[np.ndarray, "H W 3"], noise: float
) -> Bool[np.ndarray, "H W"]:
    """Return where an image differs from the ground by more than noise, without specks and small holes."""
    difference = np.abs(image.astype(np.float32) - ground).max(-1)
    moves = (difference > max(_NOISES * noise, _LEAST)).astype(np.uint8)
    disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3))
    moves = cv2.morphologyEx(moves, cv2.MORPH_OPEN, disk)
    return cv2.morphologyEx(moves, cv2.MORPH_CLOSE, disk, iterations=3).astype(bool)


def ground_of(images: Sequence[UInt8[np.ndarray, "H W 3"]]) -> tuple[Float32[np.ndarray, "H W 3"], float]:
    """Return the median image of a camera, and a robust standard deviation of the images from it."""
    stack = np.stack(images).astype(np.float32)
    ground = np.median(stack, axis=0)
    spread = np.median(np.abs(stack - ground).max(-1), axis=0)
    # Over all pixels: one that something crosses half of the time is no noisier than the others.
    return ground.astype(np.float32), 1.4826 * float(np.median(spread))


class EvaluationMasks:
    """What moves in the images to evaluate on: by the files, by the camera's median, or by made masks.

    A training view has the mask of its frame where there is a file. Other views have one where their camera
    recorded enough times; the masks that training makes for itself stand in for training views alone.
    """

    def __init__(self, maps: SceneMaps, views: Sequence[View], size: tuple[int, int]) -> None:
        self._maps, self._views, self._size = maps, views, size
        self._lock = threading.RLock()
        self._grounds: dict[int, tuple[np.ndarray, float]] = {}

    def __deepcopy__(self, memo: dict[int, object]) -> EvaluationMasks:
        """Return itself: datasets copy their metadata, and what is made is made once."""
        return self

    def has(self, k: int) -> bool:
        """Tell whether view k has a mask."""
        return self._views[k].trains or self._times[self._views[k].camera] >= FEW

    def of(self, k: int) -> Bool[np.ndarray, "H W"]:
        """Return where something moves in view k, which must have a mask."""
        view = self._views[k]
        if view.trains and (self._maps.has_mask_file(view.frame) or self._times[view.camera] < FEW):
            return self._maps.mask(view.frame)
        with self._lock:
            if view.camera not in self._grounds:
                self._grounds[view.camera] = ground_of(self._images(view.camera))
            ground, noise = self._grounds[view.camera]
        return differing(self._image(view), ground, noise)

    @cached_property
    def _times(self) -> dict[int, int]:
        """Times of each camera; one of those that move, whose median shows nothing."""
        poses: dict[int, list[np.ndarray]] = {}
        for view in self._views:
            poses.setdefault(view.camera, []).append(view.pose)
        return {
            camera: len(found) if np.ptp(np.stack(found), axis=0).max() < _AT_REST else 1
            for camera, found in poses.items()
        }

    def _images(self, camera: int) -> list[UInt8[np.ndarray, "H W 3"]]:
        views = [view for view in self._views if view.camera == camera]
        step = max(-(-len(views) // _MOST), 1)
        return [self._image(view) for view in views[::step]]

    def _image(self, view: View) -> UInt8[np.ndarray, "H W 3"]:
        return resize_area(read_image(view.image, alpha=False), *self._size)
