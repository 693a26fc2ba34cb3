"""The rig of a streaming training, and the camera that its stream names."""

from __future__ import annotations

import numpy as np
import torch

from dyn3d_ns.geometry.cameras import viewmats_of
from dyn3d_ns.io.stream.header import StreamHeader
from dyn3d_ns.io.stream.look import CAMERA, start_camera_of
from dyn3d_ns.models.stream.views import Rig


def test_the_first_camera_is_where_viewers_start() -> None:
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(2, 3, 3)))[0]
    turn *= np.sign(np.linalg.det(turn))[:, None, None]
    poses = torch.tensor(np.concatenate([turn, [[[1.0], [-2.0], [3.0]]] * 2], axis=2), dtype=torch.float32)
    Ks = torch.tensor([[[90.0, 0, 31], [0, 91, 25], [0, 0, 1]]] * 2)
    rig = Rig(viewmats_of(poses), Ks, 64, 48, 0.01)
    header = StreamHeader("gaussians", 30.0, (0.0,), {CAMERA: rig.start_camera().to_text()})
    found = start_camera_of(header)
    assert found is not None
    np.testing.assert_allclose(found.pose, poses[0].numpy(), atol=1e-6)
    assert (found.fx, found.fy, found.cx, found.cy) == (90, 91, 31, 25)
    assert (found.width, found.height) == (64, 48)
