"""Places that commands write to."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from dyn3d_ns.io.errors import CommandError
from dyn3d_ns.io.outputs import require_output_file, require_writable

HOLD = """
import sys
from pathlib import Path
from dyn3d_ns.io.outputs import require_writable
require_writable(Path(sys.argv[1]), "--output-dir")
print("held", flush=True)
sys.stdin.read()
"""


def test_two_processes_do_not_write_to_one_place(tmp_path: Path) -> None:
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "out")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert other.stdout is not None and other.stdout.readline() == "held\n"
        with pytest.raises(CommandError, match="another process is writing to .*out.*--output-dir"):
            require_writable(tmp_path / "deep/../out", "--output-dir")
        require_writable(tmp_path / "another", "--output-dir")
        require_output_file(tmp_path / "out/file.json", ".json")
    finally:
        other.kill()
        other.wait()
    require_writable(tmp_path / "out", "--output-dir")
    require_writable(tmp_path / "out", "--output-dir")
    assert not any((tmp_path / "another").iterdir()), "nothing of the lock is left beside results"


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    for path, said in ((tmp_path, "is a folder"), (tmp_path / "a.png", "must end in .mp4 or .mov, got")):
        with pytest.raises(CommandError, match=said):
            require_output_file(path, (".mp4", ".mov"))
