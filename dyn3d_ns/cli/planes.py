"""Load a training of dyn3d-velocity-planes for the commands that change it, and write what they make."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from dyn3d_ns.cli.errors import CommandError
from dyn3d_ns.cli.rig import load_pipeline, require_checkpoint
from dyn3d_ns.engine import places
from dyn3d_ns.engine.config_file import load_config

if TYPE_CHECKING:
    from torch import Tensor

PREFIX = "_model.scene."
"""Where a checkpoint keeps the scene."""


def load_planes(config_path: Path, option: str) -> tuple[Any, Any]:
    """Return the config and the pipeline of a volumetric training; ``option`` named the config."""
    from dyn3d_ns.models.planes.model import Dyn3DVelocityPlanesModel

    config = planes_config(config_path, option)
    pipeline = load_pipeline(config_path, "test")
    assert isinstance(pipeline.model, Dyn3DVelocityPlanesModel)
    return config, pipeline


def planes_config(config_path: Path, option: str) -> Any:
    """Return a training's config after checking that it is volumetric and has a checkpoint."""
    from dyn3d_ns.models.planes.model import Dyn3DVelocityPlanesModelConfig

    config = load_config(config_path)
    if not isinstance(config.pipeline.model, Dyn3DVelocityPlanesModelConfig):
        raise CommandError(
            f"{option} {config_path} is a training of {config.method_name}; "
            "this command takes dyn3d-velocity-planes and its presets"
        )
    with places.opened(config_path):
        require_checkpoint(config)
    return config


def read_checkpoint(config: Any, config_path: Path) -> tuple[dict[str, Any], Path]:
    """Return the last checkpoint of the training of a config.yml, and its place."""
    from dyn3d_ns.engine.checkpoint import find_checkpoint, load_checkpoint

    with places.opened(config_path):
        path = find_checkpoint(places.checkpoints_of(config))
    return load_checkpoint(path), path


def scene_tensors(state: dict[str, Any], part: str) -> dict[str, Tensor]:
    """Return the tensors of a part of the scene by their full names."""
    return {name: v for name, v in state["pipeline"].items() if name.startswith(PREFIX + part)}
