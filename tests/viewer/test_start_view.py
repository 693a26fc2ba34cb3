"""Where a browser looks at first."""

import numpy as np
import pytest
import torch
from nerfstudio.cameras.cameras import Cameras

from dyn3d_ns.viewer.start_view import start_view


def test_first_view_frames_the_centre_as_the_first_training_camera_does() -> None:
    # Two cameras 4 units from the origin, on +z and on +x, both looking at it.
    poses = torch.eye(4)[:3].repeat(2, 1, 1)
    poses[0, 2, 3] = 4
    poses[1, :, :3] = torch.tensor([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]])
    poses[1, 0, 3] = 4
    cameras = Cameras(poses, fx=100.0, fy=100.0, cx=50.0, cy=50.0, width=100, height=100)
    # Half the image is seen at tangent 0.5; a viewer with tangent 1 must come twice as near.
    position, target = start_view(cameras, fov=np.pi / 2)
    np.testing.assert_allclose(target, 0, atol=0.01)
    np.testing.assert_allclose(position, [0, 0, 2], atol=0.01)
    same, _ = start_view(cameras, fov=2 * np.arctan(0.5))
    assert same[2] == pytest.approx(4)
