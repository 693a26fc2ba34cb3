"""What a stage of the pipeline is, and what the exchangeable parts of the stages are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import ClassVar, Protocol, TypeVar

from dyn3d_ns.io.clip.workspace import Workspace
from dyn3d_ns.video.settings import StageSettings

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

    def __init__(self, settings: StageSettings) -> None:
        settings.check()
        self.settings = settings

    def external_inputs(self) -> list[Path]:
        """Files and folders of the user (named in the settings) that the result depends on."""
        return []

    def other_inputs(self) -> object:
        """What else the result depends on, in JSON types; None if nothing."""
        return None

    @abstractmethod
    def outputs(self, workspace: Workspace) -> list[Path]:
        """Files that exist once the stage is done; all others that it writes are found by the runner."""

    @abstractmethod
    def run(self, workspace: Workspace, report: Report) -> None:
        """Do the work."""
