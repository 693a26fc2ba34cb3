"""The store gives back what it was given, within its bound, and is never wrong for being damaged."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from dyn3d_ns.io.recordings.store import FrameStore, store_folder

LIMIT = 1e9


def image(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (20, 30, 3), dtype=np.uint8)


def used(store: FrameStore, path: Path, seconds: float) -> None:
    """Say that an image was last used so many seconds ago."""
    at = os.stat(path).st_mtime - seconds
    os.utime(path, (at, at))


def test_what_is_written_is_read(tmp_path: Path) -> None:
    store = FrameStore(tmp_path / "cache", "key", LIMIT)
    path = store.path("cam00", 7, "abc")
    assert store.read(path) is None and not store.has(path)
    store.write(path, image(0))
    found = store.read(path)
    assert found is not None and store.has(path)
    np.testing.assert_array_equal(found, image(0))
    assert path == tmp_path / "cache/key/cam00/000007-abc.png"
    assert (
        (tmp_path / "cache/CACHEDIR.TAG")
        .read_text()
        .startswith("Signature: 8a477f597d28d172789f06886806bc55")
    )


@pytest.mark.parametrize("keep", [0, 30, 300, -1])
def test_a_damaged_image_is_none(tmp_path: Path, keep: int) -> None:
    store = FrameStore(tmp_path, "key", LIMIT)
    path = store.path("cam00", 0, "abc")
    store.write(path, image(0))
    path.write_bytes(path.read_bytes()[:keep])
    assert store.read(path) is None


def test_zeros_in_an_image_are_told(tmp_path: Path) -> None:
    """As a power cut leaves them: the length is right."""
    store = FrameStore(tmp_path, "key", LIMIT)
    path = store.path("cam00", 0, "abc")
    store.write(path, image(0))
    content = bytearray(path.read_bytes())
    content[60:900] = bytes(840)
    path.write_bytes(content)
    found = store.read(path)
    assert found is None or not np.array_equal(found, image(0))


def test_the_moments_longest_unused_make_place(tmp_path: Path) -> None:
    one = FrameStore(tmp_path / "one", "key", LIMIT)
    one.write(one.path("cam0", 0, "abc"), image(0))
    size = one.path("cam0", 0, "abc").stat().st_size
    store = FrameStore(tmp_path / "cache", "key", 12.5 * size)
    paths = {}
    for frame in range(6):
        for c in range(2):
            paths[c, frame] = store.path(f"cam{c}", frame, "abc")
            store.write(paths[c, frame], image(10 * c + frame))
    assert not store.evicted
    for (_, frame), path in paths.items():
        used(store, path, 1000 - 10 * frame)
    assert store.read(paths[0, 0]) is not None  # so the other camera's, of the same moment, stays as well
    store.write(store.path("cam0", 6, "abc"), image(6))
    assert store.evicted
    there = {frame for (_, frame), path in paths.items() if path.is_file()}
    assert 0 in there and 1 not in there and 5 in there
    assert all(paths[0, frame].is_file() == paths[1, frame].is_file() for frame in range(6))
    assert sum(path.stat().st_size for path in (tmp_path / "cache").rglob("*.png")) <= 12.5 * size


def test_older_options_and_other_processes_count(tmp_path: Path) -> None:
    old = FrameStore(tmp_path, "old", LIMIT)
    for frame in range(5):
        old.write(old.path("cam0", frame, "abc"), image(frame))
        used(old, old.path("cam0", frame, "abc"), 100)
    new = FrameStore(tmp_path, "new", 4.5 * image(0).nbytes)
    new.write(new.path("cam0", 0, "abc"), image(9))
    assert new.has(new.path("cam0", 0, "abc"))
    assert sum(old.has(old.path("cam0", frame, "abc")) for frame in range(5)) <= 4


def test_half_written_files_of_killed_processes_go(tmp_path: Path) -> None:
    store = FrameStore(tmp_path, "key", LIMIT)
    left = tmp_path / "key/cam0/.000000-abc.png.xyz.tmp"
    left.parent.mkdir(parents=True)
    for age in (10, 7200):
        left.write_bytes(b"half")
        used(store, left, age)
        FrameStore(tmp_path, "key", LIMIT).write(store.path("cam0", 1, "abc"), image(0))
        assert left.exists() == (age == 10)


def test_a_folder_that_takes_nothing_is_said_once(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    store = FrameStore(tmp_path / "file/cache", "key", LIMIT)
    for frame in range(3):
        store.write(store.path("cam0", frame, "abc"), image(0))
    assert capsys.readouterr().err.count("takes no more images") == 1


def test_where_it_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert store_folder(tmp_path) == tmp_path / ".dyn3d_cache"
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    found = store_folder(tmp_path)
    assert found.parent == tmp_path / "user/dyn3d_ns/recordings" and found.name.startswith(tmp_path.name)
    assert found != store_folder(tmp_path.parent)
