"""Lenses and what undoes them: exact places, whole pictures, refusals."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from dyn3d_ns.geometry.cameras import HALF_PIXEL, pixel_grid, project, shift_pixel_centers, unproject
from dyn3d_ns.geometry.lenses import Lens, Undistortion, undistortion

SIZE = (96, 64)
K = np.array([[70.0, 0, 51], [0, 74.0, 30], [0, 0, 1]])
LENSES = {
    "barrel": Lens.named("SIMPLE_RADIAL", {"k": -0.2}),
    "cushion": Lens.named("RADIAL", {"k1": 0.15, "k2": 0.05}),
    "decentred": Lens.named("OPENCV", {"k1": -0.25, "k2": 0.08, "p1": 0.01, "p2": -0.008, "k3": 0.01}),
    "rational": Lens.named("FULL_OPENCV", {"k1": 0.1, "k2": 0.03, "k4": 0.25, "k5": 0.1, "k6": 0.02}),
    "fisheye": Lens.named("OPENCV_FISHEYE", {"k1": 0.05, "k2": -0.01, "k3": 0.004, "k4": -0.001}),
    "equidistant": Lens.named("FISHEYE", {}),
}
lenses = pytest.mark.parametrize("lens", LENSES.values(), ids=LENSES)


def undone(lens: Lens, K: np.ndarray = K, size: tuple[int, int] = SIZE, **options) -> Undistortion:
    found = undistortion(lens, K, size, **options)
    assert found is not None
    return found


def rays_of_lens(lens: Lens, size: tuple[int, int] = SIZE, K: np.ndarray = K) -> np.ndarray:
    """Return what each pixel of an image of the lens shows, by OpenCV's iterations: x/z and y/z."""
    pixels = pixel_grid(size[1], size[0]).reshape(1, -1, 2)
    cv_K, bends = shift_pixel_centers(K, -HALF_PIXEL), np.array(lens.coefficients)
    often = (cv2.TERM_CRITERIA_COUNT + cv2.TERM_CRITERIA_EPS, 200, 1e-12)
    if lens.is_fisheye:
        places = cv2.fisheye.undistortPoints(pixels, cv_K, bends, criteria=often)
    else:
        places = cv2.undistortPointsIter(pixels, cv_K, bends, np.eye(3), np.eye(3), often)
    return places.reshape(size[1], size[0], 2)


def rays_of_pinhole(K: np.ndarray, size: tuple[int, int] = SIZE) -> np.ndarray:
    pixels = pixel_grid(size[1], size[0]).reshape(-1, 2) + HALF_PIXEL
    return unproject(pixels, np.ones(len(pixels)), K)[:, :2].reshape(size[1], size[0], 2)


@lenses
def test_an_undone_image_is_that_of_its_pinhole_camera(lens: Lens) -> None:
    """Images that hold the direction of each pixel: what is undone holds those of the pinhole's pixels."""
    undo = undone(lens)
    seen = rays_of_lens(lens).astype(np.float32)
    got = np.stack([undo.soft(np.ascontiguousarray(seen[..., i])) for i in range(2)], axis=-1)
    off = lens.distort(got.reshape(-1, 2)) - lens.distort(rays_of_pinhole(undo.K).reshape(-1, 2))
    # OpenCV 4 rounds places to 1/32 of a pixel; the rest is what directions bend within a pixel.
    assert np.abs(off * K[[0, 1], [0, 1]]).max() < 0.06


@lenses
def test_every_pixel_is_seen_and_no_wider_view_would_be(lens: Lens) -> None:
    from dyn3d_ns.geometry.lenses import _border, _fits, _maps

    undo = undone(lens)
    for values, side in zip(_maps(undo, SIZE), SIZE, strict=True):
        assert values.min() > -0.1 and values.max() < side - 0.9
    border = _border(SIZE)
    rays = unproject(border, np.ones(len(border)), undo.K)[:, :2]
    wider = rays * np.array([1.0, 1.001, 1.002])[:, None, None]
    assert _fits(lens, wider, K, SIZE, None).tolist() == [True, False, False]
    assert undo.K[0, 1] == 0 and undo.K[:, 2].tolist() == K[:, 2].tolist()
    assert undo.K[0, 0] / undo.K[1, 1] == pytest.approx(K[0, 0] / K[1, 1])


def test_a_point_falls_where_it_is_seen() -> None:
    """A dot drawn where the lens shows a point lies, undone, where the returned intrinsics project it."""
    lens = LENSES["fisheye"]
    undo = undone(lens)
    point = np.array([[0.5, -0.3, 1.2]])
    at = project(np.append(lens.distort(point[:, :2] / point[:, 2:]), [[1.0]], axis=1), K)[0]
    columns, rows = np.moveaxis(pixel_grid(SIZE[1], SIZE[0]) + HALF_PIXEL - at, -1, 0)
    dot = undo.soft(np.exp(-(columns**2 + rows**2) / 8).astype(np.float32))
    middle = (pixel_grid(SIZE[1], SIZE[0]) + HALF_PIXEL) * dot[..., None]
    assert middle.sum((0, 1)) / dot.sum() == pytest.approx(project(point, undo.K)[0], abs=0.15)


def test_maps_of_another_size_are_undone_at_their_own() -> None:
    lens, half = LENSES["decentred"], (SIZE[0] // 2, SIZE[1] // 2)
    undo, halved = undone(lens), np.diag([0.5, 0.5, 1.0]) @ K
    x = rays_of_lens(lens, half, halved)[..., 0].astype(np.float32)
    expected = rays_of_pinhole(np.diag([0.5, 0.5, 1.0]) @ undo.K, half)[..., 0]
    assert np.abs(undo.soft(x) - expected).max() * 35 < 0.08


def test_masks_and_depth_are_not_mixed() -> None:
    undo = undone(LENSES["barrel"])
    depth = np.where(np.random.default_rng(0).random(SIZE[::-1]) < 0.5, 0.0, 7.25)
    for values in (depth, depth > 0, (depth > 0).astype(np.uint16) * 4096):
        got = undo.nearest(values)
        assert got.dtype == values.dtype and got.shape == values.shape
        assert set(np.unique(got)) == set(np.unique(values))
    columns_and_rows = pixel_grid(SIZE[1], SIZE[0]).astype(np.float32)
    between = np.stack([undo.soft(np.ascontiguousarray(columns_and_rows[..., i])) for i in range(2)], axis=-1)
    assert np.abs(undo.nearest(columns_and_rows) - between).max() < 0.5 + 1 / 16


def test_hidden_colours_do_not_bleed_in() -> None:
    image = np.zeros((*SIZE[::-1], 4), np.uint8)
    image[..., 1] = 255  # under transparent pixels
    image[20:40, 30:60] = (200, 10, 30, 255)
    got = undone(LENSES["barrel"]).colors(image)
    shown = got[got[..., 3] > 0].astype(int)
    assert len(shown) > 400 and np.abs(shown[:, :3] - (200, 10, 30)).max() <= 1
    assert (undone(LENSES["barrel"]).colors(image[..., :3])[0, 0] == (0, 255, 0)).all()


def test_a_lens_that_moves_nothing_is_a_pinhole() -> None:
    for model in ("PINHOLE", "SIMPLE_PINHOLE", "OPENCV", "SIMPLE_RADIAL"):
        assert undistortion(Lens.named(model, {"k1": 0.0}), K, SIZE) is None
    faint = Lens.named("OPENCV", {"k1": 1e-4})
    assert 0 < faint.deviation(K, SIZE) < 0.1 and undistortion(faint, K, SIZE) is None
    assert Lens.named("PINHOLE", {"k1": -0.2}) == Lens.named("OPENCV", {"k1": -0.2})
    assert not Lens.named("OPENCV_FISHEYE", {}).is_pinhole(K, SIZE)


def test_the_black_around_a_fisheye_image_is_left_out() -> None:
    lens, radius = LENSES["equidistant"], 25.0
    undo = undone(lens, radius=radius)
    assert undo.zoom > undone(lens).zoom
    off = pixel_grid(SIZE[1], SIZE[0]) + HALF_PIXEL - np.array(SIZE) / 2
    inside = (np.linalg.norm(off, axis=-1) < radius + 1).astype(np.float32)
    assert undo.soft(inside).min() == 1


def test_a_view_ends_before_a_polynomial_turns_back() -> None:
    """r - 0.6 r³ is longest at 0.745; where it grows by an eighth of r, the corner of the picture is."""
    undo = undone(Lens.named("OPENCV", {"k1": -0.6}))
    farthest = np.linalg.norm(rays_of_pinhole(undo.K), axis=-1).max()
    assert 1 - 1.8 * farthest**2 == pytest.approx(1 / 8, abs=0.02)


def test_a_half_sphere_becomes_a_view_that_is_not_stretched_without_end() -> None:
    undo = undone(LENSES["equidistant"], np.array([[20.0, 0, 32], [0, 20.0, 32], [0, 0, 1]]), (64, 64))
    corner = np.linalg.norm(rays_of_pinhole(undo.K, (64, 64))[0, 0])
    assert 1 + corner**2 == pytest.approx(8, rel=1e-3)  # d tan(a) / da


@pytest.mark.parametrize(
    ("model", "values", "said"),
    [
        ("EQUIRECTANGULAR", {}, "EQUIRECTANGULAR is none of those"),
        ("THIN_PRISM_FISHEYE", {}, "THIN_PRISM_FISHEYE is none of those"),
        ("OPENCV", {"k4": 0.1}, "OPENCV has no coefficients k4 0.1 .FULL_OPENCV"),
        ("OPENCV_FISHEYE", {"p1": 0.1}, "OPENCV_FISHEYE has no coefficients p1 0.1"),
        ("OPENCV", {"k1": float("nan")}, "not finite"),
    ],
)
def test_what_cannot_be_undone_is_refused(model: str, values: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Lens.named(model, values)


def test_a_principal_point_outside_the_image_is_refused() -> None:
    aside = np.array([[70.0, 0, -20], [0, 70.0, 30], [0, 0, 1]])
    with pytest.raises(ValueError, match=r"OPENCV \(k1 -0.2\) cannot be undone"):
        undistortion(Lens.named("OPENCV", {"k1": -0.2}), aside, SIZE)


def test_colmaps_models_are_opencvs() -> None:
    """pycolmap projects as the lens does, under the names of its parameters."""
    import pycolmap

    places = np.random.default_rng(0).uniform(-0.6, 0.6, (20, 2))
    ahead = np.concatenate([places, np.ones((20, 1))], axis=1)
    for model in ("SIMPLE_RADIAL", "RADIAL", "OPENCV", "FULL_OPENCV", "OPENCV_FISHEYE", "RADIAL_FISHEYE",
                  "SIMPLE_RADIAL_FISHEYE"):  # fmt: skip
        camera = pycolmap.Camera({"model": model, "width": 96, "height": 64, "params": []})
        names = camera.params_info.split(", ")
        camera.params = [80.0 + i if n[0] in "fc" else 0.02 * (i - 5) / i for i, n in enumerate(names)]
        lens = Lens.named(model, dict(zip(names, camera.params, strict=True)))
        moved = np.concatenate([lens.distort(places), np.ones((20, 1))], axis=1)
        assert project(moved, camera.calibration_matrix()) == pytest.approx(camera.img_from_cam(ahead))
