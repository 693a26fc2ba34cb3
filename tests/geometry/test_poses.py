"""Look-at poses and the change of camera conventions."""

import torch

from dyn3d_ns.geometry.poses import look_at, opengl_to_opencv, viewmats_of

UP = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)


def test_target_lies_on_the_optical_axis_and_up_points_up():
    eye = torch.randn(20, 3, dtype=torch.float64) + 3
    target = torch.randn(20, 3, dtype=torch.float64)
    pose = look_at(eye, target, UP)
    rotation = pose[:, :3, :3]
    torch.testing.assert_close(rotation @ rotation.mT, torch.eye(3, dtype=torch.float64).expand(20, 3, 3))
    assert (torch.linalg.det(rotation) > 0).all()
    seen = (rotation.mT @ (target - eye)[..., None])[..., 0]
    torch.testing.assert_close(seen[:, :2], torch.zeros(20, 2, dtype=torch.float64))
    assert (seen[:, 2] < 0).all() and (pose[:, 2, 1] > 0).all()
    torch.testing.assert_close(pose[:, 2, 0], torch.zeros(20, dtype=torch.float64))


def test_looking_straight_down_is_still_a_rotation():
    pose = look_at(torch.tensor([0.0, 0.0, 5.0]), torch.zeros(3), UP.float())
    torch.testing.assert_close(pose[:3, :3] @ pose[:3, :3].T, torch.eye(3))
    torch.testing.assert_close(pose[:3, 2], torch.tensor([0.0, 0.0, 1.0]))


def test_viewmats_put_points_in_front_at_positive_depth():
    eye = torch.tensor([[4.0, 0.0, 0.0]], dtype=torch.float64)
    viewmat = viewmats_of(look_at(eye, torch.zeros(1, 3, dtype=torch.float64), UP)[:, :3])[0]
    point = torch.tensor([1.0, 0.0, 0.5, 1.0], dtype=torch.float64)
    # 3 units ahead; half a unit above the axis is y = -0.5 in OpenCV axes.
    torch.testing.assert_close(viewmat @ point, torch.tensor([0.0, -0.5, 3.0, 1.0], dtype=torch.float64))


def test_convention_change_is_its_own_inverse():
    pose = torch.randn(3, 4, 4)
    torch.testing.assert_close(opengl_to_opencv(opengl_to_opencv(pose)), pose)
