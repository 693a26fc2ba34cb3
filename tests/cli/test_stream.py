"""`dyn3d stream`: what it says, what it finds damaged, and what it cuts out."""

from __future__ import annotations

import errno
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from toy_stream import ToyDecoder, write_toy

from dyn3d_ns.cli.main import main
from dyn3d_ns.cli.stream import in_short
from dyn3d_ns.io.errors import UserError
from dyn3d_ns.io.layouts import describe
from dyn3d_ns.io.stream import decoders
from dyn3d_ns.io.stream import writer as writer_module
from dyn3d_ns.io.stream.codec import encode_planes
from dyn3d_ns.io.stream.cut import cut_stream
from dyn3d_ns.io.stream.header import StreamHeader, write_header
from dyn3d_ns.io.stream.parts import Part, pack_part
from dyn3d_ns.io.stream.player import StreamPlayer
from dyn3d_ns.io.stream.reader import StreamReader


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A training's folder with a stream in it."""
    write_toy(tmp_path / "run/stream")
    (tmp_path / "run/config.yml").write_text("")
    return tmp_path / "run"


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Streams of kind `toy` can be decoded."""
    monkeypatch.setattr(decoders, "_registered", {})
    decoders.register_decoder("toy", lambda header: ToyDecoder())
    yield


def lines(capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    """Return what was printed, by the names at the left."""
    rows = [line for line in capsys.readouterr().out.splitlines() if "  " in line]
    return {name.strip(): value.strip() for name, _, value in (row.partition("  ") for row in rows)}


@pytest.mark.parametrize("given", ["stream", "", "config.yml"])
def test_info_counts_frames_and_bytes(run: Path, given: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stream", "info", str(run / given)]) == 0
    found = lines(capsys)
    sizes = {path.name: path.stat().st_size for path in (run / "stream").iterdir()}
    deltas = [size for name, size in sizes.items() if name.endswith("delta")]
    keys = [size for name, size in sizes.items() if name.endswith("key")]
    assert found["kind"] == "toy" and found["frames"] == "23 of 23" and found["fps"] == "25"
    assert found["keyframes"] == "5, 10, 15, 20" and found["decoder columns"] == "2"
    assert int(found["bytes of frame 0"]) == sizes["000000.init"]
    assert int(found["bytes of deltas"]) == sum(deltas) and int(found["bytes of keyframes"]) == sum(keys)
    total = sizes["000000.init"] + sum(deltas) + sum(keys)
    assert int(found["bytes a frame"]) == round(total / 23)
    assert int(found["without frame 0"]) == round((sum(deltas) + sum(keys)) / 22)
    assert int(found["without keyframes too"]) == round(sum(deltas) / 22)


def test_info_of_a_folder_recognises_a_stream(run: Path) -> None:
    found = describe(run / "stream")
    assert found.layout == "stream (toy)" and found.facts["frames"] == "23 of 23"
    assert f"dyn3d stream info {run / 'stream'}" in found.use


@pytest.mark.parametrize(
    ("sizes", "says"),
    [
        ({"000007.delta": None}, "000007.delta is not there: 18 later parts (of frames 8 to 22)"),
        ({"000000.init": None}, "000000.init is not there: 26 later parts (of frames 1 to 22)"),
        ({"000007.delta": 0, "000010.key": 20}, "000007.delta, 000010.key; `dyn3d stream verify`"),
        ({}, ""),
    ],
)
def test_info_says_what_will_not_play(
    run: Path, sizes: dict[str, int | None], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, size in sizes.items():
        content = (run / "stream" / name).read_bytes()
        (run / "stream" / name).unlink()
        if size is not None:
            (run / "stream" / name).write_bytes(content[:size])
    assert main(["stream", "info", str(run)]) == 0
    found = lines(capsys)
    assert says in found.get("cannot be played", "") + found.get("empty or cut short", "")
    assert ("cannot be played" in found, "empty or cut short" in found) == (
        None in sizes.values(),
        0 in sizes.values(),
    )
    assert bool(describe(run / "stream").missing) == (None in sizes.values())


def test_info_shows_numbers_that_people_can_use() -> None:
    pose = "1.0 0 0 -0.942516567522537 0 0.8 -0.6 -1.75 0 0.6 0.8 2"
    decoder = {
        "camera": f"{pose} 314.98175048828125 314.9 160.0 120.0 320 240",
        "background": "0.5437678098678589 0.49 0",
        "cells": "560 280 140",
        "means": 10,
        "space": " ".join(["0.5"] * 23),
        "note": "version 1.2.3",
    }
    header = StreamHeader("gaussians", 30.0, (0.0,), decoder)
    assert {name: in_short(header, name) for name in decoder} == {
        "camera": "320x240, focal length 315 pixels, at -0.943 -1.75 2",
        "background": "0.5438 0.49 0",
        "cells": "560 280 140",
        "means": "10",
        "space": "23 numbers",
        "note": "version 1.2.3",
    }
    broken = StreamHeader("gaussians", 30.0, (0.0,), {"camera": "here"})
    assert "should hold 18 numbers as 'camera'" in in_short(broken, "camera")


def test_a_whole_stream_is_verified(run: Path, toys: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stream", "verify", str(run)]) == 0
    assert "23 frames and 4 keyframes are whole" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("broken", "first"),
    [(["000000.init"], 0), (["000015.key"], 15), (["000017.delta", "000010.key", "000011.delta"], 10)],
)
def test_what_is_damaged_is_named_and_the_status_is_1(
    run: Path, broken: list[str], first: int, toys: None, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in broken:
        content = bytearray((run / "stream" / name).read_bytes())
        content[-6] ^= 1
        (run / "stream" / name).write_bytes(content)
    with pytest.raises(SystemExit) as stop:
        main(["stream", "verify", str(run)])
    assert stop.value.code == 1
    errors = capsys.readouterr().err
    assert f"the first damaged frame is {first}\n" in errors
    assert all(f"{name}: frame {int(name[:6])} is damaged" in errors for name in broken)


@pytest.mark.parametrize(("gone", "first"), [("000009.delta", 9), ("000000.init", 0)])
def test_a_gap_is_damage(
    run: Path, gone: str, first: int, toys: None, capsys: pytest.CaptureFixture[str]
) -> None:
    (run / "stream" / gone).unlink()
    with pytest.raises(SystemExit) as stop:
        main(["stream", "verify", str(run)])
    errors = capsys.readouterr().err
    assert stop.value.code == 1 and f"the first damaged frame is {first}\n" in errors
    assert f"{gone} is not there: " in errors and "000012.delta" not in errors


def test_what_cannot_be_applied_is_damage_though_its_checksum_fits(
    run: Path, toys: None, capsys: pytest.CaptureFixture[str]
) -> None:
    content = pack_part(Part.DELTA, 7, encode_planes({"movers": np.zeros(7, bool)}))
    (run / "stream/000007.delta").write_bytes(content)
    with pytest.raises(SystemExit) as stop:
        main(["stream", "verify", str(run)])
    errors = capsys.readouterr().err.splitlines()
    assert stop.value.code == 1 and len(errors) == 2
    assert errors[0].endswith("stream/000007.delta: frame 7 cannot be decoded: a mask of 7 for 46 rows")


def test_frames_without_a_time_are_damage(run: Path, toys: None, capsys: pytest.CaptureFixture[str]) -> None:
    write_header(run / "stream", StreamHeader("toy", 25.0, tuple(range(20))))
    with pytest.raises(SystemExit) as stop:
        main(["stream", "verify", str(run)])
    errors = capsys.readouterr().err
    assert stop.value.code == 1 and "stream.json: it plans 20 frames, 23 are there" in errors
    assert "the first damaged frame is 20\n" in errors


def test_the_key_of_the_frame_being_written_is_no_damage(
    run: Path, toys: None, capsys: pytest.CaptureFixture[str]
) -> None:
    (run / "stream/000022.delta").unlink()
    (run / "stream/000022.key").write_bytes(b"")
    assert main(["stream", "verify", str(run)]) == 0
    assert "22 frames and 4 keyframes are whole; 1 more are planned" in capsys.readouterr().out


def test_what_is_no_stream_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("info", "verify"):
        assert main(["stream", command, str(tmp_path)]) == 2
        assert "there is no stream at" in capsys.readouterr().err


@pytest.mark.parametrize(("first", "last"), [(7, 21), (0, 22), (10, 10), (5, 6)])
def test_a_cut_shows_the_same_from_anywhere(
    run: Path, tmp_path: Path, first: int, last: int, toys: None
) -> None:
    output = tmp_path / "part"
    arguments = ["--frames", str(first), str(last), "--output", str(output)]
    assert main(["stream", "cut", str(run), *arguments]) == 0
    whole, part = StreamReader(run / "stream"), StreamReader(output)
    assert part.num_frames() == part.header.planned_frames == last - first + 1
    assert part.keyframes() == [key - first for key in (5, 10, 15, 20) if first < key <= last]
    assert part.header.frame_times == whole.header.frame_times[first : last + 1]
    wanted = StreamPlayer(whole, ToyDecoder())
    for frame in range(last - first, -1, -1):
        assert np.array_equal(StreamPlayer(part, ToyDecoder()).seek(frame), wanted.seek(first + frame))


def test_a_cut_of_everything_is_the_stream(run: Path, tmp_path: Path, toys: None) -> None:
    assert main(["stream", "cut", str(run), "--frames", "0", "22", "--output", str(tmp_path / "part")]) == 0
    for path in (run / "stream").iterdir():
        assert (tmp_path / "part" / path.name).read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("first", "last", "says"),
    [
        ("5", "23", "it has frames 0 to 22"),
        ("-1", "3", "it has frames 0 to 22"),
        ("9", "8", "the first frame must not come after the last, got 9 8"),
    ],
)
def test_frames_that_are_not_there_are_refused(
    run: Path,
    tmp_path: Path,
    first: str,
    last: str,
    says: str,
    toys: None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["stream", "cut", str(run), "--frames", first, last, "--output", str(tmp_path / "part")]) == 2
    assert says in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_cut_across_a_gap_says_where_the_stream_ends(
    run: Path, tmp_path: Path, toys: None, capsys: pytest.CaptureFixture[str]
) -> None:
    (run / "stream/000007.delta").unlink()
    assert main(["stream", "cut", str(run), "--frames", "0", "22", "--output", str(tmp_path / "part")]) == 2
    errors = capsys.readouterr().err
    assert "it has frames 0 to 6; 000007.delta is not there: 18 later parts" in errors
    assert main(["stream", "cut", str(run), "--frames", "0", "6", "--output", str(tmp_path / "part")]) == 0


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "000007.delta: frame 7 is damaged: "),
        (
            pack_part(Part.DELTA, 7, encode_planes({"movers": np.zeros(7, bool)})),
            "000007.delta: frame 7 cannot be decoded: a mask of 7",
        ),
    ],
)
def test_a_cut_across_damage_leaves_nothing(
    run: Path, tmp_path: Path, content: bytes, why: str, toys: None, capsys: pytest.CaptureFixture[str]
) -> None:
    (run / "stream/000007.delta").write_bytes(content)
    assert main(["stream", "cut", str(run), "--frames", "2", "9", "--output", str(tmp_path / "part")]) == 2
    errors = capsys.readouterr().err
    assert why in errors and "the stream plays up to frame 6" in errors
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    # Behind the damage it plays from the next key on.
    assert main(["stream", "cut", str(run), "--frames", "11", "22", "--output", str(tmp_path / "part")]) == 0
    assert main(["stream", "verify", str(tmp_path / "part")]) == 0


@pytest.mark.parametrize(
    "error",
    [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device")],
    ids=lambda e: type(e).__name__,
)
def test_a_cut_that_is_stopped_leaves_nothing(
    run: Path, tmp_path: Path, error: BaseException, toys: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    really, output = writer_module.write_bytes, tmp_path / "part"
    output.mkdir()

    def stopped(path: Path, content: bytes) -> None:
        if path.name == "000003.delta":
            assert not list(output.iterdir()), "nothing of it is seen before it is whole"
            raise error
        really(path, content)

    monkeypatch.setattr(writer_module, "write_bytes", stopped)
    expected = UserError if isinstance(error, OSError) else KeyboardInterrupt
    with pytest.raises(expected) as stop:
        list(cut_stream(StreamReader(run / "stream"), ToyDecoder(), 0, 9, output))
    assert expected is KeyboardInterrupt or "part: No space left on device; nothing of it" in str(stop.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["part", "run"] and not list(output.iterdir())


def test_a_cut_that_is_not_gone_through_leaves_nothing(run: Path, tmp_path: Path) -> None:
    frames = cut_stream(StreamReader(run / "stream"), ToyDecoder(), 0, 9, tmp_path / "part")
    assert next(frames) == 0
    frames.close()
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_cut_that_is_stopped_says_so(
    run: Path,
    tmp_path: Path,
    toys: None,
    monkeypatch: pytest.MonkeyPatch,
    default_signals: None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def interrupted(path: Path, content: bytes) -> None:
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(writer_module, "write_bytes", interrupted)
    with pytest.raises(SystemExit) as stop:
        main(["stream", "cut", str(run), "--frames", "0", "9", "--output", str(tmp_path / "part")])
    assert stop.value.code == 143 and "part is kept" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_cut_onto_what_is_there_is_refused(
    run: Path, tmp_path: Path, toys: None, capsys: pytest.CaptureFixture[str]
) -> None:
    for output, says in (
        (run / "stream", "holds a stream already: choose another --output"),
        (run, "is there already and not an empty folder: choose another --output"),
        (run / "config.yml", "is there already and not an empty folder"),
        (run / "config.yml/part", "cannot write the cut to"),
    ):
        assert main(["stream", "cut", str(run), "--frames", "1", "2", "--output", str(output)]) == 2
        assert says in capsys.readouterr().err
    assert main(["stream", "verify", str(run)]) == 0
    (tmp_path / "empty").mkdir()
    arguments = ["--frames", "1", "2", "--output", str(tmp_path / "empty")]
    assert main(["stream", "cut", str(run), *arguments]) == 0


def test_a_kind_that_nothing_decodes_is_named(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stream", "cut", str(run), "--frames", "1", "2", "--output", str(run / "part")]) == 2
    assert "decodes streams of kind 'toy'" in capsys.readouterr().err
