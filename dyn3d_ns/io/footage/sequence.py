"""What DAVIS and Sintel have in common: frames of the dataset, and a clip with what was estimated of them."""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, Float64, UInt8

from dyn3d_ns.io.arrays import read_png
from dyn3d_ns.io.clip.types import Cameras, Flow, Tracks
from dyn3d_ns.io.errors import DatasetError
from dyn3d_ns.io.footage.base import Footage, Prior, Truth
from dyn3d_ns.io.footage.clip import ClipFootage
from dyn3d_ns.io.footage.files import check_aspect, check_proportion, resized
from dyn3d_ns.io.frame_matching import ClipFrames, Labels, match_frames
from dyn3d_ns.io.recognised import images_in
from dyn3d_ns.io.sequences import Sequence
from dyn3d_ns.io.shell import shell_word


class SequenceFootage(Footage):
    """Frames of a dataset's sequence, with cameras, depth and so on of the clip made of them."""

    mask_source = "dyn3d process"
    camera_source = "dyn3d process"

    def __init__(self, sequence: Sequence, clip: Path | None = None) -> None:
        """Take a sequence, and its clip from where it belongs or from a folder that is named."""
        self.sequence, self.root = sequence, sequence.folder
        self.clip_folder = sequence.clip if clip is None else clip
        named = "" if clip is None else f" {shell_word(clip)}"
        self.command = f"dyn3d process {shell_word(sequence.source)}{named}"
        self.advice = f"`{self.command}` estimates masks, cameras, flow, depth and tracks"

    @cached_property
    def frames(self) -> list[Path]:  # type: ignore[override]
        """Images of the dataset."""
        found = self.sequence.series
        if found.note is not None:
            print(found.note, file=sys.stderr)
        return found.images

    @property
    def times(self) -> tuple[Float64[np.ndarray, "F"], float | None]:
        """Times evenly spaced in [0, 1], and frames per second as the clip has them."""
        fps = self.clip.times[1] if self.has_clip else None
        return np.linspace(0.0, 1.0, len(self.frames)), fps

    @property
    def has_clip(self) -> bool:
        """Whether `dyn3d process` was there."""
        return (self.clip_folder / "rgb").is_dir()

    @cached_property
    def clip(self) -> ClipFootage:
        """The clip, checked to be of these frames.

        Raises:
            DatasetError: there is none, or it is of another number or proportion of frames.
        """
        if not self.has_clip:
            raise DatasetError(
                f"{self.clip_folder} does not hold the cameras of {self.sequence.name}: run "
                f"`{self.command}`, which estimates them"
            )
        clip = ClipFootage(self.clip_folder)
        if len(clip.frames) != len(self.frames):
            raise DatasetError(
                f"{clip.root} has {len(clip.frames)} frames, {self.root} {len(self.frames)}; run "
                f"`{self.command}` again, without --fps and --max-frames, into an empty folder"
            )
        check_proportion(clip.frames[0], clip.size, self.size)
        return clip

    def cameras(self) -> Cameras:
        """Read the clip's cameras, brought to the size of the frames."""
        found = self.clip.cameras()
        return replace(found, Ks=resized(found.Ks, self.clip.size, self.size))

    @property
    def names(self) -> frozenset[Prior]:  # type: ignore[override]
        """What the clip holds."""
        return self.clip.names if self.has_clip else frozenset()

    def dynamic_mask(self, i: int) -> Bool[np.ndarray, "h w"]:
        """Read where frame i moves by itself, as it was estimated."""
        return self.clip.dynamic_mask(i)

    def motion(self, i: int) -> Float32[np.ndarray, "h w"]:
        """Read how likely each pixel moves, as it was estimated."""
        return self.clip.motion(i)

    def depth(self, i: int) -> Float32[np.ndarray, "h w"]:
        """Read planar z of frame i as it was estimated."""
        return self.clip.depth(i)

    def has_flow(self, i: int, j: int) -> bool:
        """Whether the flow from frame i to frame j was estimated."""
        return self.has_clip and self.clip.has_flow(i, j)

    def flow(self, i: int, j: int) -> Flow:
        """Read the flow from frame i to frame j, in pixels of the clip, as large as the clip."""
        return self.clip.flow(i, j)

    def tracks(self) -> Tracks:
        """Read the tracks, brought to the size of the frames."""
        found = self.clip.tracks()
        width, height = self.size
        scale = np.array([width / found.width, height / found.height])
        # Whole numbers are pixel centres: a scale acts about the corner of the image, at -0.5.
        xy = ((found.xy + 0.5) * scale - 0.5).astype(np.float32)
        return replace(found, xy=xy, width=width, height=height)

    def points(self, middle: int) -> tuple[Float64[np.ndarray, "P 3"], UInt8[np.ndarray, "P 3"]] | None:
        """Read the clip's points."""
        return self.clip.points(middle)

    @cached_property
    def _clean(self) -> list[Path]:
        """Frames without what moves, if there is one for each; the root's own are of its only sequence."""
        folder = self.sequence.root / "ground_truth" / "clean"
        own, alone = folder / self.sequence.name, len(list(self.sequence.folder.parent.iterdir())) == 1
        found = images_in(own) or (images_in(folder) if alone else [])
        if len(found) != len(self.frames):
            return []
        names = tuple(path.name for path in self.frames)
        plates = Labels(len(found), tuple(path.name for path in found))
        match = match_frames(ClipFrames(np.arange(len(names)), names), plates, str(folder), "clean plates")
        if not match.complete:
            return []
        check_aspect(found, self.size)
        return [found[row] for row in match.rows]

    @property
    def truths(self) -> frozenset[Truth]:  # type: ignore[override]
        """Clean plates, where `ROOT/ground_truth/clean` holds one for each frame."""
        return frozenset({"clean"} if self._clean else ())

    def clean(self, i: int) -> UInt8[np.ndarray, "h w 3"]:
        """Read frame i as it were without anything that moves."""
        return read_png(self._clean[i], "RGB")
