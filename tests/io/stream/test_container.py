"""Readers see whole frames only, writers leave no gap, and damage is told by file and frame."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from dyn3d_ns.io.errors import DamagedFileError, MissingFileError, UserError
from dyn3d_ns.io.stream import writer as writer_module
from dyn3d_ns.io.stream.codec import encode_planes
from dyn3d_ns.io.stream.header import StreamHeader, find_stream
from dyn3d_ns.io.stream.parts import Part, pack_part, unpack_part
from dyn3d_ns.io.stream.reader import StreamReader
from dyn3d_ns.io.stream.writer import StreamWriter

HEADER = StreamHeader("gaussians", 30.0, tuple(k / 9 for k in range(10)), {"bits": 16, "basis": "sh1"})


def planes(frame: int) -> dict[str, np.ndarray]:
    return {"x": np.arange(50, dtype=np.int32) * frame}


def write(folder: Path, frames: int = 8, every: int = 3) -> StreamWriter:
    writer = StreamWriter.create(folder, HEADER)
    writer.write_init(planes(1))
    for frame in range(1, frames):
        writer.write_frame(frame, planes(frame), planes(-frame) if frame % every == 0 else None)
    return writer


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("written") / "stream"
    write(folder)
    return folder


@pytest.fixture
def stream(written: Path, tmp_path: Path) -> Path:
    """A stream of a test's own."""
    return shutil.copytree(written, tmp_path / "stream")


def test_what_was_written_is_read(stream: Path) -> None:
    reader = StreamReader(stream)
    assert reader.header == HEADER and reader.num_frames() == 8 and reader.keyframes() == [3, 6]
    assert np.array_equal(reader.init()["x"], planes(1)["x"])
    assert np.array_equal(reader.delta(5)["x"], planes(5)["x"])
    assert np.array_equal(reader.key(6)["x"], planes(-6)["x"])


def test_sizes_are_those_of_the_files(stream: Path) -> None:
    sizes = StreamReader(stream).sizes()
    assert sizes.init == (stream / "000000.init").stat().st_size
    assert sizes.deltas[4] == (stream / "000005.delta").stat().st_size and len(sizes.deltas) == 7
    assert sizes.keys == {k: (stream / f"00000{k}.key").stat().st_size for k in (3, 6)}
    parts = sum(path.stat().st_size for path in stream.iterdir() if path.suffix != ".json")
    assert sizes.total == parts and sizes.per_frame == parts / 8
    assert sizes.per_later_frame == (parts - sizes.init) / 7


def test_the_same_frames_give_the_same_bytes(stream: Path, tmp_path: Path) -> None:
    write(tmp_path / "again")
    assert content(stream) == content(tmp_path / "again")


def test_a_frame_is_whole_once_its_delta_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = write(tmp_path / "s", frames=3)
    reader = StreamReader(tmp_path / "s")
    seen = []
    really = writer_module.write_bytes

    def watched(path: Path, data: bytes) -> None:
        really(path, data)
        seen.append((path.name, reader.num_frames(), reader.keyframes()))

    monkeypatch.setattr(writer_module, "write_bytes", watched)
    writer.write_frame(3, planes(3), planes(-3))
    assert seen == [("000003.key", 3, []), ("000003.delta", 4, [3])]


def test_gaps_and_frames_that_were_not_planned_are_refused(tmp_path: Path) -> None:
    writer = StreamWriter.create(tmp_path / "s", HEADER)
    with pytest.raises(UserError, match="frame 0 of 10 is next, not 1"):
        writer.write_frame(1, planes(1))
    writer.write_init(planes(1))
    for frame in (0, 2):
        with pytest.raises(UserError, match=f"frame 1 of 10 is next, not {frame}"):
            writer.write_frame(frame, planes(1))
    with pytest.raises(UserError, match="frame 1 of 10 is next, not 0"):
        writer.write_init(planes(1))
    for frame in range(1, 10):
        writer.write_frame(frame, planes(frame))
    with pytest.raises(UserError, match="frame 10 of 10 is next, not 10"):
        writer.write_frame(10, planes(10))


def test_a_recording_may_turn_out_longer(tmp_path: Path) -> None:
    writer = write(tmp_path / "s", frames=10)
    reader = StreamReader(tmp_path / "s")
    with pytest.raises(UserError, match="10 frames already"):
        writer.plan((0.0, 1.0))
    writer.plan(tuple(range(12)))
    writer.write_frame(10, planes(10))
    assert reader.header.planned_frames == 12 and reader.num_frames() == 11


def test_a_second_stream_in_a_folder_is_refused(stream: Path) -> None:
    with pytest.raises(UserError, match="holds a stream already"):
        StreamWriter.create(stream, HEADER)


def test_after_reopening_the_stream_is_that_of_an_unbroken_run(stream: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(stream, broken)
    # Killed while frame 8 was written: a key without its delta, and a temporary file.
    (broken / "000008.key").write_bytes(b"key")
    (broken / ".000008.delta.abc123.tmp").write_bytes(b"half")
    writer = StreamWriter.reopen(broken, 4)
    assert StreamReader(broken).num_frames() == 5 and sorted(content(broken))[0] == "000000.init"
    for frame in range(5, 8):
        writer.write_frame(frame, planes(frame), planes(-frame) if frame % 3 == 0 else None)
    assert content(broken) == content(stream)


def test_reopening_from_the_very_start_keeps_the_header_only(stream: Path) -> None:
    assert StreamWriter.reopen(stream, -1).next_frame == 0
    assert list(content(stream)) == ["stream.json"]


@pytest.mark.parametrize("frame", [8, -2])
def test_reopening_after_what_is_not_there_is_refused_and_removes_nothing(stream: Path, frame: int) -> None:
    before = content(stream)
    with pytest.raises(UserError, match="it has 8 whole frames"):
        StreamWriter.reopen(stream, frame)
    assert content(stream) == before


def test_readers_see_no_gap_while_a_stream_is_cut_back(stream: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader, seen = StreamReader(stream), []
    really = Path.unlink

    def watched(self: Path, missing_ok: bool = False) -> None:
        really(self, missing_ok)
        seen.append((reader.num_frames(), reader.keyframes()))

    monkeypatch.setattr(Path, "unlink", watched)
    StreamWriter.reopen(stream, 4)
    assert [count for count, _ in seen] == [7, 6, 6, 5]
    assert all(reader_keys[-1] < count for count, reader_keys in seen)


@pytest.mark.parametrize(("call", "name"), [(1, "000003.key"), (3, "000003.delta")])
def test_on_a_full_disk_earlier_frames_stay_and_the_frame_can_be_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: int, name: str
) -> None:
    whole = tmp_path / "whole"
    write(whole, frames=4)
    folder = tmp_path / "s"
    writer = write(folder, frames=3)
    really, calls = os.fsync, []

    def full(handle: int) -> None:
        # Each part is flushed, then its folder.
        calls.append(handle)
        if len(calls) == call:
            raise OSError(errno.ENOSPC, "No space left on device")
        really(handle)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        message = rf"cannot write frame 3 to .*{name}: No space left.*frames 0 to 2 are whole"
        with pytest.raises(UserError, match=message):
            writer.write_frame(3, planes(3), planes(-3))
    assert StreamReader(folder).num_frames() == 3 and not list(folder.glob(".*"))
    writer.write_frame(3, planes(3), planes(-3))
    assert content(folder) == content(whole)


DAMAGE = {
    "cut short": (lambda data: data[:-3], "should hold"),
    "changed": (lambda data: data[:-9] + bytes([data[-9] ^ 4]) + data[-8:], "checksum"),
    "empty": (lambda data: b"", "no part of a stream, or cut short"),
    "foreign": (lambda data: b"PK\x03\x04" + data, "no part of a stream"),
    "newer": (lambda data: data[:4] + b"\x02" + data[5:], "version 2.*update"),
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize(
    ("name", "plays"),
    [
        ("000000.init", "nothing of the stream"),
        ("000005.delta", "plays up to frame 4"),
        ("000006.key", "can still be reached"),
    ],
)
def test_damage_is_told_by_file_and_frame(stream: Path, damage: str, name: str, plays: str) -> None:
    change, why = DAMAGE[damage]
    (stream / name).write_bytes(change((stream / name).read_bytes()))
    reader = StreamReader(stream)
    frame = int(name[:6])
    read = {"init": reader.init, "delta": lambda: reader.delta(frame), "key": lambda: reader.key(frame)}
    with pytest.raises(DamagedFileError, match=rf"{name}: frame {frame} is damaged: .*{why}.*{plays}"):
        read[name[7:]]()
    assert np.array_equal(reader.delta(4)["x"], planes(4)["x"])


def test_every_changed_byte_of_a_part_is_noticed() -> None:
    whole = pack_part(Part.DELTA, 7, b"payload")
    assert unpack_part(Part.DELTA, 7, whole) == b"payload"
    for place in range(len(whole)):
        for bit in range(8):
            changed = bytearray(whole)
            changed[place] ^= 1 << bit
            with pytest.raises(DamagedFileError):
                unpack_part(Part.DELTA, 7, bytes(changed))


def test_a_part_under_another_name_is_refused(stream: Path) -> None:
    shutil.copy(stream / "000004.delta", stream / "000005.delta")
    shutil.copy(stream / "000006.delta", stream / "000006.key")
    with pytest.raises(DamagedFileError, match="D of frame 4"):
        StreamReader(stream).delta(5)
    with pytest.raises(DamagedFileError, match="D of frame 6"):
        StreamReader(stream).key(6)


def test_a_missing_frame_ends_the_stream(stream: Path) -> None:
    (stream / "000005.delta").unlink()
    reader = StreamReader(stream)
    assert reader.num_frames() == 5 and reader.keyframes() == [3] and len(reader.sizes().deltas) == 4
    with pytest.raises(MissingFileError, match="000005.delta is not there: the stream has 5 of 10 frames"):
        reader.delta(5)


def test_other_files_and_names_count_for_nothing(stream: Path) -> None:
    for name in ("000008.delta.tmp", "8.delta", "0000008.delta", "notes.txt", ".000008.delta.x.tmp"):
        (stream / name).write_bytes(b"")
    assert StreamReader(stream).num_frames() == 8


def test_planes_above_the_limit_are_refused(stream: Path) -> None:
    with pytest.raises(DamagedFileError, match="frame 2 is damaged: plane 'x' has shape"):
        StreamReader(stream, max_elements=49).delta(2)


def test_a_file_too_large_for_any_part_is_not_read(stream: Path) -> None:
    with open(stream / "000002.delta", "r+b") as file:
        file.truncate(1 << 40)
    with pytest.raises(DamagedFileError, match=r"000002\.delta: frame 2 is damaged: no part is that large"):
        StreamReader(stream).delta(2)


def test_a_rewritten_frame_has_another_stamp(stream: Path) -> None:
    reader = StreamReader(stream)
    before = [reader.stamp(frame) for frame in (4, 5)]
    StreamWriter.reopen(stream, 4).write_frame(5, planes(99))
    assert reader.stamp(4) == before[0] and reader.stamp(5) != before[1]
    with pytest.raises(MissingFileError, match="000006.delta is not there"):
        reader.stamp(6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "mp4"}, "no stream's header"),
        ({"version": 2}, "version 2.*update"),
        ({"kind": "../x"}, "damaged .*kind"),
        ({"kind": None}, "damaged .*kind"),
        ({"fps": float("nan")}, "damaged .*fps"),
        ({"fps": "fast"}, "damaged"),
        ({"frame_times": [0, 0]}, "damaged .*rising"),
        ({"frame_times": []}, "damaged .*rising"),
        ({"frame_times": 3}, "damaged"),
        ({"decoder": {"x": [1]}}, "damaged .*whole numbers and text"),
        ({"decoder": None}, "damaged .*whole numbers and text"),
    ],
    ids=str,
)
def test_a_bad_header_is_named(stream: Path, change: dict[str, object], message: str) -> None:
    found = json.loads((stream / "stream.json").read_text())
    (stream / "stream.json").write_text(json.dumps(found | change))
    with pytest.raises(DamagedFileError, match=f"stream.json: .*{message}"):
        StreamReader(stream)


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000, "\udcff"])
def test_a_header_that_is_no_json_object_is_named(stream: Path, text: str) -> None:
    (stream / "stream.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(DamagedFileError, match=r"stream\.json"):
        StreamReader(stream)


def test_a_stream_is_found_by_its_folder_its_run_and_its_config(stream: Path, tmp_path: Path) -> None:
    for path in (stream, tmp_path, tmp_path / "config.yml"):
        assert find_stream(path) == stream
    with pytest.raises(
        MissingFileError, match="no stream at .*nowhere: give the folder that holds stream.json"
    ):
        find_stream(tmp_path / "nowhere")
    with pytest.raises(MissingFileError, match="is no stream: it holds no stream.json"):
        StreamReader(tmp_path)


def test_planes_that_cannot_be_stored_leave_the_frame_to_be_written(tmp_path: Path) -> None:
    writer = write(tmp_path / "s", frames=2)
    with pytest.raises(ValueError, match="float64"):
        writer.write_frame(2, {"x": np.zeros(3)})
    assert writer.next_frame == 2 and encode_planes(planes(2))
    writer.write_frame(2, planes(2))
    assert StreamReader(tmp_path / "s").num_frames() == 3
