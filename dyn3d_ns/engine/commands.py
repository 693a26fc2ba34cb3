"""What Nerfstudio's commands do differently while they run a method of ours.

A pipeline of ours calls :func:`adapt` when it is set up, the first moment at which a method's code runs in
`ns-eval`, `ns-render`, `ns-export` and `ns-viewer`. A process that runs a stock method never comes here, and
in one that runs both, loader and viewer ask whose pipeline it is.
"""

from __future__ import annotations

import sys
import warnings
from functools import cache, wraps
from pathlib import Path
from typing import Any

from dyn3d_ns import compat, plain_errors
from dyn3d_ns.engine import command_checks, places, render_options
from dyn3d_ns.engine.checkpoint import (
    SHOWN,
    explaining_misfits,
    find_checkpoint,
    load_checkpoint,
    require_parts,
    run_of,
)
from dyn3d_ns.engine.data_units import require_same_world, use_data_units
from dyn3d_ns.engine.ffmpeg import ensure_ffmpeg
from dyn3d_ns.engine.method import DynamicMethod
from dyn3d_ns.io.errors import UserError
from dyn3d_ns.io.scene_metadata import scene_of
from dyn3d_ns.io.shell import shell_word
from dyn3d_ns.viewer.keyframes import allow_two_keyframes
from dyn3d_ns.viewer.other_processes import let_processes_end

_EVERY_INTERFACE = "0.0.0.0"


def adapt(ours: type, method: type[DynamicMethod] = DynamicMethod) -> None:
    """Prepare the command that this process runs for pipelines of a class; calling it again changes nothing.

    Args:
        ours: Class of the pipelines.
        method: Class of the model that this pipeline will have.

    Raises:
        UserError: the command cannot succeed with such a method, or with its arguments.
    """
    plain_errors.install()
    render_options.check(sys.argv)
    command_checks.check(sys.argv[0], sys.argv[1:], method)
    if not compat.switched_off():
        _change_modules(ours)
        _keep_interpolated_times()


@cache
def _change_modules(ours: type) -> None:
    _find_ffmpeg_in_the_wheel()
    _load_checkpoints_safely(ours)
    _listen_on_this_machine_only(ours)
    # Nerfstudio indexes cameras by lists, which it means as tuples and torch still takes so.
    warnings.filterwarnings("ignore", "Using a non-tuple sequence", module=r"nerfstudio\.cameras")
    let_processes_end()


def _find_ffmpeg_in_the_wheel() -> None:
    """Look into the imageio-ffmpeg wheel before telling the user that ffmpeg is missing."""
    from nerfstudio.utils import install_checks

    stock = install_checks.check_ffmpeg_installed

    @wraps(stock)
    def check_ffmpeg_installed() -> None:
        try:
            ensure_ffmpeg()
        except RuntimeError as error:  # the wheel has no binary for this platform
            print(error, file=sys.stderr)
        stock()

    install_checks.check_ffmpeg_installed = check_ffmpeg_installed


def _load_checkpoints_safely(ours: type) -> None:
    """Let the commands find and read our checkpoints as a resumed training does, with its error messages."""
    from nerfstudio.utils import eval_utils
    from nerfstudio.utils.rich_utils import CONSOLE

    stock = eval_utils.eval_load_checkpoint

    @wraps(stock)
    def eval_load_checkpoint(config: Any, pipeline: Any) -> tuple[Path, int]:
        if not isinstance(pipeline, ours):
            return stock(config, pipeline)
        path = find_checkpoint(places.run_folder() or config.load_dir, config.load_step)
        state = load_checkpoint(path)
        require_parts(state, path, SHOWN)
        with explaining_misfits(path):
            pipeline.load_pipeline(state["pipeline"], state["step"])
        box = pipeline.datamanager.train_dataset.scene_box.aabb
        require_same_world(run_of(path), pipeline.method.world, box.double().cpu().numpy())
        pipeline.method.use_run_folder(run_of(path))
        _choose_scenes(pipeline, sys.argv)
        _ready_for_export(pipeline, sys.argv)
        use_data_units(pipeline)
        CONSOLE.print(f":white_check_mark: Done loading checkpoint from {path}")
        return path, state["step"]

    eval_utils.eval_load_checkpoint = eval_load_checkpoint


def _choose_scenes(pipeline: Any, arguments: list[str]) -> None:
    """Show the scenes that `ns-render` was asked for; cameras of others are no part of an interpolated path.

    Raises:
        UserError: the training has no such scene.
    """
    method, command = pipeline.method, arguments[1:2]
    scene, background = (render_options.chosen(o) for o in (render_options.SCENE, render_options.BACKGROUND))
    if scene is not None:
        method.show_scene(scene)
    if background is not None:
        method.show_background_of(background)
    if len(method.scene_names) < 2 or command not in (["camera-path"], ["interpolate"]):
        return
    if scene is None:
        shown, names = method.scene_names[method.scene_shown], ", ".join(method.scene_names)
        print(f"Shown is the scene {shown} of {names}; {render_options.SCENE} chooses another.")
    if command == ["interpolate"]:
        for dataset in (pipeline.datamanager.train_dataset, pipeline.datamanager.eval_dataset):
            ids = scene_of(dataset.metadata).scene_ids
            dataset.cameras = dataset.cameras[ids == method.scene_shown]


def _ready_for_export(pipeline: Any, arguments: list[str]) -> None:
    """Say which moment `ns-export gaussian-splat` writes; give cameras what `ns-export cameras` asks for."""
    if arguments[1:2] == ["gaussian-splat"]:
        config = shell_word(command_checks.value_of("--load-config", arguments) or "CONFIG")
        print(
            f"The exported Gaussians are those of {pipeline.method.laid_out_at()}; `dyn3d export ply "
            f"--load-config {config} --times 0 0.5 1 --output-dir splats` writes those of other moments."
        )
    if arguments[1:2] == ["cameras"]:
        for dataset in (pipeline.datamanager.train_dataset, pipeline.datamanager.eval_dataset):
            dataset.cameras.metadata = dataset.cameras.metadata or {}


def _listen_on_this_machine_only(ours: type) -> None:
    """Let `ns-viewer` of our methods listen on this machine only, unless its command line names a host.

    Nerfstudio's default is every network interface, and `ns-viewer` ignores what the training was set to.
    """
    from nerfstudio.viewer.viewer import Viewer

    stock = Viewer.__init__

    @wraps(stock)
    def __init__(
        self: Any, config: Any, log_filename: Any, datapath: Any, pipeline: Any, *args: Any, **kw: Any
    ):
        if isinstance(pipeline, ours):
            allow_two_keyframes()
            named = any("websocket-host" in word.replace("_", "-") for word in sys.argv)
            if not named and config.websocket_host == _EVERY_INTERFACE:
                config.websocket_host = "127.0.0.1"
                print(
                    "The viewer is reachable from this machine only; "
                    f"--viewer.websocket-host {_EVERY_INTERFACE} opens it to the network."
                )
            # The training's folder may have moved.
            log_filename = (places.run_folder() or log_filename.parent) / log_filename.name
            log_filename.parent.mkdir(parents=True, exist_ok=True)
        stock(self, config, log_filename, datapath, pipeline, *args, **kw)

    Viewer.__init__ = __init__


def _keep_interpolated_times() -> None:
    """Let a running `ns-render interpolate` keep the times of the cameras between which it goes."""
    from nerfstudio.cameras.camera_paths import get_interpolated_camera_path as stock

    for name in ("nerfstudio.scripts.render", "__main__"):  # the script, or `python -m` of it
        names = vars(sys.modules[name]) if name in sys.modules else {}
        if names.get(stock.__name__) is stock:
            names[stock.__name__] = interpolated_camera_path


def interpolated_camera_path(cameras: Any, steps: int, order_poses: bool) -> Any:
    """Return Nerfstudio's path through cameras, with their times interpolated where they have any.

    Raises:
        UserError: there is nothing to interpolate between.
    """
    from nerfstudio.cameras import camera_paths

    if len(cameras) < 2:
        other = "eval" if command_checks.value_of("--pose-source", sys.argv) == "train" else "train"
        raise UserError(
            "`ns-render interpolate` goes from camera to camera, and there is one only; take others with "
            f"--pose-source {other}, or write a path with `dyn3d path`"
        )
    if steps < 1:
        raise UserError(f"--interpolation-steps must be at least 1, got {steps}")
    path = camera_paths.get_interpolated_camera_path(cameras, steps, order_poses)
    if cameras.times is not None:
        # The stock function orders poses and interpolates intrinsics alike: times travel in their place.
        as_intrinsics = cameras.times.reshape(-1, 1, 1).expand(-1, 3, 3)
        times = camera_paths.get_interpolated_poses_many(
            cameras.camera_to_worlds, as_intrinsics, steps_per_transition=steps, order_poses=order_poses
        )[1]
        path.times = times[:, 0, :1]
    return path
