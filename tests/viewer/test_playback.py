"""Playback in Nerfstudio's own viewer and render thread; only the browser at the far end is simulated."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import numpy as np
import pytest
import torch
from nerfstudio.configs.base_config import ViewerConfig
from nerfstudio.engine.trainer import Trainer
from nerfstudio.viewer.render_state_machine import (
    RenderAction,
    RenderActions,
    RenderStateMachine,
    RenderStates,
)
from nerfstudio.viewer.viewer import VISER_NERFSTUDIO_SCALE_RATIO, Viewer
from torch import nn

from dyn3d_ns.timeline import Timeline
from dyn3d_ns.viewer.playback import FRAME_RATE, TimePlayback

TIMELINE = Timeline(tuple(i / 60 for i in range(60)), t_obs=0.75, fps=60.0)


class GreyModel(nn.Module):
    """A model whose picture is as bright as the time is late, and as slow as wanted."""

    def __init__(self, timeline: Timeline, render_seconds: float = 0.0) -> None:
        super().__init__()
        self.playback = TimePlayback(timeline)
        self.render_seconds = render_seconds
        self.device = torch.device("cpu")

    def get_outputs_for_camera(self, camera, obb_box=None) -> dict[str, torch.Tensor]:
        time.sleep(self.render_seconds)
        height, width = int(camera.height), int(camera.width)
        return {"rgb": torch.full((height, width, 3), float(camera.times))}


class Browser:
    """What the render thread needs of a connected browser; keeps what it is sent."""

    def __init__(self) -> None:
        self.camera = SimpleNamespace(
            wxyz=np.array([1.0, 0, 0, 0]), position=np.array([0.0, 0, 30]), fov=0.8, aspect=1.5
        )
        self.scene = SimpleNamespace(set_background_image=self._receive)
        self.frames: list[tuple[float, tuple[int, ...], float]] = []

    def _receive(self, image: np.ndarray, depth: np.ndarray | None = None, **_) -> None:
        assert depth is None, "depth is not composited: its PNG costs more than the picture"
        self.frames.append((time.monotonic(), image.shape, float(image[0, 0, 0]) / 255))


@pytest.fixture
def make_viewer(tmp_path: Path) -> Iterator:
    """Return a function that starts the stock viewer on a model."""
    viewers: list[Viewer] = []

    def start(model: nn.Module, includes_time: bool = True, trainer=None) -> Viewer:
        pipeline = nn.Module()
        pipeline.model = model
        pipeline.datamanager = SimpleNamespace(includes_time=includes_time)
        config = ViewerConfig(websocket_host="127.0.0.1")
        log = tmp_path / "viewer.txt"
        viewer = Viewer(config, log, tmp_path, pipeline, trainer, train_lock=threading.Lock())  # type: ignore
        viewers.append(viewer)
        return viewer

    yield start
    for viewer in viewers:
        viewer.pipeline.model.playback.pause()
        for machine in viewer.render_statemachines.values():
            machine.running = False
        viewer.viser_server.stop()


def connect(viewer: Viewer) -> tuple[Browser, RenderStateMachine]:
    """Connect a browser and wait until it has its first full-resolution picture."""
    browser = Browser()
    machine = RenderStateMachine(viewer, 10.0, browser)  # type: ignore[arg-type]
    viewer.render_statemachines[0] = machine
    machine.start()
    machine.action(RenderAction("step", viewer.get_camera_state(browser)))  # type: ignore[arg-type]
    wait_until(lambda: any(shape[1] == 512 for _, shape, _ in browser.frames))
    return browser, machine


def wait_until(condition, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "nothing happened in time"
        time.sleep(0.005)


def playback_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "dyn3d-playback"]


def test_nerfstudio_has_the_members_that_playback_uses(make_viewer) -> None:
    """Few of them are public: a move of the pinned version fails here, by name."""
    viewer = make_viewer(GreyModel(TIMELINE))
    machine = RenderStateMachine(viewer, VISER_NERFSTUDIO_SCALE_RATIO, Browser())  # type: ignore[arg-type]
    for owner, used in (
        (viewer, "control_panel get_camera_state include_time last_move_time pipeline render_statemachines"),
        (viewer, "stats_markdown trainer viser_server"),
        (viewer.control_panel, "_layer_depth _time time"),
        (viewer.control_panel._time, "cb_hook value"),
        (viewer.stats_markdown, "order"),
        (machine, "action client is_alive next_action state"),
    ):
        assert set(used.split()) <= set(dir(owner)), type(owner).__name__
    assert "training_state" in Trainer.__init__.__code__.co_names
    assert "low_move" in get_args(RenderStates) and {"move", "static", "step"} <= set(get_args(RenderActions))


def test_a_model_carries_it_without_a_viewer_at_no_cost() -> None:
    before = threading.active_count()
    model = GreyModel(TIMELINE)
    assert threading.active_count() == before
    assert not model.state_dict()
    with pytest.raises(RuntimeError, match="needs a running viewer"):
        model.playback.play()


def test_playing_shows_the_recording_in_real_time_at_full_resolution(make_viewer) -> None:
    model = GreyModel(TIMELINE)
    viewer = make_viewer(model)
    browser, _ = connect(viewer)
    model.playback.clock.set_speed(0.5, 0.0)
    browser.frames.clear()
    began = time.monotonic()
    model.playback.play()
    assert len(playback_threads()) == 1
    time.sleep(1.4)
    model.playback.pause()
    elapsed = time.monotonic() - began
    assert not playback_threads()
    _, shapes, times = zip(*browser.frames[1:], strict=True)
    assert {shape[1] for shape in shapes} == {512}, "no picture is downscaled"
    assert (np.diff(times) >= -1e-6).all()
    # At half speed the 60 frames, one unit of time, take 2 s; the last picture may be a while ago.
    assert 0.5 * (elapsed - 0.5) < model.playback.time <= 0.5 * elapsed
    assert 5 < len(times) < 1.4 * FRAME_RATE, "no more than the viewer can use"
    shown = len(browser.frames)
    time.sleep(0.3)
    assert len(browser.frames) <= shown + 1, "nothing goes on after pause"


def test_slow_rendering_drops_frames_and_never_falls_behind(make_viewer) -> None:
    model = GreyModel(TIMELINE, render_seconds=0.1)
    viewer = make_viewer(model)
    browser, machine = connect(viewer)
    browser.frames.clear()
    model.playback.clock.set_speed(0.25, 0.0)
    model.playback.play()
    time.sleep(1.5)
    model.playback.pause()
    paused = time.monotonic()
    wait_until(lambda: machine.next_action is None)
    time.sleep(0.3)
    late = [wall for wall, _, _ in browser.frames if wall > paused + 0.25]
    assert not late, "no stale request is rendered after the pause"
    assert browser.frames[-1][2] == pytest.approx(model.playback.time, abs=0.03)
    assert 3 <= len(browser.frames) <= 16


def test_the_end_stops_it_and_play_starts_again(make_viewer) -> None:
    model = GreyModel(TIMELINE)
    browser, _ = connect(make_viewer(model))
    model.playback.clock.loop = False
    model.playback.clock.set_speed(4.0, 0.0)
    model.playback.play()
    wait_until(lambda: not model.playback.playing)
    assert model.playback.time == TIMELINE.frame_times[-1]
    wait_until(lambda: browser.frames[-1][2] == pytest.approx(59 / 60, abs=0.005))
    model.playback.clock.set_speed(0.1, 0.0)
    model.playback.play()
    assert model.playback.time < 0.1
    assert model.playback.playing


def test_steps_go_from_frame_to_frame_and_wrap_in_a_loop(make_viewer) -> None:
    model = GreyModel(TIMELINE)
    viewer = make_viewer(model)
    browser, _ = connect(viewer)
    viewer.control_panel.time = 0.101  # by hand, between frames 6 and 7
    wait_until(lambda: model.playback.time == 0.101)
    model.playback.step(1)
    assert viewer.control_panel.time == 7 / 60
    model.playback.step(-8)
    assert viewer.control_panel.time == 59 / 60
    wait_until(lambda: browser.frames[-1][2] == pytest.approx(59 / 60, abs=0.005))
    model.playback.clock.loop = False
    model.playback.step(1)
    assert viewer.control_panel.time == 59 / 60


def test_dragging_the_built_in_slider_while_playing_is_followed(make_viewer) -> None:
    model = GreyModel(TIMELINE)
    viewer = make_viewer(model)
    connect(viewer)
    model.playback.clock.set_speed(0.1, 0.0)
    model.playback.play()
    time.sleep(0.2)
    viewer.control_panel.time = 0.8
    time.sleep(0.3)
    assert model.playback.playing
    assert 0.8 < model.playback.time < 0.9


def test_playing_ends_when_the_last_browser_leaves(make_viewer) -> None:
    model = GreyModel(TIMELINE)
    viewer = make_viewer(model)
    _, machine = connect(viewer)
    model.playback.play()
    machine.running = False
    viewer.render_statemachines.clear()
    wait_until(lambda: not playback_threads())
    assert not model.playback.playing


def test_while_training_runs_it_asks_for_fewer_frames(make_viewer) -> None:
    model = GreyModel(TIMELINE)
    trainer = SimpleNamespace(training_state="training")
    browser, _ = connect(make_viewer(model, trainer=trainer))
    browser.frames.clear()
    model.playback.play()
    time.sleep(1.0)
    model.playback.pause()
    assert 2 <= len(browser.frames) <= 14


@pytest.mark.parametrize("case", ["no times in the data", "one frame"])
def test_no_controls_where_time_cannot_run(case: str, make_viewer) -> None:
    model = GreyModel(Timeline((0.0,), 0.0, 1.0) if case == "one frame" else TIMELINE)
    make_viewer(model, includes_time=case == "one frame")
    with pytest.raises(RuntimeError, match="two or more times"):
        model.playback.play()
