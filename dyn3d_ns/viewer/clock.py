"""Which time to show at which moment of playback, and how to say it; knows no viewer."""

from __future__ import annotations

from dataclasses import dataclass, field

from dyn3d_ns.timeline import TIME_EPS, Timeline


@dataclass
class PlaybackClock:
    """Map wall-clock seconds to normalised scene time, at a speed, once or in a loop."""

    timeline: Timeline
    """The recording that is played, from its first frame to its last."""
    speed: float = 1.0
    """1 is real time, 0.25 a quarter of it."""
    loop: bool = True
    """Start again after the last frame."""
    _time: float = field(default=0.0, repr=False)
    _wall: float = field(default=0.0, repr=False)

    def restart(self, time: float, wall: float) -> None:
        """Continue from a scene time as of a moment (seconds of any monotonic clock)."""
        self._time = time
        self._wall = wall

    def set_speed(self, speed: float, wall: float) -> None:
        """Change the speed without a jump in time."""
        if not speed > 0:
            raise ValueError(f"playback speed must be positive, got {speed}")
        self.restart(self.read(wall)[0], wall)
        self.speed = speed

    def set_loop(self, loop: bool, wall: float) -> None:
        """Switch looping on or off without a jump in time."""
        self.restart(self.read(wall)[0], wall)
        self.loop = loop

    def read(self, wall: float) -> tuple[float, bool]:
        """Return the scene time at a moment, and whether the recording has ended there (never in a loop)."""
        start, end = self.timeline.frame_times[0], self.timeline.frame_times[-1]
        elapsed = max(0.0, wall - self._wall) * self.speed / self.timeline.duration
        time = self._time + elapsed
        if not self.loop:
            return min(time, end), time >= end
        # The last frame lasts as long as the others before the first one comes again.
        period = end - start + self.timeline.dt
        if time >= start + period:
            time = start + (time - start) % period
        return min(time, max(end, self._time)), False


def describe_time(timeline: Timeline, time: float) -> str:
    """Say in two lines of Markdown which frame and second a time is, and whether it was observed."""
    state = "observed" if time <= timeline.t_obs + TIME_EPS else "future (predicted)"
    last = timeline.num_frames - 1
    return f"**frame {timeline.frame_index(time)}/{last}** · {timeline.seconds(time):.3f} s  \n{state}"


def describe_timeline(timeline: Timeline) -> str:
    """Say where the observed part of a recording ends."""
    end = f"frame {timeline.num_frames - 1} ({timeline.seconds(timeline.frame_times[-1]):.3f} s)"
    if not timeline.has_future:
        return f"Observed to the end, {end}."
    observed = f"frame {timeline.frame_index(timeline.t_obs)} ({timeline.seconds(timeline.t_obs):.3f} s)"
    return f"Observed to {observed}; predicted to {end}."
