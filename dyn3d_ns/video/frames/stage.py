"""The stage `frames`: a video or a folder becomes rgb/00000.png … and clip.json."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from dyn3d_ns.io.arrays import encode_png
from dyn3d_ns.io.clip.types import Clip
from dyn3d_ns.io.clip.workspace import Workspace
from dyn3d_ns.io.errors import StageError
from dyn3d_ns.video.cameras.settings import GivenCameras
from dyn3d_ns.video.frames.decode import Frame, Source, focal_in_pixels
from dyn3d_ns.video.frames.lens import bent_lenses, undo_lens
from dyn3d_ns.video.frames.settings import SMALLEST_SIDE, FramesSettings
from dyn3d_ns.video.stage import Report, Stage


class Stamp(NamedTuple):
    """Which frame was taken, and when it was shot."""

    number: int
    seconds: float
    name: str = ""


class FramesStage(Stage):
    """Decodes, thins out, turns upright and shrinks the frames."""

    name = "frames"
    accepts_given = False
    version = 2
    settings: FramesSettings

    def __init__(self, settings: FramesSettings, source: Path, cameras: GivenCameras | None = None) -> None:
        """Take a video or folder, and the cameras of another tool whose lens is to be undone."""
        super().__init__(settings)
        self.source, self.cameras = source, cameras or GivenCameras()

    def external_inputs(self) -> list[Path]:
        """Return the video or folder."""
        return [self.source]

    def other_inputs(self) -> object:
        """Return the lens; poses and all else that the cameras' file holds change no frame."""
        return bent_lenses(self.cameras)

    def outputs(self, workspace: Workspace) -> list[Path]:
        """Return the list of times and the frames."""
        return [workspace.clip_path, *workspace.frames()]

    def run(self, workspace: Workspace, report: Report) -> None:
        """Write the frames and their times."""
        in_place = self.source.resolve() == workspace.rgb_dir.resolve()
        self._check_folder(workspace, in_place)
        source = Source(self.source, self.settings.folder_fps)
        # All frames appear at once: a run that is cut off leaves no half clip behind.
        part = workspace.cache_dir / "rgb.part"
        shutil.rmtree(part, ignore_errors=True)
        kept, size, repeated = self._extract(source, None if in_place else part, report)
        for text in source.notes:
            if in_place:
                raise StageError(
                    f"{text}; the result's own frames are read as they stand: remove or convert these, or "
                    "give the folder that they came from"
                )
            report.note(text)
        if len(kept) < 2:
            raise StageError(f"{self.source} gives {len(kept)} frame(s); a clip needs at least 2")
        if repeated:
            what = "all frames are the same" if repeated == len(kept) - 1 else f"{repeated} frame(s) repeat"
            report.note(f"{what}: nothing moves between them")
        clip = _clip(kept, size, source)
        if self.other_inputs() is not None:
            if in_place:
                raise StageError(
                    f"{self.cameras.poses} has a lens, which cannot be undone in {self.source}, the result's "
                    "own folder; give another OUT"
                )
            clip = undo_lens(clip, part, self.cameras, report)
        if not in_place:
            if workspace.rgb_dir.is_dir():
                workspace.rgb_dir.rmdir()
            part.rename(workspace.rgb_dir)
        workspace.write_clip(clip)

    def _check_folder(self, workspace: Workspace, in_place: bool) -> None:
        if in_place and (self.settings.fps is not None or self.settings.max_frames is not None):
            raise StageError(
                f"{self.source} is the result's own folder: --fps and --max-frames cannot change it"
            )
        if not in_place and workspace.rgb_dir.is_dir() and any(workspace.rgb_dir.iterdir()):
            raise StageError(
                f"{workspace.rgb_dir} holds frames of other things; choose another OUT, or give it as source"
            )

    def _extract(
        self, source: Source, folder: Path | None, report: Report
    ) -> tuple[list[Stamp], tuple[int, int], int]:
        """Write the frames into a folder (None: leave them where they are).

        Returns:
            Number and time of each, their width and height, and how many repeat the one before.
        """
        kept: list[Stamp] = []
        repeated = 0
        previous: UInt8[np.ndarray, "H W 3"] | None = None
        frames = source.frames()
        chosen = select(frames, self.settings.fps, self.settings.max_frames)
        for frame in report.track(chosen, "decoding", source.count_hint(self.settings.max_frames)):
            image = shrink(frame.image, 0 if folder is None else self.settings.resize)
            if previous is not None and previous.shape != image.shape:
                raise StageError(
                    f"frame {frame.number} of {source.path} is {image.shape[1]}x{image.shape[0]}, those "
                    f"before it {previous.shape[1]}x{previous.shape[0]}; cut the video where its size changes"
                )
            repeated += previous is not None and np.array_equal(previous, image)
            previous = image
            if folder is not None:
                folder.mkdir(parents=True, exist_ok=True)
                (folder / f"{len(kept):05d}.png").write_bytes(encode_png(image))
            kept.append(Stamp(frame.number, frame.seconds, frame.name))
        # What is to be said is complete once the source is closed, before its end as well.
        frames.close()
        size = (previous.shape[1], previous.shape[0]) if previous is not None else (0, 0)
        if min(size) < SMALLEST_SIDE and kept:
            raise StageError(f"{self.source} has frames of {size[0]}x{size[1]}, too small to work on")
        return kept, size, repeated


def select(frames: Iterator[Frame], fps: float | None, max_frames: int | None) -> Iterator[Frame]:
    """Thin frames out to a rate: for each tick of the clock the frame nearest in time, none of them twice."""
    return itertools.islice(_at_rate(frames, fps) if fps is not None else frames, max_frames)


def _at_rate(frames: Iterator[Frame], fps: float) -> Iterator[Frame]:
    tick, before = 0, None
    for frame in frames:
        chosen = None
        while tick / fps <= frame.seconds:
            late = frame.seconds - tick / fps
            nearer = before if before is not None and tick / fps - before.seconds < late else frame
            if chosen is not None and nearer is not chosen:
                yield chosen
            chosen = nearer
            tick += 1
        if chosen is not None:
            yield chosen
        # A frame that was handed out already is no candidate for the next tick.
        before = None if chosen is frame else frame


def shrink(image: UInt8[np.ndarray, "H W 3"], longer_side: int) -> UInt8[np.ndarray, "H2 W2 3"]:
    """Shrink an image by averaging areas so that its longer side is at most so many pixels; 0 keeps it."""
    import cv2

    height, width = image.shape[:2]
    if longer_side == 0 or max(height, width) <= longer_side:
        return image
    scale = longer_side / max(height, width)
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _clip(stamps: list[Stamp], size: tuple[int, int], source: Source) -> Clip:
    seconds = [stamp.seconds - stamps[0].seconds for stamp in stamps]
    return Clip(
        times=tuple(seconds),
        source_frames=tuple(stamp.number for stamp in stamps),
        width=size[0],
        height=size[1],
        fps=float((len(seconds) - 1) / seconds[-1]),
        focal_px=focal_in_pixels(source.focal_35mm, *size),
        source=source.path.name,
        source_names=tuple(stamp.name for stamp in stamps if stamp.name),
    )
