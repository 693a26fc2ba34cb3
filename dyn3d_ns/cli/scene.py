"""Load a trained scene for the commands that ask its model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

from dyn3d_ns.cli.errors import CommandError
from dyn3d_ns.cli.rig import load_config

if TYPE_CHECKING:
    from dyn3d_ns.cli.export import MovingGaussians


def load_model(config_path: Path, needs: str = "gaussians_at") -> MovingGaussians:
    """Load the model of a training's last checkpoint, through Nerfstudio's own loader.

    ``needs`` is what the command asks of it, beside its timeline: ``gaussians_at`` or ``velocity_at``.
    """
    from nerfstudio.utils.eval_utils import eval_setup

    config = load_config(config_path)
    checkpoints = config.get_checkpoint_dir()
    if not any(checkpoints.glob("step-*.ckpt")):
        raise CommandError(
            f"{checkpoints} holds no checkpoint; run the command in the folder in which the training ran, "
            "or train first"
        )
    _, pipeline, _, _ = eval_setup(config_path, test_mode="inference")
    model = pipeline.model
    if not hasattr(model, needs):
        lacks = "Gaussians that move" if needs == "gaussians_at" else "velocity field"
        raise CommandError(
            f"{config_path} is a training of {config.method_name}, which has no {lacks}; "
            "this command takes dyn3d-* methods that have"
        )
    return cast("MovingGaussians", model)
