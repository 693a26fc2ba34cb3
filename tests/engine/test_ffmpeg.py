"""An ffmpeg is found: the system's, or the one in a wheel."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dyn3d_ns.engine.ffmpeg import ensure_ffmpeg

WRITE_A_FILM = """
import os, shutil, mediapy, numpy as np
from nerfstudio.utils import install_checks
from dyn3d_ns.engine import commands
commands.adapt(type("Ours", (), {}))
install_checks.check_ffmpeg_installed()
mediapy.write_video("film.mp4", np.zeros((3, 32, 32, 3)), fps=10)
print(mediapy.read_video("film.mp4").shape, shutil.which("ffmpeg"))
"""


@pytest.mark.parametrize("adapted", [True, False])
def test_commands_of_our_methods_find_it_in_the_wheel(tmp_path: Path, adapted: bool) -> None:
    # A PATH with a folder of nothing: no ffmpeg of the system's.
    environment = {"PATH": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", WRITE_A_FILM],
        env={**os.environ, **environment, "DYN3D_NO_COMPAT": "0" if adapted else "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    if adapted:
        assert result.stdout.splitlines()[-1].startswith("(3, 32, 32, 3)"), result.stderr
        assert str(tmp_path / "cache") in result.stdout
    else:
        assert result.returncode == 1 and "Could not find ffmpeg" in result.stdout


def test_ffmpeg_of_the_system_is_preferred(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "ffmpeg"
    own.write_text("#!/bin/sh\n")
    own.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert ensure_ffmpeg() == str(own)
    assert os.environ["PATH"] == str(tmp_path)


def test_a_stale_ffmpeg_link_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    link = tmp_path / "cache/dyn3d_ns/bin/ffmpeg"
    link.parent.mkdir(parents=True)
    link.symlink_to(tmp_path / "an-environment-long-gone/ffmpeg")
    assert ensure_ffmpeg() == str(link)
    assert subprocess.run([str(link), "-version"], capture_output=True, check=True).stdout.startswith(
        b"ffmpeg"
    )
