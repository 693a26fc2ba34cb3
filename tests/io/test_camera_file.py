"""Intrinsics of other picture sizes are brought to the frames', or refused."""

from pathlib import Path

import numpy as np
import pytest

from dyn3d_ns.io.camera_file import CameraFile, brought_to, proportion_fits
from dyn3d_ns.io.errors import DatasetError
from dyn3d_ns.io.frame_matching import Labels


def cameras(fx: float, fy: float, cx: float, cy: float, size: tuple[int, int] | None = None) -> CameraFile:
    K = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]])
    sizes = None if size is None else np.array([size], dtype=np.float64)
    return CameraFile(Path("poses.txt"), Labels(1), np.eye(4)[None], K[None], sizes)


def K_of(file: CameraFile, size: tuple[int, int]) -> list[float]:
    Ks, _ = brought_to(file, size)
    assert Ks is not None
    return [float(Ks[0, r, c]) for r, c in ((0, 0), (1, 1), (0, 2), (1, 2))]


@pytest.mark.parametrize("corner", [0.0, 0.5])
def test_the_principal_point_tells_the_size(corner: float) -> None:
    file = cameras(480, 480, 256 - corner, 192 - corner)
    assert K_of(file, (160, 120)) == pytest.approx([150, 150, 79.5, 59.5])
    assert brought_to(file, (160, 120))[1] == (
        "intrinsics for 512x384, which their principal point tells, are brought to the frames' 160x120"
    )


def test_intrinsics_of_the_frames_stay_as_they_are() -> None:
    for cx, cy in ((79.5, 59.5), (80, 60), (83.2, 57.1), (79.5, 64)):
        assert K_of(cameras(150, 151, cx, cy), (160, 120)) == [150, 151, cx, cy]
        assert brought_to(cameras(150, 151, cx, cy), (160, 120))[1] == ""


def test_networks_crop_or_stretch_to_multiples() -> None:
    # 640x360 is 512x288 there, which is whole; 640x368 is 512x294.4, cropped to 288.
    assert K_of(cameras(400, 400, 256, 144), (640, 368)) == pytest.approx([500, 500, 319.5, 183.5])
    # 518x294 stretches 640x368, which would be 518x297.85: focal lengths differ there, not in the clip.
    file = cameras(400, 400 * (294 / 297.85), 259, 147)
    assert K_of(file, (640, 368)) == pytest.approx([400 * 640 / 518] * 2 + [319.5, 183.5], rel=1e-4)
    # Where the size is stated the principal point keeps its distance from the middle.
    file = cameras(400, 400, 250 - 0.5, 144 - 0.5, (512, 288))
    assert K_of(file, (1024, 576)) == pytest.approx([800, 800, 499.5, 287.5])


@pytest.mark.parametrize(
    ("file", "told"),
    [
        (cameras(400, 400, 256, 256), "by their principal point for images of 512x512"),
        (cameras(400, 400, 100, 256), "by their principal point for images of 200x512"),
        (cameras(400, 400, -3, 200), "by their principal point"),
        (cameras(400, 400, 239.5, 319.5, (480, 640)), "for images of 480x640, but the frames are 640x480"),
        (cameras(400, 400, 319.5, 179.5, (641, 360)), "for images of 641x360"),
    ],
)
def test_other_proportions_are_refused(file: CameraFile, told: str) -> None:
    with pytest.raises(DatasetError, match=f"poses.txt has intrinsics {told}"):
        brought_to(file, (640, 480))


def test_each_camera_keeps_its_own() -> None:
    file = CameraFile(
        Path("model"),
        Labels(2),
        np.tile(np.eye(4), (2, 1, 1)),
        np.array(
            [[[100, 0, 79.5], [0, 100, 59.5], [0, 0, 1]], [[900, 0, 639.5], [0, 900, 479.5], [0, 0, 1.0]]]
        ),
        np.array([[160, 120], [1280, 960.0]]),
    )
    Ks, note = brought_to(file, (320, 240))
    assert Ks is not None
    np.testing.assert_allclose(Ks[:, 0, 0], (200, 225))
    assert note == "intrinsics for 160x120 and 1 other sizes are brought to the frames' 320x240"


def test_angles_are_for_any_size() -> None:
    file = CameraFile(Path("t.json"), Labels(1), np.eye(4)[None], angles=np.array([np.pi / 2]))
    assert K_of(file, (160, 120)) == pytest.approx([80, 80, 79.5, 59.5])


def test_proportions() -> None:
    assert proportion_fits((512, 288), (640, 360)) and proportion_fits((512, 288), (640, 368))
    assert proportion_fits((518, 392), (640, 480))
    assert not proportion_fits((512, 384), (640, 360))
    assert not proportion_fits((511, 300), (640, 360)), "no network's size"
