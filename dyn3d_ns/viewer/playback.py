"""Playback of time in the stock Nerfstudio viewer: a model holds a TimePlayback and the viewer finds it."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from nerfstudio.viewer.render_state_machine import RenderAction, RenderStateMachine
from nerfstudio.viewer.viewer_elements import ViewerControl

from dyn3d_ns.viewer.clock import describe_time
from dyn3d_ns.viewer.player import FRAME_RATE, PANEL_RATE, PlaybackPanel, TimePlayer
from dyn3d_ns.viewer.start_view import look_through_training_camera

if TYPE_CHECKING:
    from collections.abc import Callable

    from nerfstudio.viewer.viewer import Viewer

    from dyn3d_ns.timeline import Timeline

TRAINING_FRAME_RATE = 10.0
"""Most frames asked for in a second while a training runs, which waits during every frame."""
COARSE_BELOW = 8.0
"""Below this many full-resolution frames a second the stock viewer's reduced resolution is used."""
_POLL_SECONDS = 0.003
_ATTEMPTS = 5
"""Times that a render thread is asked; twice in a row it hardly takes the request just then."""


class TimePlayback(TimePlayer, ViewerControl):
    """Play, pause, step and loop over a recording's time in the live viewer.

    Held as a public attribute of a model, it is set up by every viewer that shows the model. It then adds
    a "Time playback" folder above the viewer's tabs and moves the viewer's own time slider. Its thread asks
    for a frame only once the previous request is being rendered, so that slow rendering drops frames and
    never falls behind.
    """

    def __init__(self, timeline: Timeline) -> None:
        super().__init__(timeline)
        self._whole, self._there = timeline, timeline.num_frames
        self.note: Callable[[float], str] = lambda _: ""
        # Held while the shown time and the slider are set: between the two, an answer of the page to an
        # earlier time would look like one set by hand.
        self._writing = threading.RLock()

    def play_up_to(self, frames: int) -> None:
        """Play so many of the recording's first frames, those that are there by now.

        Who looks at the newest one goes on to the one that is the newest then.
        """
        newest, self._there = self.timeline.frame_times[-1], frames
        self.timeline = self.clock.timeline = self._whole.first(frames)
        if self._panel is None:
            return
        self._panel.resize()
        if self._shown == newest and not self.playing:
            self.seek(self.timeline.frame_times[-1])

    def describe(self, time_shown: float) -> str:
        """Say which frame and second a time is, and whether it is there by now."""
        if self._whole.frame_index(time_shown) < self._there:
            note = self.note(time_shown)
            return super().describe(time_shown) + (f"  \n{note}" if note else "")
        state = "not trained yet" + (f": frame {self._there - 1} is shown" if self._there else "")
        return f"{describe_time(self._whole, time_shown).splitlines()[0]}\n{state}"

    def extent(self) -> str:
        """Say what there is to be played."""
        if self._there == self._whole.num_frames:
            return super().extent()
        return f"{self._there} of {self._whole.num_frames} frames are there."

    def _setup(self, viewer: Viewer) -> None:
        """Add the playback folder to a viewer; Nerfstudio calls this while it builds the viewer."""
        super()._setup(viewer)
        look_through_training_camera(viewer)
        if not viewer.include_time or self._whole.num_frames < 2:
            return
        self._shown = viewer.control_panel.time
        self._panel = PlaybackPanel(self, viewer.viser_server, viewer.stats_markdown.order + 0.5)
        # Composited depth travels as a PNG a frame: at 400 px 20 ms to encode and 200 kB to send, against
        # under 1 ms and 20 kB for the picture. It only lets the scene hide the drawn training cameras.
        viewer.control_panel._layer_depth.value = False
        # The built-in slider stays the one truth about the time shown: a user may drag it at any moment.
        slider = viewer.control_panel._time
        rerender = slider.cb_hook

        def on_time_slider(element) -> None:
            with self._writing:
                by_hand = element.value != self._shown
                if by_hand:
                    self._adopt(element.value)
            if by_hand:
                rerender(element)

        slider.cb_hook = on_time_slider

    def play(self) -> None:
        """Let time run from where it is, or from the start if it is at the end."""
        if self._panel is None:
            raise RuntimeError(
                "playback needs a running viewer of a scene with two or more times: "
                "start ns-viewer, or ns-train with --vis viewer"
            )
        super().play()

    def seek(self, time_to_show: float) -> None:
        """Show a normalised time; playback, if it runs, goes on from there."""
        with self._writing:
            self._adopt(time_to_show)
            self.viewer.control_panel.time = time_to_show
        self._request_frames(coarse=False)

    def _adopt(self, time_shown: float) -> None:
        """Take over a time set by hand."""
        self._shown = time_shown
        self.clock.restart(time_shown, self.now())
        if self._panel is not None:
            self._panel.show_time(time_shown)

    def _run(self, halt: threading.Event) -> None:
        """Show one time after another until paused, at the end, or when nobody watches."""
        coarse, full_rate = False, FRAME_RATE
        panel_updated = 0.0
        while not halt.is_set() and self._machines():
            began = self.now()
            with self._writing:
                if self.viewer.control_panel.time != self._shown:
                    self._adopt(self.viewer.control_panel.time)
                shown, ended = self.clock.read(began)
                self._shown = shown
                self.viewer.control_panel.time = shown
            self._request_frames(coarse)
            if self._panel is not None and began - panel_updated > 1 / PANEL_RATE:
                self._panel.show_time(shown)
                panel_updated = began
            if ended:
                break
            while self._rendering_behind() and not halt.wait(_POLL_SECONDS):
                continue
            full_rate += 0.5 * (1 / max(self.now() - began, 1e-3) - full_rate)
            coarse = coarse or (full_rate < COARSE_BELOW and not self._training())
            rate = TRAINING_FRAME_RATE if self._training() else FRAME_RATE
            halt.wait(max(0.0, began + 1 / rate - self.now()))
        if not halt.is_set():
            self.pause()

    def _machines(self) -> list[RenderStateMachine]:
        """Return the render threads, one a connected browser, that are alive."""
        return [machine for machine in list(self.viewer.render_statemachines.values()) if machine.is_alive()]

    def _rendering_behind(self) -> bool:
        """Whether a requested frame still waits for the one before it."""
        return any(machine.next_action is not None for machine in self._machines())

    def _training(self) -> bool:
        trainer = self.viewer.trainer
        return trainer is not None and trainer.training_state == "training"

    def _request_frames(self, coarse: bool) -> None:
        """Ask every connected browser's render thread for the time now shown.

        A "step" is what a training step asks for: full resolution, nothing interrupted. After a camera
        move the stock state machine ignores steps until it has been "static" once, which it would only
        notice after 0.2 s without any request.
        """
        still = time.time() - self.viewer.last_move_time > 0.2
        for machine in self._machines():
            action = "move" if coarse else "static" if machine.state == "low_move" and still else "step"
            ask(machine, RenderAction(action, self.viewer.get_camera_state(machine.client)))


def ask(machine: RenderStateMachine, action: RenderAction) -> None:
    """Ask a render thread for a picture.

    Nerfstudio's ``action`` reads the waiting request several times, and fails where the thread takes it in
    between, which would end a playback or a training: it is asked again then.
    """
    for _ in range(_ATTEMPTS - 1):
        try:
            return machine.action(action)
        except AttributeError:
            continue
    machine.action(action)
