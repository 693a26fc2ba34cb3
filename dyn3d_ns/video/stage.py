"""What a stage of the pipeline is, and what the exchangeable parts of the stages are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

import numpy as np
from jaxtyping import Float32, Float64, Int32, UInt8

from dyn3d_ns.video.describe.types import Description
from dyn3d_ns.video.types import Cameras, SparsePoints, Tracks
from dyn3d_ns.video.workspace import Workspace

T = TypeVar("T")


class Report(Protocol):
    """Where a stage tells how far it is and what it had to fall back to."""

    def progress(self, total: int, text: str) -> AbstractContextManager[Callable[[], None]]:
        """Show a bar: `with report.progress(n, "flow") as step: ... step()`."""
        ...

    def track(self, items: Iterable[T], text: str, total: int | None = None) -> Iterable[T]:
        """Iterate with a bar."""
        ...

    def note(self, text: str) -> None:
        """Put a fallback or a warning into the summary and the manifest."""
        ...


class Stage(ABC):
    """One step from files to files. A subclass is thin: it reads the tree, computes, writes the tree.

    Raise :class:`~dyn3d_ns.io.errors.StageError` for what the user can mend.
    """

    name: ClassVar[str]
    needs: ClassVar[tuple[str, ...]] = ()
    """Stages whose files this one reads and cannot do without."""
    uses: ClassVar[tuple[str, ...]] = ()
    """Stages whose files this one reads where they exist."""
    accepts_given: ClassVar[bool] = True
    """Whether files that lie in the tree without a record are taken as the result."""
    version: ClassVar[int] = 1
    """Raise it when the same inputs and settings give another result: finished runs are then redone."""

    def __init__(self, settings: Any) -> None:
        self.settings = settings
        if hasattr(settings, "check"):
            settings.check()

    def external_inputs(self) -> list[Path]:
        """Files and folders of the user (named in the settings) that the result depends on."""
        return []

    @abstractmethod
    def outputs(self, workspace: Workspace) -> list[Path]:
        """Files that exist once the stage is done; all others that it writes are found by the runner."""

    @abstractmethod
    def run(self, workspace: Workspace, report: Report) -> None:
        """Do the work."""


class FlowEstimator(Protocol):
    """Dense motion between two images."""

    def __call__(
        self, a: UInt8[np.ndarray, "H W 3"], b: UInt8[np.ndarray, "H W 3"]
    ) -> Float32[np.ndarray, "H W 2"]:
        """Return the flow from a to b in pixels, x right, y down."""
        ...


class Tracker(Protocol):
    """Follows points through a clip."""

    def __call__(self, images: Sequence[np.ndarray], interval: int, grid: int) -> Tracks:
        """Pick points every `interval` frames on a grid of `grid` points a side and follow them both ways."""
        ...


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

    def __call__(
        self, images: Sequence[np.ndarray], prompts: Sequence[Any]
    ) -> Iterable[Int32[np.ndarray, "H W"]]:
        """Yield the instance ids of every frame; object k of the prompts has id k + 1."""
        ...


class Describer(Protocol):
    """Names the objects of a clip."""

    def __call__(self, workspace: Workspace, report: Report) -> Description:
        """Return names and captions."""
        ...
