"""Where a browser looks when it opens the viewer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float64

from dyn3d_ns.geometry.bounds import focus_point
from dyn3d_ns.geometry.cameras import field_of_view
from dyn3d_ns.geometry.ndc import is_forward_facing

if TYPE_CHECKING:
    import viser
    from nerfstudio.cameras.cameras import Cameras
    from nerfstudio.viewer.viewer import Viewer


def start_view(cameras: Cameras, fov: float) -> tuple[Float64[np.ndarray, "3"], Float64[np.ndarray, "3"]]:
    """Return position and look-at point from which a viewer sees what the first training camera sees.

    Args:
        cameras: Training cameras.
        fov: Vertical field of view of the viewer in radians; the position is moved along the axis so that
            the scene's centre is framed as by the training camera.
    """
    poses = np.tile(np.eye(4), (len(cameras), 1, 1))
    poses[:, :3] = cameras.camera_to_worlds.double().cpu().numpy()
    eye, forward = poses[0, :3, 3], -poses[0, :3, 2]
    distance = float(np.linalg.norm(focus_point(poses) - eye))
    target = eye + distance * forward
    tangent = 0.5 * float(cameras.height[0]) / float(cameras.fy[0])
    return target - forward * distance * tangent / np.tan(0.5 * fov), target


def look_through_training_camera(viewer: Viewer) -> None:
    """Let browsers start at the first training camera; the stock viewer often starts inside the scene."""
    from nerfstudio.viewer.viewer import VISER_NERFSTUDIO_SCALE_RATIO

    dataset = getattr(viewer.pipeline.datamanager, "train_dataset", None)
    if dataset is None:
        return

    cameras = dataset.cameras
    facing = is_forward_facing(cameras.camera_to_worlds)

    def move(client: viser.ClientHandle) -> None:
        # Where all cameras look the same way, nearer is within the scene: the field of view is theirs.
        fov = field_of_view(float(cameras.fy[0]), int(cameras.height[0])) if facing else client.camera.fov
        position, target = start_view(cameras, fov)
        with client.atomic():
            client.camera.fov = fov
            client.camera.position = position * VISER_NERFSTUDIO_SCALE_RATIO
            client.camera.look_at = target * VISER_NERFSTUDIO_SCALE_RATIO

    viewer.viser_server.on_client_connect(move)
