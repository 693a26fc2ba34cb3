"""Hand a trained static scene over in the files of DAS3R's published code."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from dyn3d_ns.geometry.cameras import viewmats_of
from dyn3d_ns.io.atomic import atomic_open
from dyn3d_ns.io.das3r_ply import StaticSplats, write_das3r_ply
from dyn3d_ns.models.das3r.model import Das3rModel


@torch.no_grad()
def write_das3r(model: Das3rModel, folder: Path, step: int) -> Path:
    """Write Gaussians with their staticness, and the training cameras' poses before and after training.

    Poses are [V, 4, 4] world to camera with OpenCV axes, in the world of the Gaussians.

    Returns:
        Path of the PLY file.
    """
    scene = model.scene
    path = folder / "point_cloud" / f"iteration_{step}" / "point_cloud.ply"
    write_das3r_ply(
        path,
        StaticSplats(
            means=_array(scene.params["means"]),
            quats=_array(normalize(scene.params["quats"], dim=-1)),
            scales=_array(scene.scales),
            opacities=_array(scene.opacities),
            static=_array(scene.staticness),
            sh=_array(scene.colors),
        ),
    )
    before = model.views.camera_to_worlds
    after = model.estimated_poses()
    after = before if after is None else after[:, :3].to(before)
    for name, poses in (("org", before), (str(step), after)):
        with atomic_open(folder / "pose" / f"pose_{name}.npy") as file:
            np.save(file, _array(viewmats_of(poses)))
    return path


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().float().cpu().numpy()
