"""The page of `dyn3d view`: what is drawn, and what a browser shows of it."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest

from dyn3d_ns.cli.errors import CommandError
from dyn3d_ns.cli.main import main, parse
from dyn3d_ns.cli.view import View
from dyn3d_ns.io.fused_4d import FusedScene, read_fused
from dyn3d_ns.video.fuse.settings import FuseSettings
from dyn3d_ns.video.fuse.stage import FuseStage
from dyn3d_ns.viewer.scene_4d import SceneViewer
from dyn3d_ns.viewer.scene_parts import trail_points
from tests.video.cards import MOVER, PILLAR, WALL, CardClip, QuietReport


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # What moves lies in the left half, which no panel covers.
    cards = (WALL, replace(PILLAR, center=(1.2, 0, 3)), replace(MOVER, center=(-0.5, -0.3, 4)))
    workspace = CardClip(cards, frames=6).write(tmp_path_factory.mktemp("view") / "cards")
    FuseStage(FuseSettings(ply=False)).run(workspace, QuietReport())
    workspace.instance_labels_path.write_text('{"1": "sliding card"}')
    return workspace.root


@pytest.fixture(scope="module")
def scene(folder: Path) -> FusedScene:
    return read_fused(folder / "dynamicBA/base/fused_4d.npz")


@pytest.fixture
def viewer(folder: Path) -> Iterator[SceneViewer]:
    opened = View(out=folder, port=7234).open()
    yield opened
    opened.stop()


def test_trails_follow_tracks_backwards(scene: FusedScene) -> None:
    moving = np.flatnonzero(scene.traj_instance == 1)
    points, colors = trail_points(scene, moving, 4, 2)
    seen_now = moving[scene.traj_vis[moving, 2:5].all(axis=1)]
    assert len(points) >= 2 * 4 * len(seen_now) > 0
    start = scene.traj[seen_now[0], 2]
    assert abs(points - start).max(axis=1).min() < 1e-6, "a trail begins where the track was"
    assert abs(points - scene.traj[seen_now[0], 4]).max(axis=1).min() > 0, "and ends before it is now"
    brightest, darkest = colors.max(axis=0), colors.min(axis=0)
    assert (brightest <= scene.instance_colors[1]).all()
    assert (darkest < brightest).all(), "older steps are darker"
    assert len(trail_points(scene, moving, 0, 10)[0]) == 0


def test_time_moves_what_is_visible(viewer: SceneViewer) -> None:
    assert viewer.server.get_host() == "127.0.0.1"
    assert [cloud.visible for cloud in viewer._moving] == [True] + [False] * 5
    viewer.step(2)
    assert [cloud.visible for cloud in viewer._moving] == [False, False, True, False, False, False]
    viewer.step(-3)
    assert viewer._frame == 5, "wraps round"
    viewer.seek(0.21)
    assert viewer._frame == 1


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, "nothing happened in 120 s"
        time.sleep(0.005)


def test_play_and_pause(viewer: SceneViewer) -> None:
    seconds = 0.0
    viewer.now = lambda: seconds
    viewer.play()
    assert viewer.playing
    for frame in (1, 2, 3, 4):
        seconds = viewer.timeline.seconds(viewer.timeline.frame_times[frame])
        wait_until(lambda frame=frame: viewer._frame == frame)
    viewer.pause()
    assert not viewer.playing


def test_an_end_without_a_loop(viewer: SceneViewer) -> None:
    seconds = 0.0
    viewer.now = lambda: seconds
    viewer.clock.set_loop(False, seconds)
    viewer.seek(0.9)
    viewer.play()
    seconds = 100.0
    wait_until(lambda: not viewer.playing)
    assert viewer.time == pytest.approx(1)


def test_options_change_what_is_drawn(viewer: SceneViewer) -> None:
    viewer._show_moving_box.value = False
    viewer._apply_options()
    assert not any(cloud.visible for cloud in viewer._moving)
    viewer._show_moving_box.value = True
    viewer._colors.value = "objects"
    viewer._send_again()
    assert [cloud.visible for cloud in viewer._moving] == [True] + [False] * 5


def test_the_command(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert isinstance(parse(["view", str(folder)]), View)
    assert main(["view", str(tmp_path)]) == 2
    assert "--stages fuse" in capsys.readouterr().err
    with pytest.raises(CommandError, match="does not exist"):
        View(out=tmp_path / "nothing").open()


def test_a_lone_file_can_be_viewed_also_while_a_process_ends(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Gone:
        def cwd(self) -> str:
            raise psutil.NoSuchProcess(1)

    monkeypatch.setattr(psutil, "process_iter", lambda: iter([Gone()]))
    opened = View(out=folder / "dynamicBA/base/fused_4d.npz", port=7235).open()
    assert opened.timeline.num_frames == 6
    assert opened.image is None
    opened.stop()


def test_in_the_background_it_says_what_ends_it(folder: Path, deaf_to_ctrl_c: list[str]) -> None:
    command = [*deaf_to_ctrl_c, sys.executable, "-m", "dyn3d_ns.cli.main", "view", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert any(f"(kill {process.pid} ends)" in line for line in process.stdout)
        process.terminate()
    assert process.returncode == -signal.SIGTERM


@pytest.mark.slow
def test_in_a_browser(viewer: SceneViewer, page, viewer_page_type: type) -> None:
    """Points are seen, move with time, and take the colours of their objects."""
    address = f"http://127.0.0.1:{viewer.server.get_port()}"
    opened = viewer_page_type.__new__(viewer_page_type)
    opened.page = page
    page.goto(address)
    page.get_by_text("Time playback").wait_for()
    opened.click("Look through camera")
    opened.wait_until(lambda: opened.picture().std() > 0.05, "points before a plain background")
    first = opened.settled_picture()
    opened.press_on_slider("Frame", "End")
    opened.wait_until(lambda: opened.readout()[0] == 5, "the last frame")
    last = opened.changed_picture(first)
    opened.choose("Colours", "objects")
    hue = np.array([0x8D, 0xD3, 0xC7]) / 255

    def of_its_colour(picture: np.ndarray) -> np.ndarray:
        return np.abs(picture - hue).max(axis=-1) < 0.2

    # Pixels that took the colour: a picture caught while it was still being drawn changes elsewhere too.
    def object_has_its_colour() -> bool:
        return int((of_its_colour(opened.picture()) & ~of_its_colour(last)).sum()) > 50

    opened.wait_until(object_has_its_colour, "the object's colour")
    assert page.get_by_text("sliding card").is_visible()
    opened.click("Play")
    opened.wait_until(lambda: viewer.playing, "play")
    opened.click("Pause")
    opened.wait_until(lambda: not viewer.playing, "pause")
