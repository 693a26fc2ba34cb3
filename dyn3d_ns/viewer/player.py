"""Time that runs in a thread of its own, for whatever shows it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from dyn3d_ns.timeline import Timeline
from dyn3d_ns.viewer.clock import PlaybackClock
from dyn3d_ns.viewer.panel import PlaybackPanel


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
