"""Lenses undone, cropped and shrunk images go with their intrinsics."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from dyn3d_ns.io.errors import DatasetError
from dyn3d_ns.io.recordings.pixels import PixelMap, PixelSettings

SIZE = (160, 120)
K = np.array([[130.0, 0, 80], [0, 130.0, 60], [0, 0, 1]])
LENSES = {"barrel": (-0.15, 0.03, 0.002, -0.001), "pincushion": (0.12, 0.02, 0.001, 0.002, 0.001)}


def seen_through(lens: tuple[float, ...], points: np.ndarray) -> np.ndarray:
    """Draw a blob at each point's place in a frame of a lens; blobs are white on grey."""
    zero = np.zeros(3)
    at = cv2.projectPoints(points, zero, zero, K, np.array(lens))[0][:, 0]
    y, x = np.mgrid[: SIZE[1], : SIZE[0]] + 0.5
    bumps = sum(np.exp(-((x - u) ** 2 + (y - v) ** 2) / 8) for u, v in at)
    return np.repeat((80 + 150 * bumps).clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)


def centroid(image: np.ndarray, at: np.ndarray, radius: int) -> np.ndarray:
    y, x = np.mgrid[: image.shape[0], : image.shape[1]] + 0.5
    weight = (image[..., 0].astype(float) - 80).clip(0) * (np.hypot(x - at[0], y - at[1]) < radius)
    return np.array([(weight * x).sum(), (weight * y).sum()]) / weight.sum()


@pytest.mark.parametrize("lens", LENSES)
@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_points_lie_where_the_pinhole_sees_them(lens: str, scale: float) -> None:
    points = np.array([[0.0, 0, 1], [0.3, -0.2, 1], [-0.35, 0.25, 1], [0.2, 0.3, 1]])
    pixels = PixelMap(PixelSettings(scale, LENSES[lens]), SIZE, [K])
    image = pixels.apply(0, seen_through(LENSES[lens], points))
    assert image.shape[1::-1] == pixels.size
    for point in points:
        expected = (pixels.Ks[0] @ point)[:2]
        np.testing.assert_allclose(centroid(image, expected, int(12 * scale)), expected, atol=0.12)


@pytest.mark.parametrize("lens", LENSES)
def test_no_border_is_left_and_little_is_lost(lens: str) -> None:
    """The crop is the largest: a frame that is white inside has no darker pixel, one ring more would have."""
    pixels = PixelMap(PixelSettings(1.0, LENSES[lens]), SIZE, [K])
    from_centre = K - [[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]]
    coefficients = np.array(LENSES[lens])
    maps = cv2.initUndistortRectifyMap(from_centre, coefficients, None, from_centre, SIZE, cv2.CV_32FC1)
    inside = (np.abs(maps[0] - 79.5) <= 80) & (np.abs(maps[1] - 59.5) <= 60)
    x, y = (SIZE[0] - pixels.size[0]) // 2, (SIZE[1] - pixels.size[1]) // 2
    assert inside[y : SIZE[1] - y, x : SIZE[0] - x].all()
    assert pixels.Ks[0][0, 2] == 80 - x and pixels.Ks[0][0, 0] == 130
    if x:
        wider = inside[y - 2 : SIZE[1] - y + 2, x - 2 : SIZE[0] - x + 2]
        assert not wider.all()


def test_shrinking_scales_the_intrinsics() -> None:
    pixels = PixelMap(PixelSettings(0.3), SIZE, [K])
    assert pixels.size == (48, 36)
    np.testing.assert_allclose(pixels.Ks[0], K * [[0.3], [0.3], [1]])
    frame = np.zeros((120, 160, 3), np.uint8)
    frame[:, :80] = 200
    image = PixelMap(PixelSettings(0.5), SIZE, [K]).apply(0, frame)
    assert image.shape == (60, 80, 3) and image[0, 39, 0] == 200 and image[0, 40, 0] == 0


def test_keys_tell_apart_what_changes_pixels() -> None:
    settings = [PixelSettings(), PixelSettings(0.5), PixelSettings(1.0, LENSES["barrel"])]
    maps = [PixelMap(found, SIZE, [K]) for found in settings]
    assert len({found.key for found in maps}) == 3
    assert [found.changes for found in maps] == [False, True, True]
    other = K * [[1.1], [1.1], [1]]
    assert PixelMap(settings[0], SIZE, [other]).key == maps[0].key, "intrinsics alone change no pixel"
    assert PixelMap(settings[2], SIZE, [other]).key != maps[2].key


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (PixelSettings(0.0), r"--scale must lie in \(0, 1\], got 0"),
        (PixelSettings(2.0), "--scale"),
        (PixelSettings(1.0, (0.1, 0.2)), "--undistort takes k1 k2 p1 p2"),
        (PixelSettings(1.0, (0.0, 0.0, 0.0, float("nan"))), "--undistort takes"),
        (PixelSettings(1.0, (100.0, 0.0, 0.0, 0.0)), "are they k1 k2 p1 p2 k3"),
    ],
)
def test_settings_that_cannot_be(settings: PixelSettings, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        PixelMap(settings, SIZE, [K])
