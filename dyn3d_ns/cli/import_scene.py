"""`dyn3d import`: a file of Gaussians as a scene that viewer, renderer and exports take."""

from __future__ import annotations

import copy
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
import tyro
from jaxtyping import Float64

from dyn3d_ns.cli.errors import CommandError, require_writable

if TYPE_CHECKING:
    from torch import Tensor

    from dyn3d_ns.engine.trainer import DynamicTrainerConfig
    from dyn3d_ns.gaussians.imported import ImportedScene
    from dyn3d_ns.geometry.world import World
    from dyn3d_ns.io.splat_files.table import SplatFile

UpAxis = Literal["x", "y", "z", "neg-x", "neg-y", "neg-z"]
METHOD = "dyn3d-imported"
RUN = "imported"
"""Name of the run's folder, where a training has its date."""
DATA = "data"
"""Folder of the pictures within it."""


@dataclass
class ImportScene:
    """Make a scene of a file of Gaussians, for ns-viewer, ns-render and dyn3d export like a trained one.

    Formats: 3DGS and compressed PLY, SPZ, SOG, .splat, GLB (KHR_gaussian_splatting), .4dgs and USD. Nothing
    is turned or scaled: exports are in the file's own axes and units. Cameras on an orbit and their pictures
    stand in for a recording.
    """

    file: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")]
    """The file; or a folder with one file for each frame, in the natural order of their names."""
    output_dir: Path = Path("outputs")
    """Folder for the run, as that of ns-train: <experiment name>/dyn3d-imported/imported."""
    experiment_name: str | None = None
    """Name of the scene; that of the file if not given."""
    fps: float | None = None
    """Frames a second of a folder of files or of a .4dgs that does not state it; 30 if not given."""
    up: UpAxis | None = None
    """Axis of the file that points up; neg-y (as in COLMAP and most PLYs) where the file does not say."""
    hold: bool = False
    """Show each frame until the next one, for files whose rows are not the same Gaussians over time."""

    def run(self) -> None:
        """Read the file and write the run's folder.

        Raises:
            SystemExit: Ctrl-C (status 130) or SIGTERM (143) stopped it.
        """
        from dyn3d_ns.engine.interrupt import exit_code, sigterm_as_exception
        from dyn3d_ns.io.shell import shell_word
        from dyn3d_ns.io.splat_files.opening import read_splats

        name = self.experiment_name or self.file.resolve().name.partition(".")[0] or "scene"
        target = self.output_dir / name / METHOD / RUN
        if target.exists():
            raise CommandError(
                f"{target} exists already; delete it, or choose another --experiment-name or --output-dir"
            )
        found = read_splats(self.file, self.fps)
        require_writable(target.parent, "--output-dir")
        for line in described(found, self.hold):
            print(line)
        try:
            with sigterm_as_exception():
                write_run(found, target, self.up, self.hold)
        except KeyboardInterrupt as stop:
            print(f"stopped; nothing of {target} is kept", file=sys.stderr)
            raise SystemExit(exit_code(stop)) from None
        config = shell_word(target / "config.yml")
        print(f"ns-viewer --load-config {config}")
        print(f"dyn3d path orbit --load-config {config} --output orbit.json")
        print(f"dyn3d export ply --load-config {config} --output splats")


def described(file: SplatFile, hold: bool = False) -> list[str]:
    """Say what a file holds and what was changed of it, a line each."""
    sequence = file.sequence
    first, seconds = sequence.at(0), sequence.seconds
    over_time = "one instant"
    if len(seconds) > 1:
        moves = "each shown until the next one" if hold or not file.same_rows else "moving in between"
        over_time = f"{len(seconds)} times in {seconds[-1] - seconds[0]:.4g} s, {moves}"
    return [f"{len(first)} Gaussians, colours of degree {first.degree}, {over_time}", *file.notes]


def write_run(file: SplatFile, target: Path, up: UpAxis | None = None, hold: bool = False) -> None:
    """Write a run's folder as a training leaves it, whole or not at all: config, checkpoint, dataset.

    Args:
        file: What was read.
        target: The new folder, <output dir>/<name>/<method>/<run>.
        up: Axis that points up; as the file says, or neg-y, if None.
        hold: Whether to show each instant until the next one.
    """
    from dataclasses import replace

    import yaml

    from dyn3d_ns.cli.import_views import orbit, room_of, write_views
    from dyn3d_ns.engine import checkpoint
    from dyn3d_ns.engine.data_units import TRANSFORMS
    from dyn3d_ns.gaussians.imported import scene_of_file
    from dyn3d_ns.geometry.world import training_world
    from dyn3d_ns.io.atomic import atomic_folder, write_json, write_text

    stated = file.sequence.about.up
    room = room_of(file.sequence)
    world = training_world(room.box)
    scene = scene_of_file(replace(file, same_rows=file.same_rows and not hold), world)
    gaps = np.diff(file.sequence.seconds)
    fps = 1.0 / float(np.median(gaps)) if len(gaps) else file.sequence.about.fps
    with atomic_folder(target) as folder:
        poses = orbit(room, up or ("neg-y" if stated == "data" else stated))
        write_views(folder / DATA, scene, world, poses, fps)
        config = _config(target, file.sequence.at(0).degree, room.box)
        state = _model_state(config, scene, world, room.box, fps)
        saved = {"step": 0, "method": METHOD, "pipeline": state}
        checkpoint.save_checkpoint(saved, folder / checkpoint.FOLDER_NAME, 0, True)
        write_json(folder / TRANSFORMS, {"transform": world.transform[:3].tolist(), "scale": world.scale})
        write_text(folder / "config.yml", yaml.dump(config))


def _config(target: Path, degree: int, box: Float64[np.ndarray, "2 3"]) -> DynamicTrainerConfig:
    """Return the config of a run whose data lie beside it."""
    from dyn3d_ns.method_configs.dyn3d_imported import (  # pyright: ignore[reportMissingImports]
        dyn3d_imported,
    )

    config = copy.deepcopy(dyn3d_imported.config)
    config.output_dir = target.parents[2]
    config.experiment_name, config.timestamp = target.parents[1].name, target.name
    config.data = config.pipeline.datamanager.data = Path(DATA)
    config.pipeline.datamanager.dataparser.data = Path(DATA)
    config.pipeline.datamanager.dataparser.scene_box = tuple(box.reshape(-1).tolist())
    config.pipeline.model.sh_degree = degree
    return config


def _model_state(
    config: DynamicTrainerConfig,
    scene: ImportedScene,
    world: World,
    box: Float64[np.ndarray, "2 3"],
    fps: float,
) -> dict[str, Tensor]:
    """Return what a checkpoint holds of the model that shows a scene."""
    import torch
    from nerfstudio.data.scene_box import SceneBox

    from dyn3d_ns.io.scene_metadata import SceneMetadata
    from dyn3d_ns.timeline import Timeline

    metadata = SceneMetadata(
        timeline=Timeline.from_times(scene.times.tolist(), fps=fps),
        splits=["train"],
        source_files=[""],
        camera_ids=torch.zeros(1, dtype=torch.int64),
        world=world,
    )
    model = config.pipeline.model.setup(
        scene_box=SceneBox(aabb=torch.from_numpy(world.points(box)).float()),
        num_train_data=1,
        metadata=metadata.to_metadata(),
    )
    model.scene = scene
    speeds = [scene.at(float(time)).motion.norm(dim=1) for time in scene.times]
    moving = [some[some > 0] for some in speeds if bool((some > 0).any())]
    if moving:
        model.top_speed.fill_(max(float(np.quantile(some.numpy(), 0.99)) for some in moving))
    return {f"_model.{name}": value for name, value in model.state_dict().items()}
