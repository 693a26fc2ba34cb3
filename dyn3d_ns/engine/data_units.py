"""Nerfstudio's exports and camera paths in the data's own world, where a training has another.

Its exporter writes what a training holds, its renderer takes camera paths for those of the training.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64

from dyn3d_ns.gaussians import Gaussians
from dyn3d_ns.gaussians.data_units import to_data_units
from dyn3d_ns.geometry.world import World
from dyn3d_ns.io.camera_world import to_training
from dyn3d_ns.io.errors import UserError
from dyn3d_ns.io.ply import write_columns

TRANSFORMS = "dataparser_transforms.json"
"""File of a run, Nerfstudio's, with the map from the data's world to that of the training."""
_ELSEWHERE = 0.25
"""Part of a scene's size by which it may lie elsewhere than at its training: files of others round."""


def require_same_world(run: Path, world: World, box: Float64[np.ndarray, "2 3"]) -> None:
    """Refuse a training that was in another world than its data are handed out in now.

    Args:
        run: Folder of the training's run.
        world: The data's world in that of training, as the dataparser gives it now.
        box: Box of the scene there.

    Raises:
        UserError: they differ.
    """
    path = run / TRANSFORMS
    if not path.is_file():
        return
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        before = World(np.vstack([np.reshape(content["transform"], (3, 4)), [0, 0, 0, 1]]), content["scale"])
        moved = before.points(world.points_back(box))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{path} is damaged ({error}); restore it, or remove it") from error
    if not np.abs(moved - box).max() <= _ELSEWHERE * np.linalg.norm(box[1] - box[0]):
        raise UserError(
            f"{run} was trained with its scene in another place or unit (scale {before.scale:g}, shift "
            f"{before.transform[:3, 3].round(3).tolist()}) than the data are handed out in now (scale "
            f"{world.scale:g}, shift {world.transform[:3, 3].round(3).tolist()}): the data or the version of "
            "dyn3d_ns have changed; train again, or restore the data or the version"
        )


def use_data_units(pipeline: Any) -> None:
    """Let the command that runs in this process read and write in the data's world of a pipeline of ours."""
    world = pipeline.method.world
    if world.same:
        return
    for module in ("nerfstudio.scripts.render", "nerfstudio.scripts.exporter", "__main__"):
        names = vars(sys.modules[module]) if module in sys.modules else {}
        if "get_path_from_json" in names:
            names["get_path_from_json"] = path_reader(names["get_path_from_json"], pipeline, world)
        if "collect_camera_poses" in names:
            names["collect_camera_poses"] = pose_collector(names["collect_camera_poses"], world)
        if "ExportGaussianSplat" in names:
            names["ExportGaussianSplat"].write_ply = staticmethod(splat_writer(world))


def path_reader(stock: Callable[..., Any], pipeline: Any, world: World) -> Callable[..., Any]:
    """Return what reads a camera path of the data's world or of training's."""
    dataset = pipeline.datamanager.train_dataset
    eyes = dataset.cameras.camera_to_worlds[:, :, 3].double().cpu().numpy()
    center = dataset.scene_box.aabb.double().mean(0).cpu().numpy()

    @wraps(stock)
    def get_path_from_json(camera_path: dict[str, Any]) -> Any:
        moved, guessed = to_training(camera_path, world, eyes, center)
        if guessed:
            print(
                "The camera path does not say which world it is in; its cameras stand where the data's do, "
                "not where the training's: it is read in the data's units."
            )
        return stock(moved)

    return get_path_from_json


def pose_collector(stock: Callable[..., Any], world: World) -> Callable[..., Any]:
    """Return what lists cameras in the data's world."""

    @wraps(stock)
    def collect_camera_poses(pipeline: Any) -> Any:
        parts = stock(pipeline)
        for frame in (frame for part in parts for frame in part):
            pose = np.vstack([np.array(frame["transform"], np.float64)[:3], [0, 0, 0, 1]])
            frame["transform"] = world.poses_back(pose[None])[0, :3].tolist()
        return parts

    return collect_camera_poses


def splat_writer(world: World) -> Callable[..., None]:
    """Return what writes the columns of Nerfstudio's splat file, Gaussians of a training."""

    def write_ply(filename: str, count: int, map_to_tensors: dict[str, np.ndarray]) -> None:
        columns = {name: values.reshape(count) for name, values in map_to_tensors.items()}

        def several(names: list[str]) -> torch.Tensor:
            return torch.from_numpy(np.stack([columns[name] for name in names], axis=1)).float()

        scales, quats = [f"scale_{i}" for i in range(3)], [f"rot_{i}" for i in range(4)]
        rest = sorted((n for n in columns if n.startswith("f_rest_")), key=lambda n: int(n.split("_")[-1]))
        # All coefficients of red come first; the constant one is not turned.
        sh = several(rest).reshape(count, 3, -1).mT if rest else torch.zeros(count, 0, 3)
        found = to_data_units(
            Gaussians(
                several(list("xyz")),
                several(quats),
                several(scales).exp(),
                torch.zeros(count),
                torch.cat([torch.zeros(count, 1, 3), sh], dim=1),
            ),
            world,
        )
        groups = [
            (list("xyz"), found.means),
            (scales, found.scales.log()),
            (quats, found.quats),
            (rest, found.colors[:, 1:].mT.reshape(count, -1)),
        ]
        for names, values in groups:
            columns |= {name: values[:, i].numpy() for i, name in enumerate(names)}
        write_columns(Path(filename), columns)

    return write_ply
