"""`dyn3d bench stream`: what its rows change, what its table says, and that done rows are not done again."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
from nerfstudio.configs.method_configs import all_methods
from stream_scene import write_recording

from dyn3d_ns.cli.bench_stream import CHANGES, TITLES, BenchStream, RowResult, published_tables, table
from dyn3d_ns.cli.errors import CommandError
from dyn3d_ns.cli.main import main


def test_each_row_switches_off_what_its_name_says() -> None:
    models = {}
    for row, change in CHANGES.items():
        models[row] = copy.deepcopy(all_methods["dyn3d-stream-splat-fast"]).pipeline.model
        change(models[row])
    assert {row: model.encoder.gate for row, model in models.items()} == {
        "everything": False, "no-gate": False, "no-grid": True, "no-new": True,
    }  # fmt: skip
    assert [row for row, model in models.items() if not model.cell_sizes] == ["everything", "no-grid"]
    assert [row for row, model in models.items() if not model.encoder.fit.renewed] == ["no-new"]
    assert set(TITLES) == {*CHANGES, "ours", "anew", "grid", "frozen"}


def test_the_table_leaves_frame_0_out_and_says_how_bytes_count() -> None:
    psnr = [40.0] + [30.0 - 0.1 * i for i in range(30)]
    figures = {
        "bytes_per_later_frame": 12_345.0,
        "bytes_per_frame": 34_567.0,
        "cpu_seconds_per_later_frame": 2.0,
    }
    text = table(
        "room", [RowResult("frozen", "held", psnr), RowResult("ours", "ours", psnr, [0.9] * 31, figures)]
    )
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert rows[2] == "| ours | 28.55 | 29.55 | 27.55 | 0.9000 | 12.3 (34.6) | 2.00 |  |  |"
    assert rows[3].startswith("| held | 28.55 |")
    assert "divided by the frames after frame 0; in brackets with frame 0" in text
    # What was trained anew has no frame 0 to leave out.
    assert "| anew | 35.00 |" in table("room", [RowResult("anew", "anew", [40.0, 30.0])])


def test_published_figures_are_said_to_be_copied() -> None:
    text = published_tables()
    assert "copied and not measured here" in text
    assert "| StreamRF | 30.68 | 17.7 / 31.4 | 15 | 8.3 | 3DGStream, table 1 (RTX 3090) |" in text


def test_rows_that_are_done_are_not_done_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = tmp_path / "out/rows/rolling/ours.json"
    kept.parent.mkdir(parents=True)
    kept.write_text(
        json.dumps({"row": "ours", "title": "kept", "psnr": [1.0, 31.5], "ssim": [0, 0.5], "figures": {}})
    )
    scene = write_recording(tmp_path / "rolling", frames=2)
    BenchStream(scenes=(scene,), output=tmp_path / "out", rows=("ours",)).run()
    assert "| kept | 31.50 |" in capsys.readouterr().out
    assert "| kept | 31.50 |" in (tmp_path / "out/report.md").read_text()
    with pytest.raises(CommandError, match="no method 'dyn3d-nothing'"):
        BenchStream(scenes=(scene,), output=tmp_path / "other", rows=("ours",), method="dyn3d-nothing").run()


def test_the_help_explains_every_row_and_what_takes_time(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["bench", "stream", "--help"])
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert all(f" {row}: " in text for row in TITLES)
    assert "Each row is a training of the whole recording" in text
    assert "at least one. (required)" in text


def test_without_a_recording_it_says_what_to_give(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["bench", "stream"]) == 2
    assert "give at least one recording, such as `dyn3d bench stream" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
