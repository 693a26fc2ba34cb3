"""A bounded run of `scripts/fuzz.py`, and that it notices what it is for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"
LIGHT = (
    "ply",
    "flo",
    "dpt",
    "cam",
    "tum",
    "monst3r traj",
    "names.json",
    "boxes",
    "splits",
    "masks",
    "depth map",
    "depth n",
    "fused_4d",
    "segmentation",
    "stage record",
    "manifest",
    "transforms.json",
    "dycheck",
    "poses_bounds",
    "clip.json",
)
"""Parts of names of readers that import little."""
WATCHED = """
import os, signal, sys, fuzz
from pathlib import Path
from fuzz_readers import Reader
from dyn3d_ns.io.errors import DamagedFileError
fuzz.CPU_SECONDS, fuzz.MEMORY = 1, 64 << 20

def refuse(folder): raise DamagedFileError("cut off")
def fail(folder): {}["key"]
def panic(folder): raise BaseException("of another language")
def spin(folder):
    while True: pass
def die(folder): os.kill(os.getpid(), signal.SIGSEGV)
def hoard(folder): bytearray(256 << 20)
def leave(folder): os._exit(3)

whole = lambda folder: (folder / "x").write_bytes(b"whole")
fuzz._prepare = lambda reader, template: (template.mkdir(), reader.make(template), b"whole")[2]
for read in (lambda folder: None, refuse, fail, panic, hoard, spin, die, leave):
    table, finds = fuzz.fuzz([Reader(read.__name__, "x", whole, read)], 0)
    print(read.__name__, dict(table[read.__name__]), len(finds))
one = fuzz.Input(Reader("r", "x", whole, fail), "noise", 7)
print(one.content(b"whole").hex(), one.content(b"whole") == one.content(b"whole"))
"""


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "ignore", *arguments], capture_output=True, text=True, check=False, cwd=SCRIPTS
    )


def test_damaged_files_end_in_success_or_in_an_error_of_ours() -> None:
    result = run("fuzz.py", "--inputs", "3", *LIGHT)
    assert result.returncode == 0, result.stdout + result.stderr
    last = next(line for line in result.stdout.splitlines() if line.startswith("all ")).split()
    readers, inputs, success, refused = int(last[1]), *map(int, last[3:6])
    assert readers >= 25 and inputs >= 100 and success + refused == inputs
    assert refused > inputs / 2, "whole files were read instead of damaged ones"


def test_everything_else_is_a_find() -> None:
    lines = [line for line in run("-c", WATCHED).stdout.splitlines() if ': "' not in line]
    found = {line.split(" ", 1)[0]: line for line in lines}
    for name, outcome in (
        ("fail", "traceback"),
        ("panic", "traceback"),
        ("hoard", "traceback"),
        ("spin", "hang"),
        ("die", "killed"),
        ("leave", "killed"),
    ):
        assert f"'{outcome}'" in found[name] and not found[name].endswith(" 0"), found[name]
    assert "'success'" in found["<lambda>"] and found["<lambda>"].endswith(" 0")
    assert "'our error'" in found["refuse"] and found["refuse"].endswith(" 0")
    assert lines[-1].endswith("True")
