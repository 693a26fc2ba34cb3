"""Ctrl-C and SIGTERM, also where a process that was started in the background ignores Ctrl-C."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dyn3d_ns.engine.interrupt import (
    StopRequest,
    Terminated,
    exit_code,
    how_to_stop,
    resume_command,
    sigterm_as_exception,
)


@pytest.mark.usefixtures("default_signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks_and_the_next_acts_as_before(number: signal.Signals) -> None:
    before = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}
    with StopRequest() as stop:
        assert not stop
        os.kill(os.getpid(), number)
        assert stop and stop.exit_code == 128 + number
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert {n: signal.getsignal(n) for n in before} == before


@pytest.mark.usefixtures("default_signals")
def test_an_ignored_ctrl_c_stays_ignored_and_sigterm_still_asks() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    assert how_to_stop() == f"kill {os.getpid()}"
    with StopRequest() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert not stop
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop and stop.exit_code == 143
    assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN


@pytest.mark.usefixtures("default_signals")
def test_sigterm_is_raised_and_its_handler_put_back() -> None:
    with pytest.raises(Terminated) as stopped, sigterm_as_exception():
        os.kill(os.getpid(), signal.SIGTERM)
    assert exit_code(stopped.value) == 143 and exit_code(KeyboardInterrupt()) == 130
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert how_to_stop() == "Ctrl-C"


IGNORED = """
import os, signal
from dyn3d_ns.engine.interrupt import StopRequest, how_to_stop
with StopRequest() as stop:
    os.kill(os.getpid(), signal.SIGINT)
    print(bool(stop), how_to_stop())
"""


@pytest.mark.parametrize("ignored", [False, True])
@pytest.mark.usefixtures("default_signals")
def test_a_process_knows_whether_its_shell_made_it_deaf(ignored: bool, deaf_to_ctrl_c: list[str]) -> None:
    command = [*(deaf_to_ctrl_c if ignored else []), sys.executable, "-c", IGNORED]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert re.fullmatch(r"False kill \d+\n" if ignored else r"True Ctrl-C\n", done.stdout)


def test_the_command_that_resumes_names_the_checkpoints_right_after_the_method() -> None:
    """Behind a dataparser's name the option would be unknown."""
    words = ["/bin/ns-train", "some-method", "--data", "a b", "--load_dir=old", "--load-step", "3"]
    resumed = resume_command([*words, "n3dv-data", "--scale", "0.5"], Path("out/nerfstudio_models"))
    assert resumed == (
        "ns-train some-method --load-dir out/nerfstudio_models --data 'a b' n3dv-data --scale 0.5"
    )
    assert resume_command(["-c"], Path("out")).startswith("the same command and --load-dir out")
