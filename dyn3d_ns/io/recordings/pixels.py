"""From a recorded frame to the image that trains: undistorted, cropped, shrunk."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from jaxtyping import Float32, Float64, UInt8

from dyn3d_ns.geometry.cameras import HALF_PIXEL, scale_intrinsics, shift_pixel_centers
from dyn3d_ns.io.errors import DatasetError

_VERSION = 2
"""To be raised when the same options give other pixels."""


@dataclass(frozen=True)
class PixelSettings:
    """What is done to the frames of all cameras."""

    scale: float = 1.0
    """Size of the image over that of the frame, at most 1; areas are averaged."""
    undistort: tuple[float, ...] = ()
    """OpenCV's k1, k2, p1, p2 and maybe k3; none leaves the frames as they are."""

    def check(self) -> None:
        """Raise the error that says what is wrong with the settings.

        Raises:
            DatasetError: the scale is not in (0, 1], or there are not 4 or 5 finite coefficients.
        """
        if not 0 < self.scale <= 1:
            raise DatasetError(f"--scale must lie in (0, 1], got {self.scale}")
        if len(self.undistort) not in (0, 4, 5) or not np.isfinite(self.undistort).all():
            raise DatasetError(
                f"--undistort takes k1 k2 p1 p2 and maybe k3, in OpenCV's order, got {self.undistort}"
            )


class PixelMap:
    """Brings frames of all cameras of a recording to the size that trains.

    An undistorted image is that of a pinhole of the same focal length, cropped evenly to the largest
    rectangle of the same proportion that the frames of all cameras fill, so that it has no black border.
    """

    def __init__(
        self, settings: PixelSettings, size: tuple[int, int], Ks: Sequence[Float64[np.ndarray, "3 3"]]
    ) -> None:
        """Find the crop.

        Args:
            settings: What is done.
            size: Width and height of the frames.
            Ks: Intrinsics of each camera, pixel centres at +0.5.

        Raises:
            DatasetError: the settings leave nothing.
        """
        settings.check()
        self.settings, self._Ks, self._frame_size = settings, [np.asarray(K) for K in Ks], size
        self._margins = self._crop()
        width, height = size[0] - 2 * self._margins[0], size[1] - 2 * self._margins[1]
        self.size = max(round(width * settings.scale), 1), max(round(height * settings.scale), 1)
        """Width and height of the images."""
        moved = [
            K - np.array([[0, 0, self._margins[0]], [0, 0, self._margins[1]], [0, 0, 0]]) for K in self._Ks
        ]
        scale = self.size[0] / width, self.size[1] / height
        self.Ks = [scale_intrinsics(K, *scale) for K in moved]
        """Intrinsics of the images, pixel centres at +0.5."""

    @property
    def changes(self) -> bool:
        """Whether images are anything else than the frames."""
        return self.size != self._frame_size or bool(self.settings.undistort)

    @cached_property
    def key(self) -> str:
        """Name of what is done, the same whenever the same pixels come out."""
        cameras = [K.tolist() for K in self._Ks] if self.settings.undistort else []
        facts = repr((_VERSION, self._frame_size, self.size, self.settings, cameras))
        return f"{self.size[0]}x{self.size[1]}-{hashlib.sha256(facts.encode()).hexdigest()[:10]}"

    def apply(self, camera: int, frame: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "H W 3"]:
        """Return the image of a camera's frame."""
        if self.settings.undistort:
            frame = cv2.remap(frame, *self._maps(camera), cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
            (x, y), (height, width) = self._margins, frame.shape[:2]
            frame = frame[y : height - y, x : width - x]
        if (frame.shape[1], frame.shape[0]) != self.size:
            frame = cv2.resize(frame, self.size, interpolation=cv2.INTER_AREA)
        return np.ascontiguousarray(frame)

    def _maps(self, camera: int) -> tuple[Float32[np.ndarray, "h w"], Float32[np.ndarray, "h w"]]:
        same = next(i for i, K in enumerate(self._Ks) if np.array_equal(K, self._Ks[camera]))
        if same not in self._known:
            # OpenCV counts from the centre of the first pixel.
            K = shift_pixel_centers(self._Ks[same], -HALF_PIXEL)
            lens = np.array(self.settings.undistort)
            self._known[same] = cv2.initUndistortRectifyMap(
                K, lens, None, K, self._frame_size, cv2.CV_32FC1  # type: ignore[arg-type]
            )  # fmt: skip
        return self._known[same]

    @cached_property
    def _known(self) -> dict[int, tuple[np.ndarray, np.ndarray]]:
        return {}

    def _crop(self) -> tuple[int, int]:
        """Return the pixels to cut off left and right, and above and below."""
        if not self.settings.undistort:
            return 0, 0
        width, height = self._frame_size
        x, y = np.abs(np.arange(width) + 0.5 - width / 2), np.abs(np.arange(height) + 0.5 - height / 2)
        ring = np.maximum(x / (width / 2), (y / (height / 2))[:, None])
        kept = 1.0
        for camera in range(len(self._Ks)):
            at_x, at_y = self._maps(camera)
            inside = (at_x >= -0.5) & (at_x <= width - 0.5) & (at_y >= -0.5) & (at_y <= height - 0.5)
            if not inside.all():
                kept = min(kept, float(ring[~inside].min()))
        if kept < 0.3:
            raise DatasetError(
                f"--undistort {self.settings.undistort} leaves {kept:.0%} of the picture's width; are they "
                "k1 k2 p1 p2 k3, in OpenCV's order, for the data's focal length?"
            )
        if kept == 1.0:
            return 0, 0
        return math.ceil((1 - kept) * width / 2 + 0.5), math.ceil((1 - kept) * height / 2 + 0.5)
