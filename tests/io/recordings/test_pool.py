"""Images come as they are asked for: decoded once, ahead of need, in memory that does not grow."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import weakref
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import recording_files
from recording_files import Rig, write_camera_folders, write_videos
from recording_files import make_pool as make

from dyn3d_ns.io.errors import DamagedFileError, DatasetError
from dyn3d_ns.io.recordings.pixels import PixelMap
from dyn3d_ns.io.recordings.pool import camera_of
from dyn3d_ns.io.recordings.store import FrameStore
from dyn3d_ns.io.video_stream import Pictures

RIG = Rig(frames=24)


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a recording of three videos; pools keep their stores elsewhere."""
    return write_videos(tmp_path_factory.mktemp("recording"), RIG)


@pytest.fixture
def converted(monkeypatch: pytest.MonkeyPatch) -> Counter:
    """Count the frames that are converted, by their colours."""
    counts: Counter = Counter()
    convert = Pictures.rgb

    def count(pictures, frame):
        image = convert(pictures, frame)
        red, green = image.reshape(-1, 3).mean(0)[:2]
        counts[round((red - 40) / 20), round((green - 30) / 4)] += 1
        return image

    monkeypatch.setattr(Pictures, "rgb", count)
    return counts


def test_every_frame_is_decoded_once(videos: Path, tmp_path: Path, converted: Counter) -> None:
    pool = make(videos, tmp_path)
    for moment in range(24):
        for c in range(3):
            RIG.check(pool.image(c, moment), c, moment)
    for moment in (3, 22, 10):
        RIG.check(pool.image(1, moment), 1, moment)
    pool.close()
    assert converted == Counter({(c, f): 1 for c in range(3) for f in range(24)})
    again = make(videos, tmp_path)
    for moment in range(24):
        RIG.check(again.image(2, moment), 2, moment)
    again.close()
    assert sum(converted.values()) == 72


def test_a_later_frame_stores_what_comes_by(videos: Path, tmp_path: Path, converted: Counter) -> None:
    pool = make(videos, tmp_path)
    RIG.check(pool.image(0, 15), 0, 15)
    assert set(converted) == {(0, f) for f in range(16)}
    assert pool.is_ready(0, 7) and not pool.is_ready(0, 16) and not pool.is_ready(1, 0)
    RIG.check(pool.image(0, 7), 0, 7)
    assert pool.path(0, 7).is_file() and not pool.path(1, 7).exists()
    pool.close()
    assert max(converted.values()) == 1


def test_it_is_decoded_ahead(videos: Path, tmp_path: Path) -> None:
    pool = make(videos, tmp_path)
    pool.image(0, 0)
    for thread in pool._threads:
        thread.join(timeout=60)
    assert all(pool.path(c, m).is_file() for c in range(3) for m in range(1, 7))
    assert not any(pool.path(c, 8).exists() for c in range(3)), "no further than is useful"
    pool.close()


def test_part_of_a_recording(videos: Path, tmp_path: Path, converted: Counter) -> None:
    pool = make(videos, tmp_path, start=10, stop=14)
    for moment in range(4):
        RIG.check(pool.image(1, moment), 1, 10 + moment)
    pool.close()
    assert {frame for _, frame in converted} == {10, 11, 12, 13}
    assert pool.path(1, 2).name.startswith("000012-")


def test_what_made_place_is_decoded_again(videos: Path, tmp_path: Path) -> None:
    pool = make(videos, tmp_path, gb=6e-6)
    order = [*range(24), 3, 20, 1, 23, 12]
    for moment in order:
        for c in range(3):
            RIG.check(pool.image(c, moment), c, moment)
    pool.close()
    stored = [path.stat().st_size for path in tmp_path.rglob("*.png")]
    assert stored and sum(stored) <= 6000


def test_nothing_need_be_stored(videos: Path, tmp_path: Path) -> None:
    pool = make(videos, tmp_path / "cache", gb=0)
    for moment in (0, 1, 2, 9, 4):
        RIG.check(pool.image(0, moment), 0, moment)
    pool.close()
    assert not (tmp_path / "cache").exists()


def test_a_damaged_image_of_the_store_is_decoded_again(videos: Path, tmp_path: Path) -> None:
    pool = make(videos, tmp_path)
    pool.image(0, 5)
    pool.close()
    path = pool.path(0, 3)
    path.write_bytes(path.read_bytes()[:40])
    again = make(videos, tmp_path)
    RIG.check(again.image(0, 3), 0, 3)
    again.close()


def test_a_video_that_changed_has_other_images(tmp_path: Path) -> None:
    rig = Rig(frames=4)
    root = write_videos(tmp_path / "data", rig)
    first = make(root, tmp_path / "cache")
    first.image(0, 2)
    first.close()
    rig.write_video(root / "cam00.mp4", 2)
    second = make(root, tmp_path / "cache")
    rig.check(second.image(0, 2), 2, 2)
    second.close()
    assert first.path(0, 2) != second.path(0, 2)


def test_memory_does_not_grow_with_the_recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_videos(tmp_path / "data", Rig(frames=120))
    alive: weakref.WeakSet = weakref.WeakSet()
    most = 0

    class Tracked(np.ndarray):
        """An array that can be counted."""

        __hash__ = object.__hash__

    def count(owner: type, name: str) -> None:
        make_image = getattr(owner, name)

        def counting(self, *arguments):
            image = make_image(self, *arguments)
            if image is not None:
                image = image.view(Tracked)
                alive.add(image)
            return image

        monkeypatch.setattr(owner, name, counting)

    count(PixelMap, "apply")
    count(FrameStore, "read")
    pool = make(root, tmp_path / "cache")
    for moment in range(120):
        for c in range(3):
            pool.image(c, moment)
        most = max(most, len(alive))
    pool.close()
    gc.collect()
    assert 9 <= most <= 4 * 3 + 3, "three moments, those being decoded, and the one in hand"


def test_images_that_train_as_they_are_are_not_stored(tmp_path: Path) -> None:
    rig = Rig(frames=5)
    root = write_camera_folders(tmp_path / "data", rig)
    pool = make(root, tmp_path / "cache")
    for moment in range(5):
        rig.check(pool.image(1, moment), 1, moment)
    assert pool.path(1, 3) == root / "cam02/images/0003.png"
    pool.close()
    assert not (tmp_path / "cache").exists()
    smaller = make(root, tmp_path / "cache", scale=0.5)
    assert smaller.image(2, 4).shape == (16, 24, 3)
    rig.check(smaller.image(2, 4), 2, 4)
    smaller.close()
    assert len(list((tmp_path / "cache").rglob("*.png"))) == 1


def test_a_video_shorter_than_it_says(videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = make(videos, tmp_path)
    reader = pool.recording.cameras[0].frames
    decode = type(reader).frames_from

    def short(self, start: int) -> Iterator:
        yield from list(decode(self, start))[: 20 - start]

    monkeypatch.setattr(type(reader), "frames_from", short)
    with pytest.raises(DamagedFileError, match=r"cam00\.mp4 ends after 20 frames.*24; use --frame-end 20"):
        pool.image(0, 22)
    RIG.check(pool.image(0, 19), 0, 19)
    pool.close()


def test_a_camera_out_of_step_is_said_once(
    shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    root = tmp_path / "table"
    root.mkdir()
    for path in (shared_data / "table").glob("cam*.mp4"):
        (root / path.name).symlink_to(path)
    (root / "poses_bounds.npy").symlink_to(shared_data / "table/poses_bounds.npy")
    pool = make(root, tmp_path / "cache", scale=0.25)
    for moment in range(40):
        for c in range(10):
            pool.image(c, moment)
    pool.close()
    assert "seems to be" not in capsys.readouterr().err
    shifted = make(root, tmp_path / "cache", scale=0.25, stop=35)
    late = shifted._cameras[4]
    late._start += 5
    for moment in range(35):
        for c in range(10):
            shifted.image(c, moment)
    shifted.close()
    assert capsys.readouterr().err.count("cam04 seems to be") == 1


def test_waiting_for_cameras_that_record(tmp_path: Path) -> None:
    rig = Rig(frames=3)
    root = write_camera_folders(tmp_path / "data", rig)
    pool = make(root, tmp_path / "cache", planned=6)
    assert (pool.num_moments, pool.latest()) == (6, 3)
    assert pool.wait(2, 0.0) and not pool.wait(3, 0.0)
    assert not pool.is_ready(0, 3)
    with pytest.raises(DatasetError, match="frame 3 of cam00 is not there yet.*--frame-end 3"):
        pool.image(0, 3)

    def record() -> None:
        for i, name in enumerate(rig.names):
            rig.write_image(root / name / "images/0003.png", i, 3)

    thread = threading.Timer(0.1, record)
    thread.start()
    assert pool.wait(3, timeout=60)
    thread.join()
    rig.check(pool.image(0, 3), 0, 3)
    with pytest.raises(ValueError, match="moment 6 of 6"):
        pool.wait(6, 0.0)
    pool.close()


READ_ALL = """
import sys
from pathlib import Path
from recording_files import Rig, make_pool

rig, pool = Rig(frames=24), make_pool(Path(sys.argv[1]), Path(sys.argv[2]), gb=2e-5)
for moment in range(24)[:: int(sys.argv[3])]:
    for c in range(3):
        rig.check(pool.image(c, moment), c, moment)
"""


def test_two_processes_on_one_store(videos: Path, tmp_path: Path) -> None:
    """Both are right although each removes what the other wrote; they end although threads decode ahead."""
    command = [sys.executable, "-c", READ_ALL, str(videos), str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(Path(recording_files.__file__).parent)}
    both = [
        subprocess.Popen([*command, step], env=environment, stderr=subprocess.PIPE, text=True)
        for step in ("1", "-1")
    ]
    errors = [process.communicate(timeout=120)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0] and errors == ["", ""], errors


def test_cameras_by_name_and_number() -> None:
    names = ["cam00", "cam02", "7"]
    assert [camera_of(names, asked) for asked in (None, "cam02", "1", "7", "2")] == [0, 1, 1, 2, 2]
    with pytest.raises(DatasetError, match="no camera is named 3, or has that number; there are cam00"):
        camera_of(names, "3")
