"""Projection and conventions against closed forms, for NumPy and torch alike."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dyn3d_ns.geometry import cameras as c

K = np.array([[100.0, 0.0, 40.0], [0.0, 200.0, 30.0], [0.0, 0.0, 1.0]])


@pytest.mark.parametrize("convert", [np.asarray, torch.as_tensor])
def test_a_point_lands_where_the_closed_form_says_and_comes_back(convert) -> None:
    points = convert(np.array([[0.5, -0.25, 2.0], [0.0, 0.0, 5.0]]))
    pixels = c.project(points, convert(K))
    np.testing.assert_allclose(pixels, [[65.0, 5.0], [40.0, 30.0]])
    np.testing.assert_allclose(c.unproject(pixels, points[:, 2], convert(K)), points)


@pytest.mark.parametrize("convert", [np.asarray, torch.as_tensor])
def test_rows_of_cameras_broadcast(convert) -> None:
    rng = np.random.default_rng(0)
    views = np.tile(np.eye(4), (3, 1, 1))
    views[:, :3, :3] = np.linalg.qr(rng.normal(size=(3, 3, 3)))[0]
    views[:, :3, 3] = rng.normal(size=(3, 3))
    Ks = np.stack([K, 2 * K, 3 * K])
    world = rng.normal(size=(7, 3))
    local = c.to_camera(convert(world), convert(views))
    pixels = c.project(local, convert(Ks))
    for i in range(3):
        expected = world @ views[i, :3, :3].T + views[i, :3, 3]
        np.testing.assert_allclose(local[i], expected, atol=1e-12)
        np.testing.assert_allclose(pixels[i], c.project(expected, Ks[i]))
    np.testing.assert_allclose(c.from_camera(local, convert(views)), np.tile(world, (3, 1, 1)), atol=1e-12)
    shared, depths = rng.uniform(0, 80, (7, 2)), rng.uniform(1, 3, 7)
    lifted = c.unproject(convert(shared), convert(depths), convert(Ks))
    for i in range(3):
        np.testing.assert_allclose(lifted[i], c.unproject(shared, depths, Ks[i]))
        np.testing.assert_allclose(c.project(np.asarray(lifted[i]), Ks[i]), shared)


def test_points_behind_the_camera_stay_finite() -> None:
    pixels = c.project(np.array([[0.1, 0.1, -1.0], [0.1, 0.1, 0.0]]), K, near=1e-3)
    assert np.isfinite(pixels).all() and (np.abs(pixels) > 1e3).all()


def test_field_of_view_is_that_of_the_outermost_rays() -> None:
    assert c.field_of_view(50.0, 100.0) == pytest.approx(np.pi / 2)
    assert c.field_of_view(50.0, 100.0 / 3**0.5) == pytest.approx(np.pi / 3)


def test_viewmats_invert_opengl_poses() -> None:
    pose = torch.tensor([[[0.0, 0.0, 1.0, 2.0], [1.0, 0.0, 0.0, 3.0], [0.0, 1.0, 0.0, 4.0]]])
    view = c.viewmats_of(pose)
    full = torch.cat([c.flip_axes(pose), torch.tensor([[[0.0, 0.0, 0.0, 1.0]]])], 1)
    torch.testing.assert_close(view @ full, torch.eye(4)[None])
    # One unit along -z of an OpenGL camera lies one unit ahead.
    ahead = pose[0, :, 3] - pose[0, :, 2]
    torch.testing.assert_close(c.to_camera(ahead[None], view[0]), torch.tensor([[0.0, 0.0, 1.0]]))


@pytest.mark.parametrize("convert", [np.asarray, torch.as_tensor])
def test_intrinsics_follow_size_and_convention(convert) -> None:
    points = np.array([[0.3, 0.2, 1.5]])
    half = c.scale_intrinsics(convert(K), 0.5, 0.25)
    np.testing.assert_allclose(c.project(convert(points), half), c.project(points, K) * [[0.5, 0.25]])
    moved = c.shift_pixel_centers(convert(K), c.HALF_PIXEL)
    np.testing.assert_allclose(c.project(convert(points), moved), c.project(points, K) + 0.5)
    np.testing.assert_allclose(c.flip_axes(c.flip_axes(convert(np.eye(4)))), np.eye(4))
