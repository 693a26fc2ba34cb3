"""What the commands around dyn3d-das3r share: from a source to footage, a training, and back again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dyn3d_ns.cli.errors import CommandError

if TYPE_CHECKING:
    from dyn3d_ns.dataparsers.video import VideoDataParserConfig  # pyright: ignore[reportMissingImports]
    from dyn3d_ns.engine.pipeline import DynamicPipeline
    from dyn3d_ns.io.footage.base import Footage
    from dyn3d_ns.models.das3r.model import Das3rModel


@dataclass
class TrainedScene:
    """A trained static scene with the video that it was trained on."""

    pipeline: DynamicPipeline
    model: Das3rModel
    footage: Footage
    step: int
    """Steps that it was trained for."""


def default_method() -> str:
    """Return the preset for this machine."""
    from dyn3d_ns.engine.device import default_device_type

    return "dyn3d-das3r" if default_device_type() == "cuda" else "dyn3d-das3r-fast"


def parser_of(source: str, clip: Path) -> VideoDataParserConfig:
    """Return what reads a video with its cameras and masks, after `dyn3d process` where that is needed.

    Args:
        source: Whatever `dyn3d process` takes, or a folder that it, or another tool, made. Of a sequence of
            DAVIS or Sintel the annotations and ground truth are left to the evaluation.
        clip: Folder to process into, unless the sequence of a dataset has been processed in its own place.

    Raises:
        CommandError: a stage failed, or the source is not there.
    """
    # The folder dataparsers/ is mapped to this name at install time, which pyright does not follow.
    from dyn3d_ns.cli.process import Process
    from dyn3d_ns.dataparsers import davis, sintel, video  # pyright: ignore[reportMissingImports]
    from dyn3d_ns.io.recognised import images_in
    from dyn3d_ns.io.sequences import DavisSequence, SintelSequence, named_sequence

    sequence, folder = named_sequence(source), Path(source)
    if sequence is not None:
        if (sequence.clip / "cameras" / "poses.npz").is_file():
            clip = sequence.clip
        else:
            Process(source=source, out=clip).run()
        estimated = {"data": sequence.folder.absolute(), "masks": "estimated", "clip": clip.absolute()}
        if isinstance(sequence, DavisSequence):
            return davis.DavisDataParserConfig(**estimated)
        assert isinstance(sequence, SintelSequence)
        return sintel.SintelDataParserConfig(**estimated, cameras="estimated")
    if folder.is_dir() and not images_in(folder):
        return video.VideoDataParserConfig(data=folder.resolve())
    if folder.is_dir() and (folder.resolve() / "..").resolve() == clip.resolve():
        raise CommandError(f"{source} lies in {clip}, where the clip would go; choose another --clip")
    Process(source=source, out=clip).run()
    return video.VideoDataParserConfig(data=clip.resolve())


def require_das3r(config: Any, named: str) -> None:
    """Refuse a method that has no static scene.

    Raises:
        CommandError: it is none of dyn3d-das3r*.
    """
    from dyn3d_ns.models.das3r.model import Das3rModelConfig

    if not isinstance(getattr(getattr(config, "pipeline", None), "model", None), Das3rModelConfig):
        raise CommandError(f"{named} is not of dyn3d-das3r or dyn3d-das3r-fast, the methods that this takes")


def method_config(name: str) -> Any:
    """Return a copy of a method's settings.

    Raises:
        CommandError: there is no such method, or it has no static scene.
    """
    import copy

    from nerfstudio.configs.method_configs import all_methods

    if name not in all_methods:
        raise CommandError(f"there is no method {name!r}; take dyn3d-das3r or dyn3d-das3r-fast")
    config = copy.deepcopy(all_methods[name])
    require_das3r(config, f"--method {name}")
    return config


def train(
    parser: VideoDataParserConfig,
    folder: Path,
    method: str,
    steps: int | None = None,
    eval_interval: int | None = None,
) -> Path:
    """Train a method on a video as `ns-train` does, and return the training's config.yml.

    What is trained already is not trained again; a training that was stopped goes on. Trainings of other
    frames, cameras, masks or settings have other folders.

    Args:
        parser: What reads the video.
        folder: Where trainings are kept.
        method: Name of the preset.
        steps: Number of steps; the preset's if None.
        eval_interval: Every so many frames one is held out; the dataparser's own if None, the number of
            frames, so that all but one train, if 0.

    Raises:
        CommandError: the method has no static scene.
        SystemExit: Ctrl-C or SIGTERM stopped it; a checkpoint has been saved.
    """
    from nerfstudio.scripts.train import train_loop

    from dyn3d_ns.engine.checkpoint import find_checkpoint

    config = method_config(method)
    config.max_num_iterations = steps or config.max_num_iterations
    config.vis = "tensorboard"
    config.cpu_alternative = ""
    config.output_dir, config.experiment_name = folder.resolve().parent, folder.name
    config.data = config.pipeline.datamanager.data = parser.data
    config.pipeline.datamanager.dataparser = parser
    footage = parser.setup().open()
    # A short video holds one frame out all the same.
    most = max(len(footage.frames), 2)
    parser.eval_interval = min(parser.eval_interval if eval_interval is None else eval_interval or most, most)
    config.timestamp = f"{config.max_num_iterations}-{parser.eval_interval}-{_fingerprint(footage)}"
    saved, last = config.get_base_dir() / "config.yml", None
    if saved.is_file() and any(config.get_checkpoint_dir().glob("step-*.ckpt")):
        last = find_checkpoint(config.get_checkpoint_dir())
    if last is not None and int(last.stem.split("-")[1]) >= config.max_num_iterations - 1:
        return saved
    config.save_config()
    if last is not None:
        config.load_dir = config.get_checkpoint_dir()
    train_loop(0, 1, config)
    return saved


def _fingerprint(footage: Footage) -> str:
    """Return a name for what a training rests on: frames, cameras, masks and depth."""
    cameras = footage.cameras()
    digest = hashlib.sha256(cameras.camera_to_worlds.tobytes() + cameras.Ks.tobytes())
    for i, path in enumerate(footage.frames):
        digest.update(path.read_bytes())
        for name, read in (("motion", footage.motion), ("depth", footage.depth)):
            if name in footage.names:
                digest.update(read(i).tobytes())
    return digest.hexdigest()[:10]


def load_scene(config_path: Path, test_mode: str = "inference") -> TrainedScene:
    """Load the last checkpoint of a training of dyn3d-das3r.

    Raises:
        CommandError: there is no such training, or it is of another method.
    """
    from typing import cast

    from nerfstudio.utils.eval_utils import eval_setup

    from dyn3d_ns.cli.rig import require_checkpoint
    from dyn3d_ns.dataparsers.video import VideoDataParser  # pyright: ignore[reportMissingImports]
    from dyn3d_ns.engine import places
    from dyn3d_ns.engine.config_file import load_config

    config = load_config(config_path)
    require_das3r(config, str(config_path))
    with places.opened(config_path):
        require_checkpoint(config)
        _, pipeline, _, step = eval_setup(config_path, test_mode=cast(Any, test_mode))
    pipeline = cast("DynamicPipeline", pipeline)
    parser = pipeline.datamanager.dataparser
    if not isinstance(parser, VideoDataParser):
        raise CommandError(f"{config_path} was trained on a {type(parser).__name__}, which reads no video")
    footage = parser.open()
    return TrainedScene(pipeline, cast("Das3rModel", pipeline.model), footage, step + 1)


@contextmanager
def telling_how_to_go_on(what: str) -> Iterator[None]:
    """Run what may be stopped by Ctrl-C or SIGTERM; say then how to go on.

    Raises:
        SystemExit: it was stopped (status 130 or 143).
    """
    from dyn3d_ns.engine.interrupt import exit_code, sigterm_as_exception

    stopped = f"stopped; run the same command again to go on where it stopped ({what})"
    catching: AbstractContextManager[None] = sigterm_as_exception()
    try:
        with catching:
            yield
    except KeyboardInterrupt as stop:
        print(stopped)
        raise SystemExit(exit_code(stop)) from None
    except SystemExit as stop:
        if stop.code in (130, 143):
            print(stopped)
        raise
