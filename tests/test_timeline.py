"""The time convention against hand-counted cases."""

import numpy as np
import pytest

from dyn3d_ns.timeline import Timeline

SIXTY = [i / 60 for i in range(60)]


def test_sixty_frames_split_46_to_14():
    timeline = Timeline.from_times(SIXTY * 3, t_obs=0.75)
    assert timeline.num_frames == 60
    assert (len(timeline.observed_times), len(timeline.future_times)) == (46, 14)
    assert timeline.dt == pytest.approx(1 / 60)
    assert timeline.fps == 60
    assert timeline.seconds(0.5) == pytest.approx(0.5)
    assert timeline.has_future


def test_split_of_uses_pose_and_time():
    timeline = Timeline.from_times(SIXTY, t_obs=0.75)
    times = [0.0, 0.75, 0.75, 0.75 + 1 / 60, 0.75 + 1 / 60, 0.75 + 1e-8]
    splits = timeline.split_of(times, [True, True, False, True, False, True])
    assert splits == ["train", "train", "interp", "future", "future", "train"]
    with pytest.raises(ValueError, match="1 times but 2"):
        timeline.split_of([0.1], [True, False])


def test_d_nerf_times_span_the_closed_interval():
    timeline = Timeline.from_times([i / 49 for i in range(50)])
    assert timeline.t_obs == 1.0
    assert not timeline.has_future
    # 50 frames at 50 per second: the last one starts after 49/50 of a second.
    assert timeline.seconds(1.0) == pytest.approx(49 / 50)


def test_real_frame_rate_stretches_seconds():
    timeline = Timeline.from_times([i / 40 for i in range(40)], fps=10)
    assert timeline.duration == pytest.approx(4.0)


def test_frame_index_is_the_nearest_frame():
    times = np.array([0.0, 0.1, 0.4, 0.9])
    timeline = Timeline.from_times(times)
    for t in np.linspace(-0.2, 1.2, 141):
        assert abs(times[timeline.frame_index(t)] - t) == pytest.approx(np.abs(times - t).min())
    assert Timeline.from_times([0.3]).frame_index(0.9) == 0


def test_nearly_equal_times_are_one_frame():
    assert Timeline.from_times([0.5, 0.5 + 3e-7, 0.0, np.float32(1 / 3), 1 / 3]).num_frames == 3


def test_single_frame_has_a_spacing():
    timeline = Timeline.from_times([0.0])
    assert (timeline.dt, timeline.fps, timeline.has_future) == (1.0, 1.0, False)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"frame_times": (), "t_obs": 0.0, "fps": 1.0}, "at least one"),
        ({"frame_times": (0.0, 1.5), "t_obs": 0.0, "fps": 1.0}, "in \\[0, 1\\]"),
        ({"frame_times": (0.0, float("nan")), "t_obs": 0.0, "fps": 1.0}, "in \\[0, 1\\]"),
        ({"frame_times": (0.5, 0.5), "t_obs": 0.0, "fps": 1.0}, "sorted"),
        ({"frame_times": (0.0,), "t_obs": float("nan"), "fps": 1.0}, "t_obs"),
        ({"frame_times": (0.0,), "t_obs": 0.0, "fps": 0.0}, "fps"),
    ],
)
def test_impossible_timelines_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        Timeline(**values)
