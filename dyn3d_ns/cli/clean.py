"""`dyn3d clean`: a video without what moves in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from dyn3d_ns.cli.errors import CommandError, require_output_file

if TYPE_CHECKING:
    import numpy as np

    from dyn3d_ns.io.footage.base import Footage
    from dyn3d_ns.models.das3r.clean import CleanFrames


@dataclass
class CleanScene:
    """A trained scene, and what composes frames out of it."""

    frames: CleanFrames
    footage: Footage


@dataclass(kw_only=True)
class Clean:
    """Write a video without what moves in it: processed, trained and rendered in one command.

    Beside OUT.mp4 there will be OUT_mask.mp4, white where the surroundings were continued, since training
    learned nothing of what is behind; OUT_clip, the processed video; and OUT_training. Run it again to go on
    where it stopped.
    """

    paths: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="[VIDEO] OUT.mp4")]
    """A video file, a folder of frames or a folder that `dyn3d process` made; then the file to write. VIDEO
    may be left out with --config."""
    config: Path | None = None
    """config.yml of a training of dyn3d-das3r to render, instead of processing and training."""
    clip: Path | None = None
    """Folder for the processed video; OUT_clip if not given."""
    method: str | None = None
    """Preset to train: dyn3d-das3r on a machine with CUDA, dyn3d-das3r-fast without, if not given."""
    steps: int | None = None
    """Steps to train; those of the preset if not given."""
    keep: tuple[int, ...] = ()
    """Objects to leave in, by their ids in OUT_clip/segmentation/label; their shadows go."""
    render_everything: bool = False
    """Show the rendered scene everywhere, not only where something moves."""

    def run(self) -> None:
        """Do all that is missing, then write the videos.

        Raises:
            CommandError: the arguments contradict each other or name what is not there; nothing was done.
            SystemExit: Ctrl-C (status 130) or SIGTERM (143) stopped it.
        """
        from dyn3d_ns.cli.das3r import default_method, method_config, parser_of, telling_how_to_go_on, train

        video, out = self._arguments()
        with telling_how_to_go_on("what is done is kept"):
            config = self.config
            if config is None:
                assert video is not None
                method = self.method or default_method()
                method_config(method)
                parser = parser_of(str(video), self.clip or _beside(out, "_clip"))
                check_kept(self.keep, parser.data)
                config = train(parser, _beside(out, "_training"), method, self.steps, eval_interval=0)
            scene = open_scene(config)
            self._write(scene, video, out)

    def _arguments(self) -> tuple[Path | None, Path]:
        """Return video and output, checked."""
        from dyn3d_ns.io.sequences import PREFIXES

        if len(self.paths) not in (1, 2) or (len(self.paths) == 1 and self.config is None):
            raise CommandError(
                "give VIDEO and OUT.mp4, in this order (with --config OUT.mp4 may stand alone); got "
                f"{' '.join(map(str, self.paths)) or 'nothing'}"
            )
        video, out = (self.paths[0] if len(self.paths) == 2 else None), self.paths[-1]
        if video is not None and not (video.exists() or str(video).startswith(PREFIXES)):
            raise CommandError(f"{video} does not exist; give a video file or a folder of images")
        written = (out, _beside(out, "_mask.mp4"))
        if video is not None and any(path.exists() and path.samefile(video) for path in written):
            raise CommandError(f"OUT must be another file than VIDEO {video}, which would be overwritten")
        if self.config is not None and not self.config.is_file():
            raise CommandError(f"--config must be the config.yml of a training, but {self.config} is no file")
        if self.config is not None and (self.method or self.steps or self.clip):
            raise CommandError("--config renders a training; --method, --steps and --clip are of new ones")
        if self.steps is not None and self.steps < 1:
            raise CommandError(f"--steps must be at least 1, got {self.steps}")
        for path in written:
            require_output_file(path, ".mp4", "OUT")
        return video, out

    def _write(self, scene: CleanScene, video: Path | None, out: Path) -> None:
        import numpy as np
        from rich.progress import track

        from dyn3d_ns.io.video_file import VideoWriter

        check_kept(self.keep, scene.footage.root)
        count, mask_out = len(scene.footage.frames), _beside(out, "_mask.mp4")
        images = recorded_images(scene.footage, video)
        first = next(images)
        fps = constant_rate(scene.footage)
        size, filled, done = (first.shape[1], first.shape[0]), 0.0, 0
        with ExitStack() as stack:
            writer = stack.enter_context(VideoWriter(out, *size, fps))
            mask_writer = stack.enter_context(VideoWriter(mask_out, *size, fps))
            if not writer.subsampled:
                print(f"{size[0]}x{size[1]} is odd: stored as 4:4:4, which not every browser plays")
            for i in track(range(count), description="Cleaning"):
                image = first if i == 0 else next(images, None)
                if image is None:
                    raise CommandError(f"{video} has {i} frames, the training {count}: give its own video")
                composed = scene.frames.compose(i, image, self.keep, self.render_everything)
                writer.write(np.rint(255 * composed.image).astype(np.uint8))
                white = np.where(composed.filled[..., None], np.uint8(255), np.uint8(0))
                mask_writer.write(np.repeat(white, 3, axis=-1))
                filled, done = filled + float(composed.filled.mean()), done + 1
            if next(images, None) is not None:
                raise CommandError(f"{video} has more than the {count} frames of the training")
        print(
            f"{out}: {done} frames of {size[0]}x{size[1]} at {fps:.4g} per second, without sound\n"
            f"{mask_out}: white where the surroundings were continued, {100 * filled / done:.1f} % of all"
        )


def open_scene(config: Path) -> CleanScene:
    """Load a training of dyn3d-das3r with the cameras of all frames of its video."""
    from dyn3d_ns.cli.das3r import load_scene
    from dyn3d_ns.models.das3r.clean import CleanFrames

    scene = load_scene(config)
    parser = scene.pipeline.datamanager.dataparser
    splits = [parser.get_dataparser_outputs(split) for split in ("train", "test")]
    return CleanScene(CleanFrames(scene.model, scene.footage, splits), scene.footage)


def recorded_images(footage: Footage, video: Path | None) -> Iterator[np.ndarray]:
    """Yield the recorded frames in order: those of the video at full size, or those that were trained on."""
    from dyn3d_ns.io.clip.folder import ClipFolder
    from dyn3d_ns.io.images import read_image
    from dyn3d_ns.io.recognised import images_in
    from dyn3d_ns.io.sequences import PREFIXES
    from dyn3d_ns.video.frames.decode import Source

    trained_on = video is None or (video.is_dir() and not images_in(video)) or str(video).startswith(PREFIXES)
    if trained_on:
        for path in footage.frames:
            yield read_image(path, alpha=False)
        return
    assert video is not None
    clip = ClipFolder(footage.root)
    wanted = set(clip.clip().source_frames) if clip.clip_path.is_file() else None
    for frame in Source(video).frames():
        if wanted is None or frame.number in wanted:
            yield frame.image


def constant_rate(footage: Footage) -> float:
    """Return the frames per second to write; say so where the recording's vary, or are not known."""
    import numpy as np

    times, fps = footage.times
    if fps is None:
        print("The frame rate is not known: written at 24 frames per second")
        return 24.0
    steps = np.diff(times)
    if len(steps) and (np.abs(steps / steps.mean() - 1) > 0.1).any():
        print(f"The frame rate varies: written at the mean, {fps:.4g} frames per second")
    return fps


def check_kept(keep: tuple[int, ...], data: Path) -> None:
    """Refuse ids of objects that there are not.

    Raises:
        CommandError: the message lists those that there are.
    """
    import numpy as np

    from dyn3d_ns.io.clip.folder import ClipFolder

    if not keep:
        return
    clip = ClipFolder(data)
    if not clip.has_masks():
        raise CommandError(f"{data} has no object ids, which --keep takes; `dyn3d process` finds them")
    there = set[int]()
    for i in range(clip.num_frames):
        there |= set(np.unique(clip.labels(i)).tolist())
    there -= {0}
    if not set(keep) <= there:
        names = clip.instance_names
        known = ", ".join(f"{i} ({names[i]})" if i in names else str(i) for i in sorted(there)) or "none"
        unknown = ", ".join(str(i) for i in sorted(set(keep) - there))
        raise CommandError(f"--keep {unknown}: there is no such object; there are {known}")


def _beside(out: Path, ending: str) -> Path:
    return out.with_name(out.stem + ending)
