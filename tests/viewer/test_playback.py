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
from dyn3d_ns.viewer.playback import FRAME_RATE, TRAINING_FRAME_RATE, TimePlayback, ask

TIMELINE = Timeline(tuple(i / 60 for i in range(60)), t_obs=0.75, fps=60.0)


class HandClock:
    """Seconds that pass only when a test says so."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


class GreyModel(nn.Module):
    """A model whose picture is as bright as the time is late, and that renders only while it may."""

    def __init__(self, timeline: Timeline) -> None:
        super().__init__()
        self.playback = TimePlayback(timeline)
        self.playback.now = self.clock = HandClock()
        self.may_render = threading.Event()
        self.may_render.set()
        self.waiting = threading.Event()
        self.device = torch.device("cpu")

    def get_outputs_for_camera(self, camera, obb_box=None) -> dict[str, torch.Tensor]:
        if not self.may_render.is_set():
            self.waiting.set()
            self.may_render.wait(120)
        height, width = int(camera.height), int(camera.width)
        return {"rgb": torch.full((height, width, 3), float(camera.times))}


class Browser:
    """What the render thread needs of a connected browser; keeps what it is sent."""

    def __init__(self) -> None:
        self.camera = SimpleNamespace(
            wxyz=np.array([1.0, 0, 0, 0]), position=np.array([0.0, 0, 30]), fov=0.8, aspect=1.5
        )
        self.scene = SimpleNamespace(set_background_image=self._receive)
        self.frames: list[tuple[tuple[int, ...], float]] = []

    def _receive(self, image: np.ndarray, depth: np.ndarray | None = None, **_) -> None:
        assert depth is None, "depth is not composited: its PNG costs more than the picture"
        self.frames.append((image.shape, float(image[0, 0, 0]) / 255))

    def shows(self, time_shown: float) -> bool:
        """Whether the last picture is that of a time."""
        return bool(self.frames) and abs(self.frames[-1][1] - time_shown) < 0.005


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
    wait_until(lambda: any(shape[1] == 512 for shape, _ in browser.frames))
    return browser, machine


def wait_until(condition, seconds: float = 120) -> None:
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


def test_playing_shows_the_time_of_the_clock_at_full_resolution(make_viewer) -> None:
    model = GreyModel(TIMELINE)
    browser, machine = connect(make_viewer(model))
    model.playback.clock.set_speed(0.5, 0.0)
    browser.frames.clear()
    model.playback.play()
    assert len(playback_threads()) == 1
    for seconds in (0.5, 1.0, 1.4):
        model.clock.seconds = seconds
        # At half speed the 60 frames, one unit of time, take 2 s.
        wait_until(lambda: browser.shows(0.5 * model.clock.seconds))
    model.playback.pause()
    assert not playback_threads()
    wait_until(lambda: machine.next_action is None)
    shapes, times = zip(*browser.frames, strict=True)
    assert {shape[1] for shape in shapes} == {512}, "no picture is downscaled"
    assert (np.diff(times) >= -1e-6).all()
    model.clock.seconds = 1.8
    assert model.playback.time == pytest.approx(0.7), "nothing goes on after pause"


def test_pausing_while_a_frame_renders_leaves_the_last_time_and_no_other(make_viewer) -> None:
    model = GreyModel(TIMELINE)
    browser, machine = connect(make_viewer(model))
    model.playback.play()
    model.clock.seconds = 0.3
    wait_until(lambda: browser.shows(0.3))
    model.may_render.clear()
    # One frame renders, one is asked for; the thread waits, however late it gets.
    wait_until(lambda: model.waiting.is_set() and machine.next_action is not None)
    model.clock.seconds = 0.6
    model.playback.pause()
    assert model.playback.time == pytest.approx(0.3)
    browser.frames.clear()
    model.may_render.set()
    wait_until(lambda: len(browser.frames) >= 2 and machine.next_action is None)
    assert len(browser.frames) == 2 and browser.shows(0.3), "no stale request is rendered"


class SimulatedMachine:
    """A render thread in simulated time: a frame takes some seconds, and one request may wait for it."""

    state = "high"
    client = None

    def __init__(self, clock: HandClock, seconds: float) -> None:
        self.clock, self.seconds = clock, seconds
        self.ready_at = 0.0
        self.waiting: RenderAction | None = None
        self.rendered: list[tuple[float, RenderAction]] = []

    def is_alive(self) -> bool:
        """Answer as a thread that runs."""
        return True

    def action(self, action: RenderAction) -> None:
        """Take a request in place of the one that waits."""
        self.waiting = action

    @property
    def next_action(self) -> RenderAction | None:
        """The request that waits, once it is seen whether the frame before it is done by now."""
        if self.waiting is not None and self.clock.seconds >= self.ready_at:
            self.rendered.append((self.clock.seconds, self.waiting))
            self.waiting, self.ready_at = None, self.clock.seconds + self.seconds
        return self.waiting


class PassingTime(threading.Event):
    """A halt at a moment in simulated time, which passes where it is waited for."""

    def __init__(self, clock: HandClock, until: float) -> None:
        super().__init__()
        self.clock, self.until = clock, until

    def is_set(self) -> bool:
        return self.clock.seconds >= self.until

    def wait(self, timeout: float | None = None) -> bool:
        self.clock.seconds += timeout or 0.0
        return self.is_set()


def simulate(render_seconds: float, training: bool = False) -> list[tuple[float, RenderAction]]:
    """Play at half speed for two seconds; return when which request was rendered."""
    model = GreyModel(TIMELINE)
    machine = SimulatedMachine(model.clock, render_seconds)
    panel = SimpleNamespace(time=0.0)
    model.playback.viewer = SimpleNamespace(  # type: ignore[assignment]
        render_statemachines={0: machine},
        control_panel=panel,
        trainer=SimpleNamespace(training_state="training") if training else None,
        last_move_time=0.0,
        get_camera_state=lambda _: panel.time,
    )
    model.playback.clock.set_speed(0.5, 0.0)
    model.playback._run(PassingTime(model.clock, 2.0))
    return machine.rendered


@pytest.mark.parametrize(("training", "rate"), [(False, FRAME_RATE), (True, TRAINING_FRAME_RATE)])
def test_no_more_frames_are_asked_for_than_can_be_used(training: bool, rate: float) -> None:
    rendered = simulate(0.001, training)
    assert len(rendered) == pytest.approx(2 * rate, rel=0.1)
    assert {request.action for _, request in rendered} == {"step"}


@pytest.mark.parametrize(("render_seconds", "last_action"), [(0.1, "step"), (0.2, "move")])
def test_slow_rendering_drops_frames_and_never_falls_behind(render_seconds: float, last_action: str) -> None:
    rendered = simulate(render_seconds)
    assert len(rendered) == pytest.approx(2 / render_seconds, rel=0.1)
    for started, request in rendered:
        asked_for = 2 * float(request.camera_state)  # type: ignore[arg-type]
        assert started - asked_for <= render_seconds + 0.01, "a request waits for one frame at most"
    assert rendered[-1][1].action == last_action, "below 8 frames a second resolution gives way"


def test_the_end_stops_it_and_play_starts_again(make_viewer) -> None:
    model = GreyModel(TIMELINE)
    browser, _ = connect(make_viewer(model))
    model.playback.clock.loop = False
    model.playback.clock.set_speed(4.0, 0.0)
    model.playback.play()
    model.clock.seconds = 0.3
    wait_until(lambda: not model.playback.playing)
    assert model.playback.time == TIMELINE.frame_times[-1]
    wait_until(lambda: browser.shows(59 / 60))
    model.playback.play()
    assert model.playback.time == 0
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
    wait_until(lambda: browser.shows(59 / 60))
    model.playback.clock.loop = False
    model.playback.step(1)
    assert viewer.control_panel.time == 59 / 60


def test_dragging_the_built_in_slider_while_playing_is_followed(make_viewer) -> None:
    model = GreyModel(TIMELINE)
    viewer = make_viewer(model)
    connect(viewer)
    model.playback.clock.set_speed(0.1, 0.0)
    model.playback.play()
    model.clock.seconds = 1.0
    wait_until(lambda: model.playback.time == pytest.approx(0.1))

    def drag() -> bool:
        """Move the slider as a hand does, which holds it until it is where it should be."""
        viewer.control_panel.time = 0.8
        return model.playback.time == pytest.approx(0.8)

    wait_until(drag)
    model.clock.seconds = 1.5
    wait_until(lambda: model.playback.time == pytest.approx(0.85))
    assert model.playback.playing


def test_playing_ends_when_the_last_browser_leaves(make_viewer) -> None:
    model = GreyModel(TIMELINE)
    viewer = make_viewer(model)
    _, machine = connect(viewer)
    model.playback.play()
    machine.running = False
    viewer.render_statemachines.clear()
    wait_until(lambda: not playback_threads())
    assert not model.playback.playing


@pytest.mark.parametrize("case", ["no times in the data", "one frame"])
def test_no_controls_where_time_cannot_run(case: str, make_viewer) -> None:
    model = GreyModel(Timeline((0.0,), 0.0, 1.0) if case == "one frame" else TIMELINE)
    make_viewer(model, includes_time=case == "one frame")
    with pytest.raises(RuntimeError, match="two or more times"):
        model.playback.play()


def test_late_answers_to_its_own_writes_are_not_taken_for_a_hand(make_viewer) -> None:
    """viser calls back in another thread: by then a later time may have been chosen, but not yet written."""
    model = GreyModel(TIMELINE)
    viewer = make_viewer(model)
    browser, _ = connect(viewer)
    slider, stop = viewer.control_panel._time, threading.Event()

    def answer() -> None:
        while not stop.is_set():
            slider.cb_hook(slider)

    thread = threading.Thread(target=answer, daemon=True)
    model.playback.clock.set_speed(0.1, 0.0)
    model.playback.play()
    browser.frames.clear()
    thread.start()
    for tick in range(1, 201):
        model.clock.seconds = tick / 25
        wait_until(lambda: model.playback.time == pytest.approx(0.1 * model.clock.seconds))
    stop.set()
    thread.join()
    model.playback.pause()
    assert {shape[1] for shape, _ in browser.frames} == {512}, "no picture is downscaled"


def test_what_is_there_by_now_is_played_and_the_newest_frame_is_followed(make_viewer) -> None:
    """A stream's training comes to a recording's frames one after the other."""
    model = GreyModel(TIMELINE)
    model.playback.play_up_to(0)
    viewer = make_viewer(model)
    browser, _ = connect(viewer)
    panel = model.playback._panel
    assert panel is not None and panel._extent.content == "0 of 60 frames are there."
    assert panel._now.content == "**frame 0/59** · 0.000 s  \nnot trained yet"
    model.playback.play_up_to(1)
    assert panel._now.content == "**frame 0/0** · 0.000 s  \nobserved"
    model.playback.play_up_to(4)
    assert model.playback.time == viewer.control_panel.time == TIMELINE.frame_times[3]
    wait_until(lambda: browser.shows(3 / 60))
    assert panel._frame.value == 3 and panel._extent.content == "4 of 60 frames are there."
    model.playback.step(1)
    assert model.playback.time == 0.0, "steps stay among the frames that are there"
    model.playback.play_up_to(9)
    assert model.playback.time == 0.0, "who looks at an earlier frame stays there"
    viewer.control_panel.time = 0.5
    wait_until(lambda: panel._now.content == "**frame 30/59** · 0.500 s  \nnot trained yet: frame 8 is shown")
    model.playback.play_up_to(60)
    assert panel._extent.content.startswith("Observed to frame 45")


class TakingMachine(RenderStateMachine):
    """A render thread that takes the waiting request while it is being asked, once."""

    takes = False

    @property
    def state(self) -> str:
        """Return the state, and take the request."""
        if self.takes:
            self.takes, self.next_action = False, None
        return "high"

    @state.setter
    def state(self, _: str) -> None:
        pass


def test_a_request_that_is_taken_while_it_is_made_is_made_again(make_viewer) -> None:
    viewer, browser = make_viewer(GreyModel(TIMELINE)), Browser()
    machine = TakingMachine(viewer, 10.0, browser)  # type: ignore[arg-type]
    action = RenderAction("step", viewer.get_camera_state(browser))  # type: ignore[arg-type]
    machine.takes = True
    with pytest.raises(AttributeError):
        machine.action(action)
    machine.takes, machine.next_action = True, None
    ask(machine, action)
    assert machine.next_action is action and machine.render_trigger.is_set()
