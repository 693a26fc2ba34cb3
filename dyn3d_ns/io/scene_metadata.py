"""What a dataparser of ours says of a scene beside its images and cameras.

Nerfstudio carries it in a dictionary, ``DataparserOutputs.metadata``, which datasets copy and models get;
there it lies whole under one key, next to the keys that Nerfstudio itself reads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, NamedTuple

from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from dyn3d_ns.geometry.lenses import Undistortion
from dyn3d_ns.geometry.world import SAME, World
from dyn3d_ns.io.errors import DatasetError
from dyn3d_ns.io.frame_source import FrameSource
from dyn3d_ns.io.priors import PriorSource
from dyn3d_ns.timeline import Split, Timeline

_KEY = "dyn3d_scene"


class ScenePoints(NamedTuple):
    """A cloud of points to start from."""

    xyz: Float[Tensor, "P 3"]
    rgb: UInt8[Tensor, "P 3"]
    source: str = "the points of the dataset"
    """The file that holds them, for messages."""


@dataclass(frozen=True)
class SceneMetadata:
    """A scene in time, and the images of one of its splits; lists and tensors of N run over these."""

    timeline: Timeline
    """Times of the recording and where its observed part ends."""
    splits: list[Split]
    """Which part of the evaluation, or the training, each image belongs to."""
    source_files: list[str]
    """Name of the file or folder that lists each image."""
    camera_ids: Int64[Tensor, "N"]
    """Images of one camera at one place share a number."""
    has_alpha: bool = False
    """Whether images say where the scene ends."""
    bits: int = 16
    """Bits in use of images with 16 a channel."""
    points: ScenePoints | None = None
    """Points to start from."""
    priors: PriorSource = PriorSource()
    """Masks, flow, depth and tracks of the images."""
    world: World = SAME
    """The data's world in that of training, which cameras, boxes, points and depth are in; what leaves a
    training (exports, velocities) goes back by it."""
    true_poses: Float[Tensor, "N 4 4"] | None = None
    """Camera-to-world poses to measure estimated ones by, in the data's world; None where the cameras are
    estimates themselves."""
    scene_ids: Int64[Tensor, "N"] | None = None
    """Which of several scenes each image shows; None where there is one."""
    scene_names: tuple[str, ...] = ()
    """Names of the scenes that ``scene_ids`` counts, or of the one; empty where nobody named them."""
    depth_bounds: tuple[float, float] | None = None
    """Least and largest planar depth that the cameras see, in the scene's units; None where unknown."""
    frames: FrameSource | None = None
    """Gives the images as they are asked for; None where all of them are files, read and kept whole."""
    undistortions: Sequence[Undistortion | None] = ()
    """How the lens of each image file is undone; empty where there are none. The cameras are pinholes."""

    masks: Sequence[Path | None] = ()
    """What counts of each image in training, an image too (Nerfstudio's `mask_path`); empty without any."""

    def to_metadata(self) -> dict[str, Any]:
        """Return the dictionary for ``DataparserOutputs``."""
        found: dict[str, Any] = {_KEY: self}
        if self.points is not None:
            found |= {"points3D_xyz": self.points.xyz, "points3D_rgb": self.points.rgb}
        return found


def scene_of(metadata: Mapping[str, Any]) -> SceneMetadata:
    """Return what a dataparser said of the scene.

    Raises:
        DatasetError: it is a dataparser that says nothing of times and splits.
    """
    if _KEY not in metadata:
        raise DatasetError(
            "this dataparser gives no scene in time (SceneMetadata: timeline, splits, files and cameras of "
            f"its images); name one that does at the end of the command: {', '.join(our_dataparsers())}"
        )
    return metadata[_KEY]


def our_dataparsers() -> list[str]:
    """Return the names on the command line of the dataparsers of ours."""
    found = entry_points(group="nerfstudio.dataparser_configs")
    return sorted(entry.name for entry in found if entry.value.startswith("dyn3d_ns.dataparsers."))


def knows_scene(metadata: Mapping[str, Any]) -> bool:
    """Return whether :func:`scene_of` has an answer."""
    return _KEY in metadata
