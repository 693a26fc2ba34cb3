"""What an exception of a command tells its user."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dyn3d_ns.cli import main as command_line
from dyn3d_ns.cli.errors import CommandError
from dyn3d_ns.engine.checkpoint import CheckpointError
from dyn3d_ns.io.errors import DatasetError, UserError
from dyn3d_ns.plain_errors import EXIT_STATUS, NOBODY_READS, STOPPED, explanation, reader_left


@pytest.mark.parametrize("kind", [UserError, CommandError, DatasetError, CheckpointError])
def test_what_the_user_can_mend_is_its_message(kind: type[Exception]) -> None:
    assert explanation(kind("give another file")) == "give another file"


def test_places_that_cannot_be_written_to_are_named() -> None:
    said = explanation(PermissionError(errno.EACCES, "Permission denied", "out/config.yml"))
    assert said is not None and "out/config.yml: Permission denied" in said and "--output-dir" in said
    assert explanation(FileNotFoundError(errno.ENOENT, "No such file", "x")) is None


def test_other_exceptions_keep_their_traceback() -> None:
    assert explanation(ValueError("a mistake of ours")) is None


HOOK = """
from dyn3d_ns import plain_errors
plain_errors.install(); plain_errors.install()
from dyn3d_ns.io.errors import DatasetError
raise {error}
"""


@pytest.mark.parametrize(
    ("error", "wanted", "traceback", "said"),
    [
        ("DatasetError('pose 3 is not rigid')", "0", False, ["Error: pose 3 is not rigid"]),
        ("DatasetError('pose 3 is not rigid')", "1", True, ["Error: pose 3 is not rigid"]),
        ("KeyError('inside')", "0", True, []),
        ("OSError(27, 'File too large', 'a.ply')", "0", False, ["Error: cannot use a.ply: File too large"]),
    ],
)
def test_commands_show_the_message_alone(error: str, wanted: str, traceback: bool, said: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", HOOK.format(error=error)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "DYN3D_TRACEBACK": wanted},
    )
    assert done.returncode == (EXIT_STATUS if said else 1)
    assert done.stderr.count("Traceback") == traceback
    assert [line.partition(";")[0] for line in done.stderr.splitlines() if line.startswith("Error:")] == said


def test_ctrl_c_while_a_scene_is_loaded_shows_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code = HOOK.format(error="KeyboardInterrupt")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (STOPPED, "\nStopped.\n")
    monkeypatch.setattr(command_line, "parse", lambda args: Fails(KeyboardInterrupt()))
    assert command_line.main([]) == STOPPED
    assert capsys.readouterr().err == "\ndyn3d: stopped\n"


class Fails:
    """A command that ends with an exception."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def run(self) -> None:
        raise self.error


@pytest.mark.parametrize("wanted", ["0", "1"])
def test_dyn3d_ends_with_the_same_status(
    wanted: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DYN3D_TRACEBACK", wanted)
    full_disk = OSError(errno.ENOSPC, "No space left on device", "masks.npz")
    for error in (UserError("give another file"), CheckpointError("it is damaged"), full_disk):
        monkeypatch.setattr(command_line, "parse", lambda args, error=error: Fails(error))
        assert command_line.main([]) == EXIT_STATUS
        captured = capsys.readouterr().err
        assert captured.splitlines()[-1] == f"dyn3d: {explanation(error)}"
        assert ("Traceback" in captured) is (wanted == "1")
    monkeypatch.setattr(command_line, "parse", lambda args: Fails(KeyError("inside")))
    with pytest.raises(KeyError):
        command_line.main([])


def test_training_names_a_place_that_cannot_be_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dyn3d_ns.engine.trainer import DynamicTrainerConfig

    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    (tmp_path / "file").write_text("a file where a folder is needed")
    config = DynamicTrainerConfig(method_name="m", experiment_name="x", output_dir=tmp_path / "file")
    with pytest.raises(OSError) as caught:  # noqa: PT011  # the kind of OSError differs between systems
        config.save_config()
    assert "--output-dir" in (explanation(caught.value) or "")
    assert sys.excepthook is not sys.__excepthook__, "ns-train shows this before a pipeline is set up"


@pytest.mark.parametrize(
    "code",
    [
        "from dyn3d_ns.cli.main import main; sys.exit(main(['--help']))",
        "from dyn3d_ns import plain_errors; plain_errors.install(); print('x' * 100_000)",
        "from dyn3d_ns import plain_errors; plain_errors.install(); print('x')",
    ],
)
def test_who_stops_reading_is_not_shown_a_traceback(code: str) -> None:
    """As `dyn3d --help | head -1` does, at once."""
    process = subprocess.Popen(
        [sys.executable, "-c", f"import sys; sys.stdin.read(); {code}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None and process.stdout is not None and process.stderr is not None
    process.stdout.close()
    process.stdin.close()
    assert process.stderr.read() == b""
    assert process.wait() in (0, NOBODY_READS)


def test_another_broken_pipe_keeps_its_traceback() -> None:
    assert not reader_left(BrokenPipeError(errno.EPIPE, "Broken pipe"))
