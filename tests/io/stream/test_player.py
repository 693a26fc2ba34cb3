"""Every frame of a stream is reached from anywhere, by the shortest way, within the cache's bound."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from toy_stream import ToyDecoder, write_toy

from dyn3d_ns.io.errors import DamagedFileError, MissingFileError
from dyn3d_ns.io.stream.player import StreamPlayer
from dyn3d_ns.io.stream.reader import StreamReader
from dyn3d_ns.io.stream.writer import StreamWriter


def player_of(folder: Path, cache_bytes: int = 1 << 20) -> tuple[StreamPlayer[np.ndarray], ToyDecoder]:
    toy = ToyDecoder()
    return StreamPlayer(StreamReader(folder), toy, cache_bytes), toy


def calls(toy: ToyDecoder) -> dict[str, int]:
    found = {name: toy.calls.count(name) for name in set(toy.calls)}
    toy.calls.clear()
    return found


@pytest.mark.parametrize("every", [0, 5])
@pytest.mark.parametrize("cache_bytes", [0, 3000, 1 << 20])
def test_every_order_gives_the_true_states(tmp_path: Path, every: int, cache_bytes: int) -> None:
    states = write_toy(tmp_path / "s", every=every)
    player, _ = player_of(tmp_path / "s", cache_bytes)
    order = [*range(23), *reversed(range(23)), *np.random.default_rng(0).integers(0, 23, 60).tolist()]
    for frame in order:
        assert np.array_equal(player.seek(frame), states[frame])


def test_a_seek_starts_at_the_keyframe_before_it(tmp_path: Path) -> None:
    write_toy(tmp_path / "s")
    player, toy = player_of(tmp_path / "s")
    player.seek(18)
    assert calls(toy) == {"start": 1, "jump": 1, "advance": 3}
    player.seek(20)
    assert calls(toy) == {"jump": 1}
    player.seek(4)
    assert calls(toy) == {"advance": 4}


def test_playing_on_takes_one_step_a_frame_and_no_keyframe(tmp_path: Path) -> None:
    write_toy(tmp_path / "s")
    player, toy = player_of(tmp_path / "s")
    for frame in range(23):
        player.seek(frame)
    assert calls(toy) == {"start": 1, "advance": 22}


def test_scrubbing_backwards_decodes_each_keyframes_run_once(tmp_path: Path) -> None:
    write_toy(tmp_path / "s")
    player, toy = player_of(tmp_path / "s")
    for frame in reversed(range(23)):
        player.seek(frame)
    assert calls(toy) == {"start": 1, "jump": 4, "advance": 18}


def test_the_cache_keeps_its_bound_and_what_was_used_last(tmp_path: Path) -> None:
    states = write_toy(tmp_path / "s", every=0)
    limit = sum(state.nbytes for state in states[-4:])
    player, toy = player_of(tmp_path / "s", limit)
    player.seek(22)
    calls(toy)
    for frame in (22, 21, 20, 19):
        player.seek(frame)
    assert calls(toy) == {}
    player.seek(18)
    assert calls(toy) == {"advance": 18}
    assert player.cached_bytes() <= limit


def test_a_stream_is_followed_while_it_is_written(tmp_path: Path) -> None:
    states = write_toy(tmp_path / "whole")
    folder = tmp_path / "s"
    source = StreamReader(tmp_path / "whole")
    writer = StreamWriter.create(folder, source.header)
    player, toy = player_of(folder)
    assert player.num_frames() == 0
    with pytest.raises(MissingFileError, match="0 of 23 frames so far"):
        player.seek(0)
    writer.write_init(source.init())
    for frame in range(1, 4):
        with pytest.raises(MissingFileError, match=f"{frame} of 23 frames so far"):
            player.seek(frame)
        writer.write_frame(frame, source.delta(frame))
        assert player.num_frames() == frame + 1
        assert np.array_equal(player.seek(frame), states[frame])
    assert calls(toy) == {"start": 1, "advance": 3}


@pytest.mark.parametrize("at_frame", [7, -1])
def test_frames_that_a_resumed_training_writes_anew_are_decoded_anew(tmp_path: Path, at_frame: int) -> None:
    states = write_toy(tmp_path / "s")
    player, _ = player_of(tmp_path / "s")
    for frame in (5, 7, 9, 22):
        player.seek(frame)
    other_states = write_toy(tmp_path / "other", seed=1)
    other = StreamReader(tmp_path / "other")
    writer = StreamWriter.reopen(tmp_path / "s", at_frame)
    with pytest.raises(MissingFileError):
        player.seek(9)
    if at_frame < 0:
        writer.write_init(other.init())
        for frame in range(1, 10):
            writer.write_frame(frame, other.delta(frame))
        assert all(np.array_equal(player.seek(k), other_states[k]) for k in (9, 5, 0))
    else:
        rows = len(states[7])
        still = {
            "movers": np.zeros(rows, bool),
            "steps": np.zeros((0, 2), np.int8),
            "new": np.zeros((0, 2), np.int32),
        }
        for frame in (8, 9):
            writer.write_frame(frame, still)
        assert np.array_equal(player.seek(9), states[7]) and np.array_equal(player.seek(7), states[7])


def test_damage_stops_at_its_frame_and_all_before_it_plays(tmp_path: Path) -> None:
    states = write_toy(tmp_path / "s")
    path = tmp_path / "s" / "000013.delta"
    path.write_bytes(path.read_bytes()[:-1])
    player, _ = player_of(tmp_path / "s")
    for frame in (13, 14):
        with pytest.raises(DamagedFileError, match="000013.delta: frame 13 is damaged.*plays up to frame 12"):
            player.seek(frame)
    assert all(np.array_equal(player.seek(frame), states[frame]) for frame in (12, 0, 15, 22))


def test_a_damaged_key_costs_time_only(tmp_path: Path) -> None:
    states = write_toy(tmp_path / "s")
    (tmp_path / "s" / "000015.key").write_bytes(b"")
    player, toy = player_of(tmp_path / "s")
    assert np.array_equal(player.seek(16), states[16])
    assert calls(toy) == {"start": 1, "jump": 1, "advance": 6}


def test_planes_that_do_not_fit_the_state_name_the_frame(tmp_path: Path) -> None:
    write_toy(tmp_path / "s", frames=6)
    writer = StreamWriter.reopen(tmp_path / "s", 2)
    writer.write_frame(3, {"movers": np.zeros(7, bool)})
    player, _ = player_of(tmp_path / "s")
    with pytest.raises(
        DamagedFileError, match="frame 3 cannot be decoded: a mask of 7 for 42 rows; .*frame 2"
    ):
        player.seek(3)


def test_frames_before_the_first_are_refused(tmp_path: Path) -> None:
    write_toy(tmp_path / "s", frames=3)
    with pytest.raises(ValueError, match="count from 0, got -1"):
        player_of(tmp_path / "s")[0].seek(-1)


def test_several_threads_get_the_true_states(tmp_path: Path) -> None:
    states = write_toy(tmp_path / "s")
    player, _ = player_of(tmp_path / "s", cache_bytes=2000)
    wrong: list[int] = []

    def watch(seed: int) -> None:
        for frame in np.random.default_rng(seed).integers(0, 23, 40).tolist():
            if not np.array_equal(player.seek(frame), states[frame]):
                wrong.append(frame)

    threads = [threading.Thread(target=watch, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong and player.cached_bytes() <= 2000
