"""Resuming: what is done is kept, what is stale, missing or half done is redone, what is the user's stays."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from dyn3d_ns.io.clip.workspace import Workspace
from dyn3d_ns.io.errors import StageError
from dyn3d_ns.video.outcome import Run
from dyn3d_ns.video.report import ConsoleReport
from dyn3d_ns.video.runner import Runner
from dyn3d_ns.video.settings import StageSettings
from dyn3d_ns.video.stage import Report, Stage


@dataclass
class Settings(StageSettings):
    """What a step appends."""

    text: str = "x"


class Step(Stage):
    """Appends its text to what the stages before it wrote, and counts its runs."""

    def __init__(self, name: str, needs: tuple[str, ...] = (), text: str = "x", source: Path | None = None):
        super().__init__(Settings(text))
        self.name, self.needs, self.source = name, needs, source  # type: ignore[misc]
        self.runs = 0
        self.fails: BaseException | None = None

    def external_inputs(self) -> list[Path]:
        return [self.source] if self.source is not None else []

    def outputs(self, workspace: Workspace) -> list[Path]:
        return [workspace.root / self.name / "out.txt"]

    def run(self, workspace: Workspace, report: Report) -> None:
        self.runs += 1
        folder = workspace.root / self.name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"extra_{self.settings.text}.txt").write_text("extra")
        if self.fails is not None:
            raise self.fails
        before = "".join((workspace.root / name / "out.txt").read_text() for name in self.needs)
        report.note(f"note of {self.name}")
        (folder / "out.txt").write_text(before + self.settings.text)


@pytest.fixture
def steps(tmp_path: Path) -> list[Step]:
    (tmp_path / "source").write_text("the clip")
    return [
        Step("a", source=tmp_path / "source"),
        Step("b", ("a",)),
        Step("c", ("a",)),
        Step("d", ("b", "c")),
    ]


def go(tmp_path: Path, steps: list[Step], force: tuple[str, ...] = ()) -> Run:
    root = tmp_path / "out"
    root.mkdir(exist_ok=True)
    return Runner(Workspace(root), steps, ConsoleReport()).run(force)


def states(run: Run) -> dict[str, str]:
    return {outcome.stage: outcome.state for outcome in run.outcomes}


def runs(steps: list[Step]) -> list[int]:
    return [step.runs for step in steps]


def test_what_is_done_is_kept(tmp_path: Path, steps: list[Step]) -> None:
    assert set(states(go(tmp_path, steps)).values()) == {"done"}
    again = go(tmp_path, steps)
    assert set(states(again).values()) == {"kept"} and runs(steps) == [1, 1, 1, 1]
    assert again.outcomes[1].notes == ["note of b"], "notes are repeated, so that the summary stays true"
    assert (tmp_path / "out/d/out.txt").read_text() == "xxxxx"


def test_another_setting_redoes_the_stage_and_what_stands_on_it(tmp_path: Path, steps: list[Step]) -> None:
    go(tmp_path, steps)
    steps[1].settings.text = "y"
    go(tmp_path, steps)
    assert runs(steps) == [1, 2, 1, 2]
    assert (tmp_path / "out/d/out.txt").read_text() == "xyxxx"
    assert not (tmp_path / "out/b/extra_x.txt").exists(), "what the earlier run wrote is gone"


def test_the_same_result_leaves_later_stages_alone(tmp_path: Path, steps: list[Step]) -> None:
    go(tmp_path, steps)
    go(tmp_path, steps, force=("a",))
    assert runs(steps) == [2, 1, 1, 1]


def test_another_source_redoes_all_and_a_touched_one_nothing(tmp_path: Path, steps: list[Step]) -> None:
    go(tmp_path, steps)
    (tmp_path / "source").write_text("the clip")
    go(tmp_path, steps)
    assert runs(steps) == [1, 1, 1, 1]
    (tmp_path / "source").write_text("another")
    go(tmp_path, steps)
    assert runs(steps)[0] == 2


def test_a_missing_file_is_made_again(tmp_path: Path, steps: list[Step]) -> None:
    go(tmp_path, steps)
    (tmp_path / "out/c/extra_x.txt").unlink()
    go(tmp_path, steps)
    assert runs(steps) == [1, 1, 2, 1]


def test_a_file_changed_by_hand_is_kept_and_used(tmp_path: Path, steps: list[Step]) -> None:
    go(tmp_path, steps)
    (tmp_path / "out/b/out.txt").write_text("mine")
    run = go(tmp_path, steps)
    assert states(run) == {"a": "kept", "b": "given", "c": "kept", "d": "done"}
    assert "b/out.txt changed" in run.outcomes[1].notes[0]
    assert (tmp_path / "out/d/out.txt").read_text() == "minexxx"
    steps[1].settings.text = "y"
    assert states(go(tmp_path, steps))["b"] == "given", "settings do not undo what was made by hand"
    assert states(go(tmp_path, steps, force=("b",)))["b"] == "done"
    assert (tmp_path / "out/b/out.txt").read_text() == "xy"


def test_files_from_elsewhere_count_as_the_stage(tmp_path: Path, steps: list[Step]) -> None:
    (tmp_path / "out/b").mkdir(parents=True)
    (tmp_path / "out/b/out.txt").write_text("theirs")
    run = go(tmp_path, steps)
    assert states(run)["b"] == "given" and steps[1].runs == 0
    assert (tmp_path / "out/d/out.txt").read_text() == "theirsxxx"
    assert states(go(tmp_path, steps))["b"] == "given"


def test_a_failure_leaves_out_only_what_needs_it(tmp_path: Path, steps: list[Step]) -> None:
    steps[1].fails = StageError("no good: mend it")
    run = go(tmp_path, steps)
    assert states(run) == {"a": "done", "b": "failed", "c": "done", "d": "left out"}
    assert (
        run.failed and "mend it" in run.outcomes[1].error and "needs the result of b" in run.outcomes[3].error
    )
    steps[1].fails = None
    assert states(go(tmp_path, steps)) == {"a": "kept", "b": "done", "c": "kept", "d": "done"}


def test_an_interrupted_stage_is_done_again(tmp_path: Path, steps: list[Step]) -> None:
    steps[2].fails = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        go(tmp_path, steps)
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())["stages"]
    assert [manifest[name]["state"] for name in "abcd"] == ["done", "done", "interrupted", "not reached"]
    # Half a result lies there now; it must not be taken for files from elsewhere.
    (tmp_path / "out/c/out.txt").write_text("half")
    steps[2].fails = None
    assert states(go(tmp_path, steps)) == {"a": "kept", "b": "kept", "c": "done", "d": "done"}


def test_a_crash_ends_the_run_and_is_redone(tmp_path: Path, steps: list[Step]) -> None:
    steps[1].fails = ZeroDivisionError("a mistake of ours")
    with pytest.raises(ZeroDivisionError):
        go(tmp_path, steps)
    steps[1].fails = None
    assert states(go(tmp_path, steps))["b"] == "done"


def test_a_part_of_the_stages_needs_the_others_results(tmp_path: Path, steps: list[Step]) -> None:
    run = go(tmp_path, steps[3:])
    assert states(run) == {"d": "left out"} and "add b, c to --stages" in run.outcomes[0].error
    go(tmp_path, steps)
    assert states(go(tmp_path, steps[3:])) == {"d": "kept"}


def test_a_stage_must_write_what_it_promises(tmp_path: Path, steps: list[Step]) -> None:
    steps[0].outputs = lambda workspace: [workspace.root / "never"]  # type: ignore[method-assign]
    run = go(tmp_path, steps[:1])
    assert "without writing" in run.outcomes[0].error


def test_a_damaged_record_means_that_nothing_is_known(tmp_path: Path, steps: list[Step]) -> None:
    go(tmp_path, steps)
    (tmp_path / "out/.dyn3d/a.json").write_text("{")
    (tmp_path / "out/.dyn3d/a.running").touch()
    go(tmp_path, steps)
    assert runs(steps)[0] == 2


def test_the_manifest_tells_versions_settings_time_and_memory(tmp_path: Path, steps: list[Step]) -> None:
    go(tmp_path, steps)
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    assert manifest["versions"]["numpy"] and manifest["versions"]["dyn3d_ns"]
    stage = manifest["stages"]["b"]
    assert stage["state"] == "done" and stage["settings"] == {"text": "x"} and stage["files"] == 2
    assert stage["peak_memory_mb"] > 10 and stage["notes"] == ["note of b"]


def test_a_run_of_a_part_keeps_what_the_manifest_says_of_the_rest(tmp_path: Path, steps: list[Step]) -> None:
    go(tmp_path, steps)
    go(tmp_path, steps[3:], force=("d",))
    stages = json.loads((tmp_path / "out/manifest.json").read_text())["stages"]
    assert list(stages) == ["a", "b", "c", "d"] and stages["a"]["seconds"] >= 0
    assert stages["b"]["notes"] == ["note of b"] and stages["d"]["state"] == "done"


MEMORY_CODE = """
import time
import numpy as np
from dyn3d_ns.video.runner import PeakMemory

with PeakMemory() as empty:
    pass
with PeakMemory(interval=0.001) as memory:
    block, deadline = np.ones(60 * 2**17), time.monotonic() + 120
    while memory.mb < empty.mb + 50 and time.monotonic() < deadline:
        time.sleep(0.001)
    del block
print(empty.mb, memory.mb)
"""


def test_peak_memory_sees_what_was_freed_again() -> None:
    """In a process of its own, where no memory lies idle that the block could take."""
    done = subprocess.run([sys.executable, "-c", MEMORY_CODE], capture_output=True, text=True, check=True)
    before, peak = map(float, done.stdout.split())
    assert peak > before + 50
