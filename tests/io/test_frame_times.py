"""Times of transforms files, whatever key states them."""

import numpy as np
import pytest

from dyn3d_ns.io.errors import TimeRangeError
from dyn3d_ns.io.frame_times import no_times, stated_times, times_by_order


def rows(**columns):
    """Return frames whose keys hold the given columns."""
    return [
        (f"frame {i}", dict(zip(columns, values, strict=True)))
        for i, values in enumerate(zip(*columns.values(), strict=True))
    ]


EVEN = np.linspace(0, 1, 5)


@pytest.mark.parametrize(
    ("key", "values", "seconds"),
    [
        ("timestamp", 1000 + np.arange(5) / 30, 4 / 30),
        ("timestamp", 1_700_000_000_000 + 20 * np.arange(5), 0.08),  # milliseconds, by their spacing
        ("timestamp_ns", 5e9 + 1e8 * np.arange(5), 0.4),
        ("timeStamp", [str(3 + i / 2) for i in range(5)], 2.0),
        ("time", 0.5 * np.arange(5), 2.0),
        ("time", np.arange(5), None),
        ("time_id", 10 + 2 * np.arange(5), None),
        ("timestep_index", np.arange(5), None),
        ("fid", np.arange(5), None),
    ],
)
def test_any_key_is_brought_to_the_whole_recording(key, values, seconds):
    found = stated_times(rows(**{key: values.tolist() if isinstance(values, np.ndarray) else values}))
    np.testing.assert_allclose(found.times, EVEN, atol=1e-6)
    assert found.seconds == (None if seconds is None else pytest.approx(seconds))
    assert f"`{key}`" in found.notes[0]


def test_times_within_0_and_1_stay_and_need_no_word():
    found = stated_times(rows(time=[0.0, 0.25, 0.5], timestamp=[7.0, 8.0, 9.0]))
    assert found.times.tolist() == [0.0, 0.25, 0.5]
    assert found.seconds is None and not found.notes


def test_contradicting_keys_say_which_was_taken():
    (note,) = stated_times(rows(time=[0.0, 0.5, 1.0], timestamp=[9.0, 8.0, 7.0])).notes
    assert "`timestamp` differ from those by `time`, which are taken" in note
    constant = stated_times(rows(time=[0.0, 0.0, 0.0], timestamp=[7.0, 8.0, 9.0]))
    np.testing.assert_allclose(constant.times, [0, 0.5, 1])
    assert "`time` differ from those by `timestamp`" in constant.notes[1]


def test_a_single_time_far_from_the_others_is_a_slip():
    with pytest.raises(TimeRangeError, match=r"frame 3: `time` must lie in \[0, 1\], got 12.0"):
        stated_times(rows(time=[0.0, 0.1, 0.2, 12.0, 0.3]))


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        ([("a", {"timestamp": 1.0}), ("b", {})], "b: 1 of 2 frames have no `timestamp`"),
        ([("a", {"time": 0.0}), ("b", {"timestamp": 1.0})], "b: 1 of 2 frames have no `time`"),
        ([("a", {"timestamp": "2026-01-01"}), ("b", {"timestamp": 1.0})], "a: `timestamp` must be a finite"),
    ],
)
def test_half_a_column_is_refused(frames, message):
    with pytest.raises(TimeRangeError, match=message):
        stated_times(frames)


def test_a_number_that_counts_images_of_several_cameras_is_no_time():
    frames = rows(frame_id=list(range(6)))
    still = ["pose 0"] * 3 + ["pose 1"] * 3
    assert stated_times(frames, still) is None
    assert "`frame_id` counts images" in no_times(frames).notes[0]
    assert stated_times(frames, ["pose 0"] * 6) is not None  # a single camera that rests
    assert stated_times(frames, [f"pose {i}" for i in range(6)]) is not None  # cameras that move
    together = rows(frame_id=[0, 1, 2, 0, 1, 2])
    assert stated_times(together, still).times.tolist() == [0, 0.5, 1, 0, 0.5, 1]


def test_frame_i_of_each_camera_is_one_moment():
    found = times_by_order([["a", "b", "c"], ["a", "b"]])
    assert found.times.tolist() == [0, 0.5, 1, 0, 0.5]
    assert "2 to 3" in found.notes[0]
    assert not times_by_order([["1", "2"], ["3", "4"]]).notes


def test_cameras_that_lost_different_frames_go_by_their_numbers():
    found = times_by_order([["c0/000", "c0/001", "c0/003"], ["c1/000", "c1/002", "c1/003"]])
    np.testing.assert_allclose(found.times, np.array([0, 1, 3, 0, 2, 3]) / 3)
    assert "frames of one number" in found.notes[0]
