"""Scene time as a function of the wall clock."""

import pytest

from dyn3d_ns.timeline import Timeline
from dyn3d_ns.viewer.clock import PlaybackClock, describe_time, describe_timeline

# 60 frames at 30 frames a second: frame i is at t = i / 60 and lasts 1/30 s, so t runs at 0.5 a second.
TIMELINE = Timeline(tuple(i / 60 for i in range(60)), t_obs=0.75, fps=30.0)


def test_real_time_speed_follows_frames_per_second() -> None:
    clock = PlaybackClock(TIMELINE)
    clock.restart(0.0, wall=100.0)
    assert clock.read(100.0 + 10 / 30)[0] == pytest.approx(10 / 60)


def test_quarter_speed_takes_four_times_as_long() -> None:
    clock = PlaybackClock(TIMELINE, speed=0.25)
    clock.restart(0.1, wall=0.0)
    assert clock.read(4 * 6 / 30)[0] == pytest.approx(0.1 + 6 / 60)


def test_without_loop_it_ends_at_the_last_frame() -> None:
    clock = PlaybackClock(TIMELINE, loop=False)
    clock.restart(0.9, wall=0.0)
    assert clock.read(0.1) == (pytest.approx(0.95), False)
    assert clock.read(50.0) == (TIMELINE.frame_times[-1], True)


def test_loop_shows_the_last_frame_as_long_as_others_and_then_the_first() -> None:
    clock = PlaybackClock(TIMELINE)
    clock.restart(59 / 60, wall=0.0)
    assert clock.read(0.9 / 30) == (59 / 60, False)
    assert clock.read(1.5 / 30)[0] == pytest.approx(0.5 / 60)
    assert clock.read(1.5 / 30 + 7 * 2.0)[0] == pytest.approx(0.5 / 60), "seven rounds of 2 s later"


def test_times_beyond_the_recording_set_by_hand_are_kept_at_first() -> None:
    clock = PlaybackClock(TIMELINE)
    clock.restart(0.99, wall=0.0)
    assert clock.read(0.0)[0] == 0.99


@pytest.mark.parametrize("change", ["speed", "loop"])
def test_changes_while_playing_do_not_jump(change: str) -> None:
    clock = PlaybackClock(TIMELINE)
    clock.restart(0.5, wall=0.0)
    now = 9.3  # more than four rounds later
    before, _ = clock.read(now)
    if change == "speed":
        clock.set_speed(2.0, now)
    else:
        clock.set_loop(False, now)
    assert clock.read(now) == (pytest.approx(before), False)


def test_speed_must_be_positive() -> None:
    with pytest.raises(ValueError, match="positive, got 0"):
        PlaybackClock(TIMELINE).set_speed(0.0, 0.0)


def test_readout_names_frame_second_and_the_future() -> None:
    assert describe_time(TIMELINE, 45 / 60) == "**frame 45/59** · 1.500 s  \nobserved"
    assert describe_time(TIMELINE, 47 / 60) == "**frame 47/59** · 1.567 s  \nfuture (predicted)"
    assert describe_timeline(TIMELINE) == "Observed to frame 45 (1.500 s); predicted to frame 59 (1.967 s)."
    assert describe_timeline(Timeline.from_times([0, 0.5, 1.0])) == "Observed to the end, frame 2 (0.667 s)."
