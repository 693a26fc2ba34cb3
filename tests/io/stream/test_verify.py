"""A stream is whole if it plays; one wrong part is one error that names its file."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from gaussian_stream import BallStream
from toy_stream import ToyDecoder, write_toy

from dyn3d_ns.fields.voxel_stream import VoxelDecoder, VoxelLattice, VoxelState
from dyn3d_ns.io.stream.codec import encode_planes
from dyn3d_ns.io.stream.header import StreamHeader
from dyn3d_ns.io.stream.parts import Part, pack_part
from dyn3d_ns.io.stream.reader import StreamReader
from dyn3d_ns.io.stream.verify import verify_stream
from dyn3d_ns.io.stream.writer import StreamWriter


@pytest.fixture
def stream(tmp_path: Path) -> Path:
    """23 frames with keys at 5, 10, 15 and 20."""
    write_toy(tmp_path / "s")
    return tmp_path / "s"


def found(folder: Path) -> list[tuple[int, str]]:
    """Return frames and what is wrong with them."""
    checked = list(verify_stream(StreamReader(folder), ToyDecoder()))
    assert [frame for frame, _ in checked] == list(range(max(StreamReader(folder).num_frames(), 1)))
    return [(frame, problem) for frame, problems in checked for problem in problems]


def put(folder: Path, part: Part, frame: int, planes: dict[str, np.ndarray]) -> None:
    """Put other planes into a part, with the right checksums."""
    (folder / part.name_of(frame)).write_bytes(pack_part(part, frame, encode_planes(planes)))


def test_a_whole_stream_has_no_problem(stream: Path) -> None:
    assert found(stream) == []


def test_a_delta_of_another_stream_that_does_not_fit(stream: Path) -> None:
    put(stream, Part.DELTA, 7, {"movers": np.zeros(7, bool)})
    ((frame, problem),) = found(stream)
    assert frame == 7
    assert problem == f"{stream}/000007.delta: frame 7 cannot be decoded: a mask of 7 for 46 rows"


def test_a_delta_of_another_stream_that_fits_shows_at_the_next_key(stream: Path, tmp_path: Path) -> None:
    write_toy(tmp_path / "other", seed=1)
    shutil.copy(tmp_path / "other/000007.delta", stream)
    ((frame, problem),) = found(stream)
    assert frame == 10 and problem.startswith(f"{stream}/000010.key: frame 10 is another one when played")
    assert "a delta from 000006.delta on" in problem


@pytest.mark.parametrize("frame", [10, 20])
def test_a_key_of_another_stream(stream: Path, tmp_path: Path, frame: int) -> None:
    write_toy(tmp_path / "other", seed=1)
    shutil.copy(tmp_path / f"other/{frame:06d}.key", stream)
    ((where, problem),) = found(stream)
    assert where == frame and f"{frame:06d}.key: frame {frame} is another one" in problem


def test_a_key_with_a_row_too_many_hides_no_later_fault(stream: Path) -> None:
    """The frames after it play from the deltas, not from the key."""
    rows = StreamReader(stream).key(10)["rows"]
    put(stream, Part.KEY, 10, {"rows": np.concatenate([rows, rows[:1]])})
    put(stream, Part.DELTA, 12, {"movers": np.zeros(3, bool)})
    assert [frame for frame, _ in found(stream)] == [10, 12]


def test_frame_0_of_another_stream_shows_where_it_first_contradicts(stream: Path, tmp_path: Path) -> None:
    init = StreamReader(stream).init()["rows"]
    put(stream, Part.INIT, 0, {"rows": init[:-1]})
    problems = found(stream)
    assert problems[0] == (
        1, f"{stream}/000001.delta: frame 1 cannot be decoded: a mask of 40 for 39 rows"
    )  # fmt: skip


def test_what_follows_damage_is_checked_again_from_the_next_key_on(stream: Path) -> None:
    (stream / "000006.delta").write_bytes(b"")
    put(stream, Part.DELTA, 8, {"movers": np.zeros(7, bool)})  # cannot be told: nothing plays there
    put(stream, Part.DELTA, 12, {"movers": np.zeros(7, bool)})
    assert [frame for frame, _ in found(stream)] == [6, 12]


def test_a_stream_without_frame_0_is_read_all_the_same(stream: Path) -> None:
    (stream / "000000.init").write_bytes(b"")
    (stream / "000015.key").write_bytes(b"")
    assert [frame for frame, _ in found(stream)] == [0, 15]
    (stream / "000000.init").unlink()
    ((frame, problem),) = found(stream)
    assert frame == 0 and "000000.init is not there" in problem


def test_keys_of_gaussians_are_what_plays(tmp_path: Path) -> None:
    ball = BallStream(tmp_path / "s").grow(12)
    assert StreamReader(ball.folder).keyframes() == [5, 10]
    assert not any(problems for _, problems in verify_stream(StreamReader(ball.folder), ball.decoder))
    key = StreamReader(ball.folder).key(10)
    put(ball.folder, Part.KEY, 10, key | {"turn": key["turn"] + 1})
    wrong = [frame for frame, problems in verify_stream(StreamReader(ball.folder), ball.decoder) if problems]
    assert wrong == [10], "also what is not seen yet, the motion to come, is compared"


def test_keys_of_voxels_are_what_plays(tmp_path: Path) -> None:
    lattice = VoxelLattice((3, 4, 5), 1, 5)
    decoder, random = VoxelDecoder(lattice), np.random.default_rng(0)
    header = StreamHeader("voxels", 10.0, (0.0, 1.0, 2.0), lattice.to_header())
    writer = StreamWriter.create(tmp_path / "s", header)
    states = []
    for _ in range(3):
        index = np.flatnonzero(random.random(lattice.points) < 0.4)
        states.append(VoxelState(index, random.integers(-90, 90, (len(index), 28)).astype(np.int32)))
    writer.write_init(decoder.to_init(states[0]))
    writer.write_frame(1, decoder.difference(states[0], states[1]), decoder.to_key(states[0], states[1]))
    writer.write_frame(2, decoder.difference(states[1], states[2]), decoder.to_key(states[0], states[1]))
    reader = StreamReader(tmp_path / "s")
    assert [bool(problems) for _, problems in verify_stream(reader, decoder)] == [False, False, True]
