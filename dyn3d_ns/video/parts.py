"""The exchangeable parts of the stages: what each is called with and what it returns."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
from jaxtyping import Float32, Float64, Int32, UInt8

from dyn3d_ns.io.clip.types import Cameras, Flow, SparsePoints, Tracks
from dyn3d_ns.io.clip.workspace import Workspace
from dyn3d_ns.video.masks.prompts import Prompt
from dyn3d_ns.video.stage import Report


class Configured(ABC):
    """A part that is built from its stage's settings; any other class is built without arguments."""

    @classmethod
    @abstractmethod
    def from_settings(cls, settings: Any) -> Configured:
        """Build it from the settings of its stage.

        Raises:
            StageError: a setting that it needs is missing.
        """


class FlowEstimator(Protocol):
    """Dense motion between two images."""

    def __call__(
        self, a: UInt8[np.ndarray, "H W 3"], b: UInt8[np.ndarray, "H W 3"]
    ) -> Float32[np.ndarray, "H W 2"]:
        """Return the flow from a to b in pixels, x right, y down."""
        ...


class Tracker(Protocol):
    """Follows points through a clip."""

    def __call__(self, images: Sequence[UInt8[np.ndarray, "H W 3"]], interval: int, grid: int) -> Tracks:
        """Pick points every `interval` frames on a grid of `grid` points a side and follow them both ways."""
        ...


class FlowGuided(ABC):
    """A tracker that follows points better where dense flow is known."""

    @abstractmethod
    def guided_by(self, flow: Callable[[int, int], Flow]) -> Tracker:
        """Return the tracker that asks `flow` for the flow between frames next to each other."""


class CameraEstimator(Protocol):
    """Finds the cameras of a clip."""

    def __call__(self, workspace: Workspace, report: Report) -> tuple[Cameras, SparsePoints]:
        """Return the cameras, and the static points that they were found with."""
        ...


class DepthEstimator(Protocol):
    """Depth of one image."""

    def __call__(
        self, image: UInt8[np.ndarray, "H W 3"], K: Float64[np.ndarray, "3 3"] | None
    ) -> Float32[np.ndarray, "H W"]:
        """Return planar z, up to one scale for the clip where it is not metric."""
        ...


class Segmenter(Protocol):
    """Follows objects through a clip."""

    wants: Literal["places", "names"]
    """What it is told of an object: a box or mask in one frame, or what it is called."""

    def __call__(
        self, images: Sequence[UInt8[np.ndarray, "H W 3"]], prompts: Sequence[Prompt]
    ) -> Iterable[Int32[np.ndarray, "H W"]]:
        """Yield the instance ids of every frame; object k of the prompts has id k + 1."""
        ...


class Describer(Protocol):
    """Names the objects of a clip."""

    def __call__(self, workspace: Workspace, report: Report) -> Description:
        """Return names and captions."""
        ...


@dataclass
class Description:
    """Names and captions of a clip."""

    dynamic: list[str] = field(default_factory=list)
    """Names of what moves."""
    reasoning: dict[str, str] = field(default_factory=dict)
    """A sentence on the looks of each name."""
    instance_names: dict[int, str] = field(default_factory=dict)
    """Name of each object of the masks."""
    instance_captions: dict[int, str] = field(default_factory=dict)
    """What each object of the masks does."""
    scene_caption: str = ""
    camera_caption: str = ""
    model: str = "measured"
    """Who says so: the vision-language model, or `measured` for text from the measured motion."""
