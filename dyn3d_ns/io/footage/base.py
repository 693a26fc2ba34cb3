"""One video with what is known of each frame: cameras, masks, depth, and ground truth where there is any.

A layout (a processed clip, DAVIS, Sintel, DAS3R's tree, …) extends :class:`Footage` and overrides what it
has. Cameras are OpenCV's (x right, y down, z ahead) in a world of the layout's own; whole pixel coordinates
are pixel centres.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float32, Float64, UInt8

from dyn3d_ns.io.clip.types import Cameras, Flow, Tracks
from dyn3d_ns.io.images import bits_used
from dyn3d_ns.io.recognised import image_sizes

Prior = Literal["dynamic_mask", "motion", "flow", "flow_back", "depth", "disparity", "tracks"]
"""What may be known of an image beside its colours."""
Truth = Literal["cameras", "dynamic_mask", "clean"]
"""Ground truth to measure by: cameras, where something moves, the frame without what moves."""


class Footage:
    """Readers of one video; what a user can mend is a ``UserError``, raised where a file is read.

    Maps of a frame may be of another size than the frame; whoever takes them brings them to it.
    """

    root: Path
    """Folder that messages name."""
    advice: str = ""
    """How to get what there is not: the command that makes it."""
    mask_source: str = "none"
    """Whose masks they are, for reports: "dyn3d process", "annotations", "ground truth"…"""
    truth_source: str = "ground truth"
    """What true masks are, for reports: annotations may be somebody's predictions."""
    camera_source: str = "none"
    """Whose cameras they are, for reports."""

    @property
    def frames(self) -> list[Path]:
        """Images in the order of time, all of one size."""
        raise NotImplementedError

    @cached_property
    def size(self) -> tuple[int, int]:
        """Width and height of the frames, checked to be the same for all.

        Raises:
            ImageSizeError: they are not.
            DamagedFileError: an image cannot be read.
        """
        return image_sizes(self.frames)

    @cached_property
    def bits(self) -> int:
        """Bits in use of frames with 16 a channel."""
        return bits_used(self.frames)

    @property
    def times(self) -> tuple[Float64[np.ndarray, "F"], float | None]:
        """Times in [0, 1], and frames per second (None if unknown)."""
        return np.linspace(0.0, 1.0, len(self.frames)), None

    def cameras(self) -> Cameras:
        """Read one camera a frame."""
        raise NotImplementedError

    @property
    def names(self) -> frozenset[Prior]:
        """Which of the following there are, told without reading them."""
        return frozenset()

    def dynamic_mask(self, i: int) -> Bool[np.ndarray, "h w"]:
        """Read where frame i moves by itself."""
        raise NotImplementedError

    def motion(self, i: int) -> Float32[np.ndarray, "h w"]:
        """Read how likely each pixel of frame i moves by itself, in [0, 1]; without such the mask."""
        return self.dynamic_mask(i).astype(np.float32)

    def depth(self, i: int) -> Float32[np.ndarray, "h w"]:
        """Read planar z of frame i in the cameras' world; 0 where nothing is known."""
        raise NotImplementedError

    def has_flow(self, i: int, j: int) -> bool:
        """Whether the flow from frame i to frame j can be read."""
        return False

    def flow(self, i: int, j: int) -> Flow:
        """Read the flow from frame i to frame j."""
        raise NotImplementedError

    def tracks(self) -> Tracks:
        """Read the tracks."""
        raise NotImplementedError

    def points(self, middle: int) -> tuple[Float64[np.ndarray, "P 3"], UInt8[np.ndarray, "P 3"]] | None:
        """Read a cloud in the cameras' world to start from, what moves as it lies in frame ``middle``."""
        return None

    @property
    def truths(self) -> frozenset[Truth]:
        """Which ground truth there is."""
        return frozenset()

    def true_cameras(self) -> Float64[np.ndarray, "F 4 4"]:
        """Read true camera-to-world poses, in a world of their own."""
        raise NotImplementedError

    def has_true_mask(self, i: int) -> bool:
        """Whether frame i has a true mask; of a few datasets a frame at the end has none."""
        return "dynamic_mask" in self.truths

    def true_mask(self, i: int) -> Bool[np.ndarray, "h w"]:
        """Read where frame i truly moves."""
        raise NotImplementedError

    def clean(self, i: int) -> UInt8[np.ndarray, "h w 3"]:
        """Read frame i as it were without anything that moves."""
        raise NotImplementedError
