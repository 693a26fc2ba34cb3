"""`dyn3d play` and `dyn3d stream bake`."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dyn3d_ns.cli.main import main, parse
from dyn3d_ns.cli.play import Play
from dyn3d_ns.io.ply import SH_C0, read_vertices
from dyn3d_ns.io.stream.header import StreamHeader, write_header
from tests.gaussian_stream import BLUE, RED, BallStream, ball_at

WITHOUT_NERFSTUDIO = """
import sys
from pathlib import Path
from dyn3d_ns.cli.main import parse
from dyn3d_ns.viewer.painter import View
import numpy as np
page = parse(["play", sys.argv[1], "--port", "7245"]).open()
assert page.draw(View(np.eye(4)[:3], 1.0, 1.5), 48).shape == (48, 72, 3)
page.stop()
print(sorted({"nerfstudio", "torchvision", "tensorboard", "pycolmap"} & set(sys.modules)))
"""


@pytest.fixture
def stream(tmp_path: Path) -> BallStream:
    """Eight frames in the folder of a training."""
    return BallStream(tmp_path / "run/stream", planned=8).grow(8)


def test_a_page_needs_nothing_of_nerfstudio(stream: BallStream) -> None:
    command = [sys.executable, "-c", WITHOUT_NERFSTUDIO, str(stream.folder.parent)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_command_says_where_the_page_is_and_what_ends_it(
    stream: BallStream, deaf_to_ctrl_c: list[str]
) -> None:
    assert isinstance(parse(["play", "somewhere", "--host", "0.0.0.0", "--port", "80"]), Play)
    command = [*deaf_to_ctrl_c, sys.executable, "-m", "dyn3d_ns.cli.main", "play", str(stream.folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = next(line for line in process.stdout if " frames at " in line)
        assert "8 frames at http://127.0.0.1:" in line and f"(kill {process.pid} ends)" in line
        process.terminate()
    assert process.returncode == -signal.SIGTERM


def test_what_cannot_be_played_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["play", str(tmp_path)]) == 2
    assert "there is no stream at" in capsys.readouterr().err
    write_header(tmp_path, StreamHeader("voxels", 25.0, (0.0,)))
    assert main(["play", str(tmp_path)]) == 2
    assert "a stream of voxels" in capsys.readouterr().err


def bake(stream: BallStream, folder: Path, *more: str) -> int:
    return main(["stream", "bake", str(stream.folder.parent), "--output-dir", str(folder), *more])


def test_a_ply_holds_each_frame(
    stream: BallStream, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bake(stream, tmp_path / "out") == 0
    paths = sorted((tmp_path / "out").iterdir())
    assert [path.name for path in paths] == [f"frame_{i:05d}.ply" for i in range(8)]
    assert f"{tmp_path / 'out'}: 8 files, 0.0 MB" in capsys.readouterr().out
    for frame, path in enumerate(paths):
        found = read_vertices(path)
        assert len(found) == 2
        centre = np.array([found[axis][RED] for axis in "xyz"])
        np.testing.assert_allclose(centre, ball_at(frame), atol=1e-6)
        assert found["x"][BLUE] == 0.5, "what rests, rests"
        np.testing.assert_allclose(found["scale_1"], np.log(0.2), atol=2**-5)
        np.testing.assert_allclose(found["opacity"], 6.0, atol=1e-3)
        np.testing.assert_allclose(found["f_dc_2"][BLUE], 0.5 / SH_C0, atol=2**-6)
        np.testing.assert_allclose([found["rot_0"], found["rot_3"]], [[1, 1], [0, 0]], atol=1e-6)


def test_some_frames_only(stream: BallStream, tmp_path: Path) -> None:
    assert bake(stream, tmp_path / "out", "--frames", "2", "7", "--every", "3") == 0
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["frame_00002.ply", "frame_00005.ply"]


def test_files_that_are_there_stay_unless_told_otherwise(
    stream: BallStream, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs = tmp_path / "frame_00003.ply"
    theirs.write_text("somebody's")
    assert bake(stream, tmp_path) == 2
    assert "holds frame_00003.ply already" in capsys.readouterr().err
    assert theirs.read_text() == "somebody's" and not (tmp_path / "frame_00000.ply").exists()
    assert bake(stream, tmp_path, "--overwrite") == 0
    assert len(read_vertices(theirs)) == 2


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--frames", "3", "8"), "must lie in 0 to 7"),
        (("--frames", "5", "4"), "first before last"),
        (("--every", "0"), "at least 1"),
    ],
)
def test_wrong_frames_are_refused(
    stream: BallStream, tmp_path: Path, more: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bake(stream, tmp_path / "out", *more) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_damage_ends_the_files_before_it(
    stream: BallStream, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stream.damage(3)
    assert bake(stream, tmp_path / "out") == 2
    assert "frame 3 is damaged" in capsys.readouterr().err
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [f"frame_{i:05d}.ply" for i in range(3)]


def test_voxels_are_no_ply(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_header(tmp_path, StreamHeader("voxels", 25.0, (0.0,)))
    assert main(["stream", "bake", str(tmp_path), "--output-dir", str(tmp_path / "out")]) == 2
    assert "only gaussians can be written as PLY" in capsys.readouterr().err
