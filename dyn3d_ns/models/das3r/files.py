"""Hand a trained static scene over in the files of DAS3R's published code."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from dyn3d_ns.gaussians.data_units import to_data_units
from dyn3d_ns.geometry.cameras import flip_axes, viewmats_of
from dyn3d_ns.geometry.world import World, far_from_origin
from dyn3d_ns.io.atomic import atomic_open
from dyn3d_ns.io.das3r_ply import StaticSplats, write_das3r_ply
from dyn3d_ns.models.das3r.model import Das3rModel


@torch.no_grad()
def write_das3r(model: Das3rModel, folder: Path, step: int) -> Path:
    """Write Gaussians with their staticness, and the training cameras' poses before and after training.

    Poses are [V, 4, 4] world to camera with OpenCV axes. All is in the data's world.

    Returns:
        Path of the PLY file.
    """
    scene, found = model.scene, to_data_units(model.gaussians_at(0.0), model.world)
    path = folder / "point_cloud" / f"iteration_{step}" / "point_cloud.ply"
    write_das3r_ply(
        path,
        StaticSplats(
            means=found.means.detach().cpu().numpy(),
            quats=_array(normalize(found.quats, dim=-1)),
            scales=_array(found.scales),
            opacities=_array(scene.opacities),
            static=_array(scene.staticness),
            sh=_array(found.colors),
        ),
    )
    before = model.views.camera_to_worlds
    after = model.estimated_poses()
    after = before if after is None else after[:, :3].to(before)
    for name, poses in (("org", before), (str(step), after)):
        with atomic_open(folder / "pose" / f"pose_{name}.npy") as file:
            np.save(file, _views(poses, model.world))
    return path


def _views(camera_to_worlds: Float[Tensor, "V 3 4"], world: World) -> Float[np.ndarray, "V 4 4"]:
    """Return world to camera in the data's world, float64 where that is far away."""
    if world.same:
        return _array(viewmats_of(camera_to_worlds))
    poses = np.tile(np.eye(4), (len(camera_to_worlds), 1, 1))
    poses[:, :3] = camera_to_worlds.detach().double().cpu().numpy()
    poses = world.poses_back(poses)
    kind = np.float64 if far_from_origin(poses[:, :3, 3]) else np.float32
    return np.linalg.inv(flip_axes(poses)).astype(kind)


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().float().cpu().numpy()
