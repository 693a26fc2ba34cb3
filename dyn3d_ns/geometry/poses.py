"""Camera poses and their conventions."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from dyn3d_ns.geometry.se3 import se3_inverse


def look_at(
    eye: Float[Tensor, "*b 3"], target: Float[Tensor, "*b 3"], up: Float[Tensor, "3"]
) -> Float[Tensor, "*b 4 4"]:
    """Return OpenGL camera-to-world poses (x right, y up, looking along -z) at eye, looking at target.

    Looking straight along ``up`` leaves the roll open; there any horizontal direction is taken as up.
    """
    eye, target = torch.broadcast_tensors(eye, target)
    back = torch.nn.functional.normalize(eye - target, dim=-1)
    up = torch.nn.functional.normalize(up.to(eye), dim=-1)
    spare = torch.eye(3).to(eye)[up.abs().argmin()]
    aligned = torch.linalg.cross(up.expand_as(back), back).norm(dim=-1, keepdim=True) < 1e-6
    right = torch.linalg.cross(torch.where(aligned, spare, up.expand_as(back)), back)
    right = torch.nn.functional.normalize(right, dim=-1)
    pose = torch.zeros(*eye.shape[:-1], 4, 4).to(eye)
    pose[..., :3, 0] = right
    pose[..., :3, 1] = torch.linalg.cross(back, right)
    pose[..., :3, 2] = back
    pose[..., :3, 3] = eye
    pose[..., 3, 3] = 1.0
    return pose


def opengl_to_opencv(camera_to_worlds: Float[Tensor, "*b 4 4"]) -> Float[Tensor, "*b 4 4"]:
    """Turn the camera axes from x right, y up, z back to x right, y down, z forward, or back again."""
    return camera_to_worlds * camera_to_worlds.new_tensor([1.0, -1.0, -1.0, 1.0])


def viewmats_of(camera_to_worlds: Float[Tensor, "*b 3 4"]) -> Float[Tensor, "*b 4 4"]:
    """Return OpenCV world-to-camera matrices, as rasterizers take them, of Nerfstudio's poses."""
    bottom = camera_to_worlds.new_tensor([0.0, 0.0, 0.0, 1.0]).expand(*camera_to_worlds.shape[:-2], 1, 4)
    full = torch.cat((camera_to_worlds[..., :3, :], bottom), dim=-2)
    return se3_inverse(opengl_to_opencv(full))
