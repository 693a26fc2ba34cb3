"""Progress bars and the summary of a run, on the terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from rich.console import Console

    from dyn3d_ns.video.outcome import Outcome, Run

T = TypeVar("T")
_STYLES = {"done": "green", "kept": "cyan", "given": "cyan"}


class ConsoleReport:
    """Tells the user how far a run is; see :class:`~dyn3d_ns.video.stage.Report`."""

    def __init__(self, console: Console | None = None) -> None:
        from rich.console import Console

        self.console = console if console is not None else Console(stderr=True)
        self._notes: list[str] = []
        self._stage = ""

    def begin(self, stage: str) -> None:
        """Say which stage runs now."""
        self._stage = stage
        self._notes = []

    @contextmanager
    def progress(self, total: int | None, text: str) -> Iterator[Callable[[], None]]:
        """Show a bar; yield the function that moves it by one."""
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        title = text if text.startswith(self._stage) else f"{self._stage}: {text}"
        columns = (TextColumn("{task.description:32.32}"), BarColumn(), MofNCompleteColumn())
        # A log file shows no bar, and would get an empty line for each.
        quiet = not self.console.is_terminal
        columns = (*columns, TimeRemainingColumn())
        with Progress(*columns, console=self.console, transient=True, disable=quiet) as bar:
            task = bar.add_task(title, total=total)
            yield lambda: bar.advance(task)

    def track(self, items: Iterable[T], text: str, total: int | None = None) -> Iterator[T]:
        """Iterate with a bar."""
        if total is None and isinstance(items, Sized):
            total = len(items)
        with self.progress(total, text) as step:
            for item in items:
                yield item
                step()

    def note(self, text: str) -> None:
        """Say a fallback or a warning at once, and keep it for the summary."""
        if text not in self._notes:
            self._notes.append(text)
            self.console.print(f"  [yellow]{self._stage}: {_plain(text)}")

    def take_notes(self) -> list[str]:
        """Return the notes since the stage began."""
        notes, self._notes = self._notes, []
        return notes

    def outcome(self, outcome: Outcome) -> None:
        """Say what became of a stage."""
        style = _STYLES.get(outcome.state, "red")
        cost = f"{outcome.seconds:8.1f} s  {outcome.peak_memory_mb:6.0f} MB" if outcome.seconds else ""
        self.console.print(f"[{style}]{outcome.stage:10} {outcome.state:11}[/] {cost}")
        if outcome.error:
            self.console.print(f"  [red]{_plain(outcome.error)}")

    def summary(self, run: Run, root: object) -> None:
        """Print the table at the end."""
        from rich.table import Table

        table = Table(title=f"{root}", title_justify="left")
        for name in ("stage", "state", "seconds", "peak MB", "notes"):
            table.add_column(
                name, justify="right" if name in ("seconds", "peak MB") else "left", overflow="fold"
            )
        for o in run.outcomes:
            notes = "\n".join(_plain(text) for text in (*o.notes, *([o.error] if o.error else [])))
            style = _STYLES.get(o.state, "red")
            cost = (f"{o.seconds:.1f}", f"{o.peak_memory_mb:.0f}") if o.seconds else ("", "")
            table.add_row(o.stage, f"[{style}]{o.state}", *cost, notes)
        self.console.print(table)


def _plain(text: str) -> str:
    """Keep brackets in a message from being read as colours."""
    return text.replace("[", r"\[")
