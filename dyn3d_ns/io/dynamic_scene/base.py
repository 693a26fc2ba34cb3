"""What the files of a scene give: frames, cameras, maps of the frames, and other views of its moments."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Float64, UInt8

from dyn3d_ns.io.clip.types import Cameras, Flow
from dyn3d_ns.io.recognised import image_sizes

Points = tuple[Float64[np.ndarray, "P 3"], UInt8[np.ndarray, "P 3"]]
"""Places and colours."""


def name_of(root: Path) -> str:
    """Return the name of a scene's folder, as it was given where it has one."""
    return root.name if root.name not in ("", "..") else root.resolve().name


class View(NamedTuple):
    """An image to evaluate on."""

    image: Path
    frame: int
    """Moment that it shows: the training frame of the same time."""
    camera: int
    """Views from one place share a number; below the number of frames, it is the place of that frame."""
    pose: Float64[np.ndarray, "4 4"]
    """Camera to world, OpenCV's axes."""
    K: Float64[np.ndarray, "3 3"]
    """Intrinsics at the size of the training frames; whole numbers are pixel centres."""

    @property
    def trains(self) -> bool:
        """Whether it is a training frame, seen from where it was taken."""
        return self.frame == self.camera


class SceneFiles:
    """Readers of one scene; what a user can mend is a ``UserError``, raised where a file is read.

    Conventions are those of footage: OpenCV's cameras in a world of the scene's own, whole pixel coordinates
    are pixel centres. Maps of a frame may be of another size than the frame. A reader returns None where a
    file is not there, since a scene may have some of them.
    """

    name: str
    root: Path
    source: str = "files"
    """Whose cameras and maps they are, for reports."""

    @property
    def frames(self) -> list[Path]:
        """Images that train, in the order of time, all of one size."""
        raise NotImplementedError

    @cached_property
    def size(self) -> tuple[int, int]:
        """Width and height of the frames, checked to be the same for all.

        Raises:
            ImageSizeError: they are not.
            DamagedFileError: an image cannot be read.
        """
        return image_sizes(self.frames)

    @property
    def times(self) -> Float64[np.ndarray, "F"]:
        """Times of the frames in [0, 1]."""
        return np.linspace(0.0, 1.0, len(self.frames))

    @property
    def fps(self) -> float | None:
        """Frames per second; None where the files do not say."""
        return None

    def cameras(self) -> Cameras:
        """Read one camera a frame."""
        raise NotImplementedError

    def bounds(self) -> Float64[np.ndarray, "F 2"] | None:
        """Read the nearest and farthest depth that each frame sees."""
        return None

    def mask(self, i: int) -> Bool[np.ndarray, "h w"] | None:
        """Read where frame i moves by itself."""
        return None

    def flow(self, i: int, j: int) -> Flow | None:
        """Read the flow from frame i to its neighbour j."""
        return None

    def depth(self, i: int) -> Float32[np.ndarray, "h w"] | None:
        """Read planar z of frame i in the cameras' world; 0 where nothing is known."""
        return None

    def relative_disparity(self, i: int) -> Float32[np.ndarray, "h w"] | None:
        """Read inverse depth of frame i up to scale and shift, large = near."""
        return None

    def points(self) -> Points | None:
        """Read a cloud in the cameras' world."""
        return None

    def views(self) -> list[View]:
        """List the images to evaluate on, by time, then camera; none if there are none."""
        return []

    def side_files(self) -> list[Path]:
        """List the files that maps are read from: what is made of them is made again when they change."""
        return []
