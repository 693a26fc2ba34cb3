"""`dyn3d transfer-velocity`: the motion of one trained scene on the geometry of another."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from dyn3d_ns.cli.errors import CommandError, require_writable
from dyn3d_ns.io.shell import shell_word


@dataclass(kw_only=True)
class TransferVelocity:
    """Put the velocity of one dyn3d-velocity-planes scene on the geometry of another.

    The other scene's first keyframe is carried to all times, as in NVFi. Both velocities are in half-widths
    of their scene's box, so a scene twice as large moves twice as far.
    """

    source: Annotated[Path, tyro.conf.arg(name="from")]
    """config.yml of the training whose motion is taken."""
    target: Annotated[Path, tyro.conf.arg(name="to")]
    """config.yml of the training whose geometry is moved."""
    output_dir: Path
    """Folder for the new training: its config.yml works with ns-viewer, ns-render and ns-eval."""

    def run(self) -> None:
        """Write a checkpoint of the second scene with the first one's velocity, and its config."""
        import torch

        from dyn3d_ns.cli.planes import PREFIX, planes_config, read_checkpoint, scene_tensors
        from dyn3d_ns.engine.checkpoint import save_checkpoint

        require_writable(self.output_dir, "--output-dir")
        source, target = planes_config(self.source, "--from"), planes_config(self.target, "--to")
        moving, _ = read_checkpoint(source, self.source)
        state, _ = read_checkpoint(target, self.target)
        velocity, replaced = scene_tensors(moving, "velocity."), scene_tensors(state, "velocity.")
        shapes = [{k: tuple(v.shape) for k, v in part.items()} for part in (velocity, replaced)]
        if shapes[0] != shapes[1]:
            raise CommandError(
                f"the velocity networks differ: {self.source} has {len(velocity)} tensors, {self.target} "
                f"{len(replaced)}, or of other sizes; train both with the same velocity settings"
            )
        pipeline = state["pipeline"] | velocity
        pipeline[PREFIX + "only_keyframe"] = torch.tensor(0)
        pipeline["_model.top_speed"] = moving["pipeline"]["_model.top_speed"]
        config = copy.deepcopy(target)
        config.output_dir, config.experiment_name = self.output_dir.resolve(), "transfer"
        config.timestamp, config.load_dir = "motion", None
        config.load_checkpoint = config.load_step = None
        save_checkpoint(state | {"pipeline": pipeline}, config.get_checkpoint_dir(), state["step"], True)
        config.save_config()
        print(f"ns-viewer --load-config {shell_word(config.get_base_dir() / 'config.yml')}")
