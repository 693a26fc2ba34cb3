"""The folder of playback controls in a viser page; knows no Nerfstudio."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import viser

from dyn3d_ns.timeline import Timeline
from dyn3d_ns.viewer.clock import PlaybackClock, describe_time, describe_timeline

SPEEDS = {"0.1x": 0.1, "0.25x": 0.25, "0.5x": 0.5, "1x": 1.0, "2x": 2.0, "4x": 4.0}
"""Choices of the speed menu."""


class Playback(Protocol):
    """What the controls act on."""

    timeline: Timeline
    clock: PlaybackClock
    now: Callable[[], float]

    @property
    def time(self) -> float:
        """The normalised time that is shown."""
        ...

    def play(self) -> None:
        """Let time run."""
        ...

    def pause(self) -> None:
        """Stop time where it is."""
        ...

    def seek(self, time_to_show: float) -> None:
        """Show a normalised time."""
        ...

    def step(self, frames: int) -> None:
        """Show a frame before (negative) or after the one shown."""
        ...


class PlaybackPanel:
    """The folder of playback controls in the viewer's side bar."""

    def __init__(self, playback: Playback, server: viser.ViserServer, order: float) -> None:
        self._playback = playback
        timeline = playback.timeline
        last = timeline.num_frames - 1
        marks: list[tuple[int, str]] = [(0, "0")]
        if timeline.has_future:
            marks.append((timeline.frame_index(timeline.future_times[0]), "future"))
        with server.gui.add_folder("Time playback", order=order):
            self._now = server.gui.add_markdown(describe_time(timeline, playback.time))
            self._play = server.gui.add_button("Play", icon=viser.Icon.PLAYER_PLAY_FILLED)
            self._pause = server.gui.add_button("Pause", icon=viser.Icon.PLAYER_PAUSE_FILLED, visible=False)
            self._step = server.gui.add_button_group("Step", ("Previous", "Next"))
            self._frame = server.gui.add_slider(
                "Frame", 0, last, 1, timeline.frame_index(playback.time), marks=tuple(marks)
            )
            self._speed = server.gui.add_dropdown(
                "Speed", tuple(SPEEDS), "1x", hint=f"1x is real time: {timeline.fps:g} frames a second"
            )
            self._loop = server.gui.add_checkbox("Loop", playback.clock.loop)
            server.gui.add_markdown(describe_timeline(timeline))
        self._play.on_click(lambda _: playback.play())
        self._pause.on_click(lambda _: playback.pause())
        self._step.on_click(lambda _: playback.step(1 if self._step.value == "Next" else -1))
        self._frame.on_update(lambda event: self._seek_frame(by_hand=event.client is not None))
        self._speed.on_update(lambda _: playback.clock.set_speed(SPEEDS[self._speed.value], playback.now()))
        self._loop.on_update(lambda _: playback.clock.set_loop(self._loop.value, playback.now()))

    def _seek_frame(self, by_hand: bool) -> None:
        timeline = self._playback.timeline
        # Our own updates of the slider come back here too, late; they ask for nothing new.
        if by_hand and self._frame.value != timeline.frame_index(self._playback.time):
            self._playback.seek(timeline.frame_times[self._frame.value])

    def show_playing(self, playing: bool) -> None:
        """Offer the pause button while time runs, the play button otherwise."""
        self._play.visible = not playing
        self._pause.visible = playing

    def show_time(self, time_shown: float) -> None:
        """Update the text and the frame slider."""
        timeline = self._playback.timeline
        text = describe_time(timeline, time_shown)
        if text != self._now.content:
            self._now.content = text
        index = timeline.frame_index(time_shown)
        if index != self._frame.value:
            self._frame.value = index
