"""The stage `frames`: a video or a folder becomes rgb/00000.png … and clip.json."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from dyn3d_ns.io.errors import StageError
from dyn3d_ns.video.arrays import encode_png
from dyn3d_ns.video.decode import Frame, Source, focal_in_pixels
from dyn3d_ns.video.stage import Report, Stage
from dyn3d_ns.video.types import Clip
from dyn3d_ns.video.workspace import Workspace

_SMALLEST_SIDE = 32


@dataclass(frozen=True)
class FramesSettings:
    """Which frames are taken from the video."""

    max_frames: int | None = None
    """Stop after this many frames."""
    fps: float | None = None
    """Take this many frames per second, the nearest ones in time; all frames if not given."""
    resize: int = 640
    """Longer side of the frames in pixels; smaller videos stay as they are, 0 keeps the full size."""
    folder_fps: float = 24.0
    """Frames per second at which a folder of images was taken."""

    def check(self) -> None:
        """Raise a StageError for values that make no sense."""
        if self.max_frames is not None and self.max_frames < 2:
            raise StageError(f"--max-frames must be at least 2, got {self.max_frames}")
        if self.fps is not None and self.fps <= 0:
            raise StageError(f"--fps must be positive, got {self.fps}")
        if self.folder_fps <= 0:
            raise StageError(f"--folder-fps must be positive, got {self.folder_fps}")
        if self.resize != 0 and self.resize < _SMALLEST_SIDE:
            raise StageError(f"--resize must be 0 or at least {_SMALLEST_SIDE} pixels, got {self.resize}")


class Stamp(NamedTuple):
    """Which frame was taken, and when it was shot."""

    number: int
    seconds: float


class FramesStage(Stage):
    """Decodes, thins out, turns upright and shrinks the frames."""

    name = "frames"
    accepts_given = False
    settings: FramesSettings

    def __init__(self, settings: FramesSettings, source: Path) -> None:
        super().__init__(settings)
        self.source = source

    def external_inputs(self) -> list[Path]:
        """Return the video or folder."""
        return [self.source]

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
                raise StageError(f"{text}; remove what is damaged from {self.source}")
            report.note(text)
        if len(kept) < 2:
            raise StageError(f"{self.source} gives {len(kept)} frame(s); a clip needs at least 2")
        if repeated:
            what = "all frames are the same" if repeated == len(kept) - 1 else f"{repeated} frame(s) repeat"
            report.note(f"{what}: nothing moves between them")
        if not in_place:
            if workspace.rgb_dir.is_dir():
                workspace.rgb_dir.rmdir()
            part.rename(workspace.rgb_dir)
        workspace.write_clip(_clip(kept, size, source))

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
        chosen = select(source.frames(), self.settings.fps, self.settings.max_frames)
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
            kept.append(Stamp(frame.number, frame.seconds))
        size = (previous.shape[1], previous.shape[0]) if previous is not None else (0, 0)
        if min(size) < _SMALLEST_SIDE and kept:
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
    )
