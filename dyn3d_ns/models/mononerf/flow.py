"""How well the motion of a trained field makes the flow that the data has."""

from __future__ import annotations

import torch

from dyn3d_ns.data.datamanager import DynamicDataManager
from dyn3d_ns.models.mononerf.model import MonoNerfModel


def flow_errors(model: MonoNerfModel, datamanager: DynamicDataManager) -> dict[str, dict[str, float]]:
    """Return errors of the flow from each training frame to the next, where it is valid and something moves.

    Returns:
        By the name of the scene: `pixels`, and in pixels the `median` and `mean` end-point error and the
        median length of the flow of the data, `flow_median`.
    """
    model.eval()
    videos, batches = model.scene.videos, datamanager.cached_train
    errors: dict[str, list[torch.Tensor]] = {name: [] for name in model.scene_names}
    lengths: dict[str, list[torch.Tensor]] = {name: [] for name in model.scene_names}
    for frame in range(len(batches)):
        batch = batches[frame]
        counts = (batch["flow_valid"] & batch["dynamic_mask"])[..., 0]
        if not bool(counts.any()):
            continue
        camera = datamanager.train_cameras[frame : frame + 1]
        made = model.pictures.flow_to_next(camera, frame).view(*counts.shape, 2).cpu()
        name = model.scene_names[int(videos.scene_of[frame])]
        errors[name].append((made - batch["flow"]).norm(dim=-1)[counts])
        lengths[name].append(batch["flow"].norm(dim=-1)[counts])
    found = {}
    for name, parts in errors.items():
        if parts:
            error, length = torch.cat(parts), torch.cat(lengths[name])
            found[name] = {
                "pixels": float(len(error)),
                "median": float(error.median()),
                "mean": float(error.mean()),
                "flow_median": float(length.median()),
            }
    return found
