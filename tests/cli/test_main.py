"""The command line itself: help, examples and errors."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from dyn3d_ns.cli.main import DESCRIPTION, main, parse
from dyn3d_ns.cli.path import BulletTime, MakePath

EXAMPLES = [line.strip() for line in DESCRIPTION.splitlines() if line.strip().startswith("dyn3d ")]


def test_help_loads_neither_torch_nor_nerfstudio() -> None:
    script = (
        "import sys\nfrom dyn3d_ns.cli.main import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit as stop:\n    assert stop.code == 0\n"
        "heavy = {'torch', 'nerfstudio', 'viser', 'cv2', 'scipy', 'PIL', 'av', 'pycolmap', 'matplotlib'}\n"
        "heavy &= set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for word in ("path", "export", "eval-motion", "1. ", "6. "):
        assert word in done.stdout


@pytest.mark.parametrize("example", EXAMPLES)
def test_examples_of_the_help_parse(example: str) -> None:
    parse(shlex.split(example)[1:])


def test_every_command_has_an_example() -> None:
    commands = {
        "path",
        "export",
        "eval-motion",
        "eval-flow",
        "segment",
        "transfer-velocity",
        "process",
        "view",
        "import",
        "info",
        "eval-video",
        "clean",
        "bench",
        "stream",
        "play",
    }
    assert {example.split()[1] for example in EXAMPLES} == commands


def test_options_reach_the_preset() -> None:
    command = parse(shlex.split("path bullet-time --data scene --at 0.5 --loops 2 --output out.json"))
    assert isinstance(command, MakePath)
    assert command.preset == BulletTime(output=Path("out.json"), data=Path("scene"), at=0.5, loops=2.0)


def test_errors_are_one_line_and_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["path", "orbit", "--data", "no/such/scene", "--output", "x.json"]) == 2
    error = capsys.readouterr().err
    assert error == "dyn3d: --data must be the folder of a scene, but no/such/scene is not a folder\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("path orbit --data no --output {file}/x.json", "cannot write to {file}"),
        (
            "path orbit --data no --output {folder}",
            "--output must be a file (.json), but {folder} is a folder",
        ),
        ("path orbit --data no --output {folder}/x.mp4", "--output must end in .json"),
        ("export ply --load-config no --output {file}", "must be a folder, but {file} is a file"),
        ("export ply --load-config no --output {folder}/x.spz", "must be a folder or end in .ply"),
        ("export spz --load-config no --output {file}/x", "cannot write to {file}"),
        ("export usd --load-config no --output {folder}/x.ply", "must end in .usd or .usdc or .usda"),
        ("export ply --load-config no --output-dir {folder} --times nan", "--times must be finite"),
        ("export ply --load-config no --output-dir {folder} --frames -1", "--frames must be numbers from 0"),
        ("export ply --load-config no --output-dir {folder} --frames 1 --times 1", "not both"),
        ("export trajectories --load-config no --output {file}/x.npz", "cannot write to {file}"),
        ("export web --load-config no --output {file}/x.html", "cannot write to {file}"),
        ("export web --load-config no --output {folder}/x.htm", "--output must end in .html"),
        ("eval-motion --load-config no --gt no --output {file}/x.json", "cannot write to {file}"),
    ],
)
def test_what_cannot_be_written_is_said_before_anything_is_loaded(
    arguments: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = {"folder": tmp_path, "file": tmp_path / "file"}
    places["file"].write_text("a file where a folder is needed")
    assert main(shlex.split(arguments.format(**places))) == 2
    assert said.format(**places) in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
