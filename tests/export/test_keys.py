"""Frames that are left out lie within the bound of the straight way between those that are kept."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation, Slerp

from dyn3d_ns.export.keys import COLOR_ERROR, Keys, color_bound, extent_of, turn_vectors


def kept_frames(frames: np.ndarray, bound: float | np.ndarray, offsets=None, times=None) -> list[int]:
    keys = Keys(frames[0], bound, offsets, times)
    found = [keys.key_before(i, frame) for i, frame in enumerate(frames[1:], 1)]
    return [0, *(key for key in found if key is not None), len(frames) - 1]


@pytest.mark.parametrize("seed", range(5))
def test_straight_ways_miss_no_frame_by_more_than_the_bound(seed: int) -> None:
    random = np.random.default_rng(seed)
    frames = np.cumsum(random.normal(0, 0.05, (40, 9, 3)), axis=0).astype(np.float32)
    bound = random.uniform(0.1, 0.4, 9).astype(np.float32)
    kept = kept_frames(frames, bound)
    between = np.stack(
        [
            np.stack([np.interp(range(40), kept, frames[kept, i, axis]) for axis in range(3)], axis=1)
            for i in range(9)
        ],
        axis=1,
    )
    missed = np.linalg.norm(between - frames, axis=2).max(0)
    assert (missed <= bound * (1 + 1e-5)).all()
    assert len(kept) < 40, "some frames can be left out"


def test_a_straight_line_needs_its_ends_alone() -> None:
    times = np.arange(10, dtype=np.float32)
    line = times[:, None, None] * np.float32([[1, 2, 3], [-1, 0, 0]])
    assert kept_frames(line, 1e-3) == [0, 9]
    bent = np.concatenate([line[:5], line[4] - line[:5]])
    assert 4 in kept_frames(bent, 1e-3)


def test_uneven_times_are_gone_through_evenly() -> None:
    """Even in time is one way, even from frame to frame is not, where frames are not even in time."""
    times = [0.0, 0.1, 0.9, 1.0, 2.0]
    steady = np.float32(times)[:, None, None] * np.float32([[1, 2, 3]])
    assert kept_frames(steady, 1e-3, times=times) == [0, 4]
    by_frame = np.arange(5, dtype=np.float32)[:, None, None] * np.float32([[1, 2, 3]])
    assert kept_frames(by_frame, 1e-3, times=times) == [0, 1, 2, 3, 4]


def test_turns_are_followed_as_readers_interpolate_them() -> None:
    """An even turn of 150 degrees is one way; an uneven one is not."""
    for power, several in ((1, False), (3, True)):
        angle = np.radians(150) * np.linspace(0, 1, 30) ** power
        turns = Rotation.from_rotvec(angle[:, None] * np.array([0.6, 0, 0.8]))
        quats = np.float32(turns.as_quat()[:, None, [3, 0, 1, 2]])
        kept = kept_frames(quats, 0.05, turn_vectors)
        assert (len(kept) > 2) == several
        slerp = Slerp(kept, turns[kept])(range(30))
        assert (slerp.inv() * turns).magnitude().max() <= 0.05 + 1e-4


def test_the_sign_of_a_quaternion_means_nothing() -> None:
    quats = np.float32([[0.6, 0.8, 0, 0], [1, 0, 0, 0]])
    turned = np.float32([[0.8, 0.6, 0, 0], [np.cos(0.1), 0, np.sin(0.1), 0]])
    np.testing.assert_allclose(turn_vectors(quats, turned), turn_vectors(quats, -turned), atol=1e-6)
    np.testing.assert_allclose(turn_vectors(quats, turned)[1], [0, 0.2, 0], atol=1e-6)


def test_colours_count_as_the_mean_over_directions_times_opacity() -> None:
    """Of the constant function the coefficient of half an error is the error of a half opacity."""
    off = color_bound(np.float32([1.0, 0.5])) * 0.28209479177387814
    np.testing.assert_allclose(off, [COLOR_ERROR, 2 * COLOR_ERROR], rtol=1e-6)


def test_outliers_do_not_make_the_extent() -> None:
    places = np.random.default_rng(0).uniform(-1, 1, (2000, 3))
    usual = extent_of(places)
    places[0] = 1e4
    assert extent_of(places) == pytest.approx(usual, rel=0.02)
