"""What transforms files say of lenses and focal lengths: precedence, sizes, refusals."""

from __future__ import annotations

import math
from typing import Any

import pytest

from dyn3d_ns.geometry.lenses import Lens
from dyn3d_ns.io.errors import DamagedFileError, DatasetError, ImageSizeError
from dyn3d_ns.io.intrinsics import merged, pinhole_of, read_intrinsics, same_proportion

ANGLE = 2 * math.atan(0.5)
"""Of a side as long as the focal length."""
PIXELS = {"fl_x": 100.0, "fl_y": 110.0, "cx": 40.0, "cy": 30.0, "w": 80, "h": 64}


def resolved(content: dict[str, Any], width: int = 80, height: int = 64) -> tuple[float, ...]:
    return read_intrinsics(content, "file").resolve(width, height)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"camera_angle_x": ANGLE}, (80, 80, 40, 32)),
        ({"camera_angle_y": ANGLE}, (64, 64, 40, 32)),
        ({"camera_angle_x": ANGLE, "camera_angle_y": ANGLE}, (80, 64, 40, 32)),
        ({"fl_x": 100.0, "camera_angle_x": 1.0, "camera_angle_y": ANGLE}, (100, 64, 40, 32)),
        ({"fl_y": 90.0}, (90, 90, 40, 32)),
        (PIXELS, (100, 110, 40, 30)),
        ({**PIXELS, "w": 160, "h": 128}, (50, 55, 20, 15)),
        ({**PIXELS, "w": 160, "h": None}, (50, 55, 20, 15)),
        ({**PIXELS, "w": 40, "h": 32, "camera_angle_x": 1.0}, (200, 220, 80, 60)),
        ({"fl_x": 100.0, "w": 160, "h": 128}, (50, 50, 40, 32)),
        ({"camera_angle_x": ANGLE, "w": 800, "h": 640, "cx": 200.0}, (80, 80, 20, 32)),
    ],
)
def test_all_ways_to_state_a_focal_length(content: dict[str, Any], expected: tuple[float, ...]) -> None:
    assert resolved(content) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("outer", "inner", "expected"),
    [
        (PIXELS, {"fl_x": 50.0, "fl_y": 55.0}, (50, 55, 40, 30)),
        (PIXELS, {"fl_x": 50.0}, (50, 50, 40, 30)),  # the other focal length is of another zoom
        (PIXELS, {"camera_angle_x": ANGLE}, (80, 80, 40, 30)),
        ({"camera_angle_x": 1.0}, {"fl_y": 70.0}, (70, 70, 40, 32)),
        (PIXELS, {"cx": 44.0, "fl_x": None}, (100, 110, 44, 30)),
        (PIXELS, {}, (100, 110, 40, 30)),
    ],
)
def test_a_frames_own_values_come_first(
    outer: dict[str, Any], inner: dict[str, Any], expected: tuple[float, ...]
) -> None:
    assert resolved(merged(outer, inner)) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({}, Lens()),
        ({"k1": 0.0, "camera_model": "OPENCV"}, Lens.named("OPENCV", {})),
        ({"k1": 0.1, "p2": 0.01}, Lens.named("OPENCV", {"k1": 0.1, "p2": 0.01})),
        ({"k1": 0.1, "camera_model": "PINHOLE"}, Lens.named("OPENCV", {"k1": 0.1})),
        ({"k4": 0.1, "camera_model": "FULL_OPENCV"}, Lens.named("FULL_OPENCV", {"k4": 0.1})),
        ({"camera_model": "OPENCV_FISHEYE", "k4": 0.1}, Lens.named("OPENCV_FISHEYE", {"k4": 0.1})),
        ({"is_fisheye": True, "k1": 0.1}, Lens.named("OPENCV_FISHEYE", {"k1": 0.1})),
        ({"is_fisheye": False, "camera_model": "OPENCV_FISHEYE"}, Lens.named("OPENCV_FISHEYE", {})),
        ({"distortion_params": [1, 2, 3, 0, 4, 5]},
         Lens.named("OPENCV", {"k1": 1, "k2": 2, "k3": 3, "p1": 4, "p2": 5})),
    ],
)  # fmt: skip
def test_lenses(content: dict[str, Any], expected: Lens) -> None:
    assert read_intrinsics({"fl_x": 90.0, **content}, "file").lens == expected


@pytest.mark.parametrize(
    ("content", "error", "said"),
    [
        ({"fl_x": None}, DamagedFileError, "neither `camera_angle_x`"),
        ({"fl_y": 0.0}, DamagedFileError, "positive, got fl_y 0"),
        ({"camera_angle_y": 3.2}, DamagedFileError, "`camera_angle_y` must lie in"),
        ({"cx": True}, DamagedFileError, "`cx` must be a finite number"),
        ({"k1": math.nan}, DamagedFileError, "`k1` must be a finite number"),
        ({"w": 0, "h": 8}, DamagedFileError, "at least 1 pixel"),
        (
            {"camera_model": "EQUIRECTANGULAR"},
            DatasetError,
            "EQUIRECTANGULAR is none of those .*OPENCV_FISHEYE",
        ),
        ({"camera_model": "FISHEYE624"}, DatasetError, "FISHEYE624 is none of those"),
        ({"camera_model": 3}, DamagedFileError, "must be a name, got 3"),
        ({"camera_model": "OPENCV", "is_fisheye": True}, DatasetError, "says `is_fisheye`, but"),
        ({"k4": 0.1}, DatasetError, "OPENCV has no coefficients k4 0.1"),
        ({"is_fisheye": True, "p1": 0.1}, DatasetError, "OPENCV_FISHEYE has no coefficients p1 0.1"),
        ({"ftheta_p0": 0.5}, DatasetError, "`ftheta_p0` is a lens"),
        ({"distortion_params": [0.1] * 12}, DamagedFileError, "six numbers, k1 k2 k3 k4 p1 p2"),
    ],
)
def test_what_is_refused_names_the_place(
    content: dict[str, Any], error: type[DatasetError], said: str
) -> None:
    with pytest.raises(error, match=f"^file, frame 3.*{said}"):
        read_intrinsics({"fl_x": 90.0, **content}, "file, frame 3")


def test_sizes_of_one_proportion() -> None:
    assert same_proportion((1921, 1081), (240, 135)) and same_proportion((240, 135), (1921, 1081))
    assert same_proportion((1915, 1077), (239, 135)) and same_proportion((239, 134), (1915, 1077))
    assert same_proportion((800, 600), (800, 600))
    assert not same_proportion((1920, 1080), (1920, 1079)) and not same_proportion((16, 12), (15, 12))
    assert not same_proportion((1920, 1080), (1920, 1088)) and not same_proportion((800, 600), (600, 800))


def test_intrinsics_of_another_proportion_or_size_are_refused() -> None:
    with pytest.raises(ImageSizeError, match="is 80x60, but its file expects 80x64"):
        resolved(PIXELS, 80, 60)
    with pytest.raises(ImageSizeError, match=r"\(400, 300\) lies outside of; state the `w` and `h`"):
        resolved({"fl_x": 1000.0, "cx": 400.0, "cy": 300.0})


def test_a_lens_is_undone_at_the_size_of_the_image() -> None:
    """What is stated for full-sized images gives the same view of halved ones."""
    content = {**PIXELS, "camera_model": "OPENCV_FISHEYE", "k1": 0.05, "fisheye_crop_radius": 30.0}
    stated = read_intrinsics(content, "file")
    full, undo = pinhole_of(stated, 80, 64)
    half, of_half = pinhole_of(stated, 40, 32)
    assert undo is not None and of_half is not None
    assert half == pytest.approx([value / 2 for value in full], rel=0.02)
    assert full[0] == pytest.approx(undo.K[0, 0]) and full[0] / full[1] == pytest.approx(100 / 110)
    wider, _ = pinhole_of(read_intrinsics({**content, "fisheye_crop_radius": None}, "file"), 80, 64)
    assert wider[0] < full[0]
    assert pinhole_of(read_intrinsics(PIXELS, "file"), 80, 64) == ((100, 110, 40, 30), None)
    with pytest.raises(DatasetError, match="cannot be undistorted: the lens OPENCV .k1 -0.5"):
        pinhole_of(read_intrinsics({**PIXELS, "cx": -20.0, "k1": -0.5}, "file"), 80, 64)
