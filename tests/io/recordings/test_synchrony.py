"""A camera that runs ahead or behind is told; cameras that do not are left in peace."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dyn3d_ns.io.recordings.readers import VideoFrames
from dyn3d_ns.io.recordings.synchrony import SynchronyCheck, find_shifts


@pytest.fixture(scope="module")
def table(shared_data: Path) -> list[list[np.ndarray]]:
    """Return the frames of all cameras of the table."""
    videos = [VideoFrames(shared_data / f"table/cam{c:02d}.mp4") for c in range(10)]
    return [[decode() for decode in video.frames_from(0)] for video in videos]


def warnings(cameras: list[list[np.ndarray]]) -> list[str]:
    names = [f"cam{c:02d}" for c in range(len(cameras))]
    count = min(len(frames) for frames in cameras)
    check = SynchronyCheck(names, count)
    return [w for i in range(count) for c, frames in enumerate(cameras) for w in check.add(c, i, frames[i])]


def test_the_table_is_synchronous(table: list[list[np.ndarray]]) -> None:
    assert warnings(table) == []
    assert warnings([frames[2:] for frames in table]) == []


@pytest.mark.parametrize("camera", [0, 1, 4, 9])
def test_a_camera_five_frames_ahead(table: list[list[np.ndarray]], camera: int) -> None:
    shifted = [frames[5:] if c == camera else frames[:-5] for c, frames in enumerate(table)]
    (found,) = warnings(shifted)
    assert found.startswith(f"cam{camera:02d} seems to be ") and "ahead of the other cameras" in found
    assert f"--drop-cameras cam{camera:02d}" in found


@pytest.mark.parametrize("camera", [0, 1, 4, 9])
def test_a_camera_five_frames_behind(table: list[list[np.ndarray]], camera: int) -> None:
    shifted = [frames[:-5] if c == camera else frames[5:] for c, frames in enumerate(table)]
    (found,) = warnings(shifted)
    assert found.startswith(f"cam{camera:02d} seems to be ") and "behind the other cameras" in found


def test_the_lag_is_found() -> None:
    rng = np.random.default_rng(0)
    shared = np.convolve(rng.random(100), np.ones(5), "same")
    energies = np.stack([(1 + c) * shared[20:79] + 0.05 * rng.random(59) for c in range(5)])
    assert find_shifts(energies) == []
    energies[3] = 2 * shared[13:72]
    (shift,) = find_shifts(energies)
    assert (shift.camera, shift.lag) == (3, 7) and shift.correlation > 0.9 > shift.unshifted


def test_too_few_frames_or_cameras_say_nothing() -> None:
    rng = np.random.default_rng(0)
    noise = [[rng.integers(0, 255, (8, 8, 3), dtype=np.uint8) for _ in range(70)] for _ in range(3)]
    assert warnings(noise[:2]) == [] and warnings([frames[:30] for frames in noise]) == []
    assert warnings(noise) == []
