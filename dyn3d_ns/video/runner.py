"""Run stages in order: skip what is done, redo what is half done, tell at the end what happened."""

from __future__ import annotations

import platform
import threading
import time
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from types import TracebackType

from dyn3d_ns import __version__
from dyn3d_ns.io.atomic import write_json
from dyn3d_ns.io.clip.workspace import Workspace
from dyn3d_ns.io.errors import DatasetError, StageError
from dyn3d_ns.video.outcome import Outcome, Run, State
from dyn3d_ns.video.records import Record, Records, plain
from dyn3d_ns.video.report import ConsoleReport
from dyn3d_ns.video.stage import Stage
from dyn3d_ns.video.transforms import write_transforms

_PACKAGES = ("numpy", "opencv-python-headless", "torch", "torchvision", "av", "pycolmap", "scipy", "pillow")


class Runner:
    """Runs stages on one clip's folder.

    A stage is skipped if its record says that the same inputs and settings gave the files that are there.
    Files that were changed by hand since are kept and count as given; missing ones are made again.
    """

    def __init__(self, workspace: Workspace, stages: Sequence[Stage], report: ConsoleReport) -> None:
        self.workspace = workspace
        self.stages = stages
        self.report = report
        self.records = Records(workspace)

    def run(self, force: Sequence[str] = ()) -> Run:
        """Run all stages; a failure leaves out only those that need the failed one.

        Args:
            force: Stages to run even if they are done.

        Raises:
            KeyboardInterrupt: after the manifest is written; the running stage is done again next time.
        """
        run = Run()
        broken: set[str] = set()
        try:
            for stage in self.stages:
                missing = [name for name in stage.needs if name in broken or self.records.read(name) is None]
                outcome = (
                    self._left_out(stage, missing) if missing else self._one(stage, run, stage.name in force)
                )
                run.outcomes.append(outcome)
                if outcome.state in ("failed", "left out"):
                    broken.add(stage.name)
                self.report.outcome(outcome)
        finally:
            self._finish(run)
        return run

    def _one(self, stage: Stage, run: Run, force: bool) -> Outcome:
        """Bring one stage up to date."""
        fingerprint = self.records.fingerprint(stage)
        if not force:
            kept = self._keep(stage, fingerprint)
            if kept is not None:
                return kept
        self.report.begin(stage.name)
        before = self.records.listing()
        self.records.begin(stage.name)
        start, cpu_start = time.perf_counter(), time.process_time()
        error = ""
        with PeakMemory() as memory:
            try:
                stage.run(self.workspace, self.report)
                self._check_outputs(stage)
            except KeyboardInterrupt:
                run.outcomes.append(Outcome(stage.name, "interrupted", time.perf_counter() - start))
                raise
            except DatasetError as failure:
                error = str(failure)
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu_start
        notes = self.report.take_notes()
        if error:
            return Outcome(stage.name, "failed", seconds, cpu, memory.mb, notes, error)
        after = self.records.listing()
        wanted = {path.relative_to(self.workspace.root).as_posix() for path in stage.outputs(self.workspace)}
        written = {name for name, state in after.items() if before.get(name) != state}
        record = Record(
            fingerprint,
            self.records.states(written | wanted),
            sorted(written),
            seconds=seconds,
            cpu_seconds=cpu,
            peak_memory_mb=memory.mb,
            notes=notes,
            settings=plain(stage.settings),
        )
        self.records.write(stage.name, record)
        return Outcome(stage.name, "done", seconds, cpu, memory.mb, notes)

    def _keep(self, stage: Stage, fingerprint: str) -> Outcome | None:
        """Return the outcome of a stage that needs no run, None for one that does."""
        record = self.records.read(stage.name)
        if record is None:
            half_done = self.records.is_half_done(stage.name) or not stage.accepts_given
            return None if half_done else self._adopt(stage, fingerprint)
        if not (record.given and stage.accepts_given) and record.fingerprint != fingerprint:
            return None
        record, missing, changed = self.records.refresh(stage.name, record)
        if missing:
            return None
        if changed and not record.given:
            record.given = True
            record.notes = [
                f"{changed[0]}{f' and {len(changed) - 1} more' if len(changed) > 1 else ''} changed since it "
                f"was written: kept; delete it, or add --redo {stage.name}, to make it again"
            ]
        self.records.write(stage.name, record)
        state: State = "given" if record.given else "kept"
        return Outcome(
            stage.name, state, record.seconds, record.cpu_seconds, record.peak_memory_mb, record.notes
        )

    def _adopt(self, stage: Stage, fingerprint: str) -> Outcome | None:
        """Take files that lie there without a record as the user's own."""
        wanted = stage.outputs(self.workspace)
        if not wanted or not all(path.is_file() for path in wanted):
            return None
        names = [path.relative_to(self.workspace.root).as_posix() for path in wanted]
        notes = ["its files were there already and are taken as given"]
        record = Record(fingerprint, self.records.states(names), notes=notes, given=True)
        self.records.write(stage.name, record)
        return Outcome(stage.name, "given", notes=notes)

    def _check_outputs(self, stage: Stage) -> None:
        lacking = [path for path in stage.outputs(self.workspace) if not path.is_file()]
        if lacking:
            raise StageError(f"the stage {stage.name} ended without writing {lacking[0]}")

    def _left_out(self, stage: Stage, missing: list[str]) -> Outcome:
        names = ", ".join(missing)
        hint = "" if any(s.name in missing for s in self.stages) else f"; add {names} to --stages"
        return Outcome(stage.name, "left out", error=f"needs the result of {names}{hint}")

    def _finish(self, run: Run) -> None:
        """Write transforms.json from the best cameras there are, and the manifest."""
        if self.workspace.root.is_dir():
            if self.records.read("cameras") is not None and self.records.read("frames") is not None:
                write_transforms(self.workspace)
            write_json(self.workspace.manifest_path, self._manifest(run))

    def _manifest(self, run: Run) -> dict[str, object]:
        # What an earlier run says of stages that are not part of this one still holds.
        stages = self.records.manifest_stages()
        for stage in self.stages:
            outcome = next((o for o in run.outcomes if o.stage == stage.name), None)
            record = self.records.read(stage.name)
            stages[stage.name] = {
                "state": outcome.state if outcome is not None else "not reached",
                "seconds": round(outcome.seconds, 3) if outcome is not None else 0.0,
                "cpu_seconds": round(outcome.cpu_seconds, 3) if outcome is not None else 0.0,
                "peak_memory_mb": round(outcome.peak_memory_mb, 1) if outcome is not None else 0.0,
                "settings": plain(stage.settings),
                "fingerprint": record.fingerprint if record is not None else None,
                "files": len(record.files) if record is not None else 0,
                "notes": outcome.notes if outcome is not None else [],
                "error": outcome.error if outcome is not None else "",
            }
        return {
            "scene": self.workspace.scene,
            "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "versions": {"dyn3d_ns": __version__, "python": platform.python_version(), **_versions()},
            "platform": platform.platform(),
            "stages": stages,
        }


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


class PeakMemory:
    """Samples this process's resident memory while a block runs; `mb` is the largest value seen."""

    def __init__(self, interval: float = 0.05) -> None:
        self.interval = interval
        self.mb = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> PeakMemory:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        import psutil

        process = psutil.Process()
        while True:
            self.mb = max(self.mb, process.memory_info().rss / 2**20)
            if self._stop.wait(self.interval):
                return
