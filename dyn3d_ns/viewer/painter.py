"""Pictures for one browser: coarse while something moves, sharp once all is still."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import viser
from jaxtyping import Float64, UInt8
from scipy.spatial.transform import Rotation

_BUDGET = 1 / 20
"""Seconds that a coarse picture may take to draw and encode."""
_STILL = 0.2
"""Seconds without a change after which all is still."""
_LEAST_HEIGHT = 192
"""Below it the number of Gaussians is what takes the time, not that of pixels."""
_MOST_ASPECT = 4.0
_COARSE_QUALITY, _SHARP_QUALITY = 60, 92
"""Of JPEG."""


class View(NamedTuple):
    """Where a browser looks from."""

    camera_to_world: Float64[np.ndarray, "3 4"]
    """The camera looks along z with y down (OpenCV)."""
    fov: float
    """Vertical field of view, radians."""
    aspect: float
    """Width by height."""


Draw = Callable[[View, int], "UInt8[np.ndarray, 'H W 3'] | None"]
"""Draws a view at a height in pixels; None keeps what is shown."""


class Painter:
    """Keeps the picture of one browser up to date, in a thread that sleeps while nothing changes."""

    def __init__(self, client: viser.ClientHandle, draw: Draw, height: Callable[[], int]) -> None:
        """Draw for a browser that has connected.

        Args:
            client: The browser.
            draw: Draws what is shown now.
            height: Height of a sharp picture in pixels, as it is wanted now.
        """
        self._client, self._draw, self._full_height = client, draw, height
        self._coarse_height = 240.0
        self._changed = threading.Event()
        self._closed = False
        client.camera.on_update(lambda _: self.wake())
        self._thread = threading.Thread(target=self._run, name="dyn3d-painter", daemon=True)
        self._thread.start()
        self.wake()

    def wake(self) -> None:
        """Ask for a new picture: the view, the time or the scene has changed."""
        self._changed.set()

    def close(self) -> None:
        """End the thread; a picture that is being drawn is not sent."""
        self._closed = True
        self._changed.set()

    def _run(self) -> None:
        while not self._closed:
            self._changed.wait()
            sharp = False
            # What changes while a picture is drawn is in the next one: slow drawing drops pictures.
            while self._changed.is_set() and not self._closed:
                self._changed.clear()
                sharp = self._paint_coarsely()
                self._changed.wait(_STILL)
            if not sharp and not self._closed:
                self._paint(self._full_height(), _SHARP_QUALITY)

    def _paint_coarsely(self) -> bool:
        """Draw what can be drawn in time; return whether that was all there is."""
        full = self._full_height()
        height = int(min(self._coarse_height, full))
        began = time.perf_counter()
        self._paint(height, _SHARP_QUALITY if height == full else _COARSE_QUALITY)
        # Half of the way each time: single pictures take longer for reasons of their own.
        wanted = height * np.sqrt(_BUDGET / max(time.perf_counter() - began, 1e-3))
        self._coarse_height = max(0.5 * (height + min(wanted, 2 * height)), _LEAST_HEIGHT)
        return height == full

    def _paint(self, height: int, quality: int) -> None:
        picture = self._draw(view_of(self._client.camera), height)
        if picture is not None and not self._closed:
            self._client.scene.set_background_image(picture, format="jpeg", jpeg_quality=quality)


def view_of(camera: viser.CameraHandle) -> View:
    """Return where a browser looks from now."""
    w, x, y, z = camera.wxyz
    rotation = Rotation.from_quat([x, y, z, w]).as_matrix()
    pose = np.concatenate([rotation, np.asarray(camera.position)[:, None]], axis=1)
    aspect = camera.aspect if np.isfinite(camera.aspect) else 1.0
    return View(pose, camera.fov, float(np.clip(aspect, 1 / _MOST_ASPECT, _MOST_ASPECT)))
