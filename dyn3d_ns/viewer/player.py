"""Time that runs in a thread of its own, for whatever shows it, and its controls in a viser page."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import viser
from viser._messages import GuiUpdateMessage

from dyn3d_ns.timeline import Timeline
from dyn3d_ns.viewer.clock import PlaybackClock, describe_time, describe_timeline

FRAME_RATE = 30.0
"""Most times shown in a second by who shows them itself."""
PANEL_RATE = 10.0
"""Most updates a second of the text and of the frame slider: they cost the browser more than the picture."""
STEPS = {"Previous": -1, "Next": 1}
"""Buttons that step, and by how many frames."""
SPEEDS = {"0.1x": 0.1, "0.25x": 0.25, "0.5x": 0.5, "1x": 1.0, "2x": 2.0, "4x": 4.0}
"""Choices of the speed menu."""


class TimePlayer:
    """Play, pause and step over a recording's time; how a time is shown is up to :meth:`seek` and ``_run``.

    A thread exists only while time runs.
    """

    def __init__(self, timeline: Timeline) -> None:
        self.timeline = timeline
        self.clock = PlaybackClock(timeline)
        self.now: Callable[[], float] = time.monotonic
        self._shown = timeline.frame_times[0]
        self._thread: threading.Thread | None = None
        self._halt: threading.Event | None = None
        self._panel: PlaybackPanel | None = None

    @property
    def time(self) -> float:
        """The normalised time that is shown."""
        return self._shown

    @property
    def playing(self) -> bool:
        """Whether time runs."""
        return self._thread is not None and self._thread.is_alive()

    def describe(self, time_shown: float) -> str:
        """Say in two lines of Markdown which frame and second a time is, and what is known of it."""
        return describe_time(self.timeline, time_shown)

    def extent(self) -> str:
        """Say what there is to be played."""
        return describe_timeline(self.timeline)

    def play(self) -> None:
        """Let time run from where it is, or from the start if it is at the end."""
        if self.playing:
            return
        if self._shown >= self.timeline.frame_times[-1]:
            self.seek(self.timeline.frame_times[0])
        self.clock.restart(self._shown, self.now())
        self._halt = threading.Event()
        self._thread = threading.Thread(
            target=self._run, args=(self._halt,), name="dyn3d-playback", daemon=True
        )
        if self._panel is not None:
            self._panel.show_playing(True)
        self._thread.start()

    def pause(self) -> None:
        """Stop time where it is and end the thread."""
        thread, self._thread = self._thread, None
        if self._halt is not None:
            self._halt.set()
        if thread is not None and thread is not threading.current_thread():
            thread.join()
        if self._panel is not None:
            self._panel.show_playing(False)
            self._panel.show_time(self._shown)

    def seek(self, time_to_show: float) -> None:
        """Show a normalised time; playback, if it runs, goes on from there."""
        raise NotImplementedError

    def step(self, frames: int) -> None:
        """Pause and show a recorded frame before (negative) or after the one shown; wraps round in a loop."""
        self.pause()
        last = self.timeline.num_frames - 1
        target = self.timeline.frame_index(self._shown) + frames
        target = target % (last + 1) if self.clock.loop else min(max(target, 0), last)
        self.seek(self.timeline.frame_times[target])

    def _run(self, halt: threading.Event) -> None:
        """Show one time after another until ``halt`` is set or the end is reached."""
        raise NotImplementedError


class DirectPlayer(TimePlayer):
    """A player that shows each time itself, by :meth:`show`."""

    def show(self, time_to_show: float) -> None:
        """Show a normalised time, and note it in ``_shown``."""
        raise NotImplementedError

    def seek(self, time_to_show: float) -> None:
        """Show a normalised time; playback, if it runs, goes on from there."""
        self.clock.restart(time_to_show, self.now())
        self.show(time_to_show)
        if self._panel is not None:
            self._panel.show_time(time_to_show)

    def _run(self, halt: threading.Event) -> None:
        panel_updated = 0.0
        while not halt.is_set():
            began = self.now()
            shown, ended = self.clock.read(began)
            self.show(shown)
            if self._panel is not None and began - panel_updated > 1 / PANEL_RATE:
                self._panel.show_time(shown)
                panel_updated = began
            if ended:
                break
            halt.wait(max(0.0, began + 1 / FRAME_RATE - self.now()))
        if not halt.is_set():
            self.pause()


class PlaybackPanel:
    """The folder of playback controls in the viewer's side bar."""

    def __init__(self, playback: TimePlayer, server: viser.ViserServer, order: float) -> None:
        self._playback = playback
        # Seeks by hand go one after another, each to where the slider is by then; `_sought` is that place.
        self._by_hand = threading.Lock()
        self._sought: int | None = None
        timeline = playback.timeline
        last = timeline.num_frames - 1
        marks: list[tuple[int, str]] = [(0, "0")]
        if timeline.has_future:
            marks.append((timeline.frame_index(timeline.future_times[0]), "future"))
        with server.gui.add_folder("Time playback", order=order):
            self._now = server.gui.add_markdown(playback.describe(playback.time))
            self._play = server.gui.add_button("Play", icon=viser.Icon.PLAYER_PLAY_FILLED)
            self._pause = server.gui.add_button("Pause", icon=viser.Icon.PLAYER_PAUSE_FILLED, visible=False)
            self._step = server.gui.add_button_group("Step", tuple(STEPS))
            # viser passes over a press of the button that was pressed last, of the first one at first.
            self._step.value = ""
            # A slider of one place cannot be drawn; where there is one frame, all of it means that.
            self._frame = server.gui.add_slider(
                "Frame", 0, max(last, 1), 1, timeline.frame_index(playback.time), marks=tuple(marks)
            )
            self._speed = server.gui.add_dropdown(
                "Speed", tuple(SPEEDS), "1x", hint=f"1x is real time: {timeline.fps:g} frames a second"
            )
            self._loop = server.gui.add_checkbox("Loop", playback.clock.loop)
            self._extent = server.gui.add_markdown(playback.extent())
        self._play.on_click(lambda _: playback.play())
        self._pause.on_click(lambda _: playback.pause())
        self._step.on_click(lambda event: self._step_frame(by_hand=event.client is not None))
        self._frame.on_update(lambda event: self._seek_frame(by_hand=event.client is not None))
        self._speed.on_update(lambda _: playback.clock.set_speed(SPEEDS[self._speed.value], playback.now()))
        self._loop.on_update(lambda _: playback.clock.set_loop(self._loop.value, playback.now()))

    def _step_frame(self, by_hand: bool) -> None:
        if by_hand:
            frames = STEPS[self._step.value]
            self._step.value = ""
            self._playback.step(frames)

    def _seek_frame(self, by_hand: bool) -> None:
        if not by_hand:
            return
        with self._by_hand:
            timeline = self._playback.timeline
            self._sought = self._frame.value
            # Our own updates of the slider come back here too, late; they ask for nothing new.
            try:
                if self._sought != timeline.frame_index(self._playback.time):
                    self._playback.seek(timeline.frame_times[min(self._sought, timeline.num_frames - 1)])
            finally:
                self._sought = None

    def resize(self) -> None:
        """Let the slider reach to the end of a timeline that has changed."""
        timeline = self._playback.timeline
        # viser's handles of sliders have no setter for what the page lets change.
        update = GuiUpdateMessage(self._frame._impl.id, {"max": max(timeline.num_frames - 1, 1)})
        self._frame._impl.gui_api._websock_interface.queue_message(update)
        self._extent.content = self._playback.extent()
        self.show_time(self._playback.time)

    def show_playing(self, playing: bool) -> None:
        """Offer the pause button while time runs, the play button otherwise."""
        self._play.visible = not playing
        self._pause.visible = playing

    def show_time(self, time_shown: float) -> None:
        """Update the text and the frame slider."""
        timeline = self._playback.timeline
        text = self._playback.describe(time_shown)
        if text != self._now.content:
            self._now.content = text
        index = timeline.frame_index(time_shown)
        # What is sought by hand is where the slider was; it may have gone on since, by the next key press.
        if index not in (self._frame.value, self._sought):
            self._frame.value = index
