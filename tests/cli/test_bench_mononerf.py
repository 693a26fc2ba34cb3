"""`dyn3d bench mononerf`: what its rows train, what its tables say, and that done rows are not done again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from nerfstudio.configs.method_configs import all_methods

from dyn3d_ns.cli.bench_mononerf import BenchMononerf, figures_of
from dyn3d_ns.cli.bench_mononerf_report import ROWS, RowResult, published_table, report, scene_table
from dyn3d_ns.cli.errors import CommandError
from dyn3d_ns.cli.main import main
from dyn3d_ns.models.mononerf.published import PROTOCOL_A, SCENES
from tests.mononerf_runs import config_of, write_two_scenes


def test_published_means_are_those_of_their_rows() -> None:
    for row in PROTOCOL_A:
        assert len(row.psnr) == len(row.lpips) == len(SCENES)
        assert sum(row.psnr) / 7 == pytest.approx(row.psnr_mean, abs=0.011), row.method
        assert sum(row.lpips) / 7 == pytest.approx(row.lpips_mean, abs=0.0015), row.method


def test_each_row_trains_what_its_name_says(tmp_path: Path) -> None:
    bench = BenchMononerf(data=tmp_path, scenes=("A", "B", "C"), output=tmp_path / "out", steps=900)
    configs = {row: [bench._config(run) for run in bench._runs(row)] for row in ROWS}
    trained = {
        row: [(c.pipeline.datamanager.dataparser.scenes, c.max_num_iterations) for c in found]
        for row, found in configs.items()
    }
    every = ("A", "B", "C")
    assert trained["both"] == trained["unguided"] == trained["unseen"] == [(every, 900)]
    assert trained["each"] == [(("A",), 300), (("B",), 300), (("C",), 300)]
    assert trained["adapt"] == trained["scratch"] == [(("B",), 500), (("C",), 500)]
    assert [row for row in ROWS if not configs[row][0].pipeline.model.velocity_guided] == ["unguided"]
    assert {row for row in ROWS if configs[row][0].pipeline.model.adapt_steps == 500} == {"adapt", "scratch"}
    assert [r for r in ROWS if configs[r][0].pipeline.datamanager.dataparser.train_frames] == ["unseen"]
    assert all(run.source in bench._runs("each")[:1] for run in bench._runs("adapt"))
    folders = {config.get_base_dir() for found in configs.values() for config in found}
    assert len(folders) == 10


def figures(interp: float, unseen: float | None = None) -> dict:
    found = {
        "interp": {"psnr": interp, "ssim": 0.9, "dynamic_psnr": interp - 5, "static_alone_dynamic_psnr": 9.0},
        "train": {"psnr": 33.0, "dynamic_psnr": 28.0},
        "fixed": {"psnr": 22.5, "ssim": 0.8, "images": 12},
        "flow": {"median": 0.456},
    }
    if unseen is not None:
        found["unseen"] = {"psnr": unseen, "ssim": 0.7, "dynamic_psnr": 18.0, "nearest_dynamic_psnr": 15.0}
    return found


def test_the_tables_put_splits_apart_and_ours_beside_the_published() -> None:
    results = [
        RowResult(
            "both",
            "together",
            {"Balloon1": figures(25.0), "room": figures(24)},
            dict.fromkeys(("Balloon1", "room"), 300.0),
        ),
        RowResult("unseen", "some frames", {"room": figures(23.0, 20.0)}, {"room": 90.0}),
    ]
    text = scene_table("room", results)
    lines = text.splitlines()[4:]
    assert lines[0] == "| together | 24.00 | 0.9000 | 19.00 | 9.00 |  | 33.00 | 28.00 | 0.46 | 5.0 |"
    assert lines[1] == "| some frames | 20.00 | 0.7000 | 18.00 |  | 15.00 | 33.00 | 28.00 | 0.46 | 1.5 |"
    assert "some frames" not in scene_table("Balloon1", results)
    whole = report(results, "dyn3d-mononerf-fast")
    assert "copied and not measured here" in whole and "| together | room | 22.50 | 0.8000 | 12 |" in whole
    ours = published_table(results, "fast").splitlines()[-1]
    assert ours == "| fast, together |  |  |  |  | 22.50 |  |  |  | measured here |"
    assert "| MonoNeRF, a training a scene, published | 24.26 / 0.091 |" in whole


def test_figures_of_a_scene_are_those_of_its_splits() -> None:
    def frame(source: str, camera: int, psnr: float) -> dict:
        return {
            "source": source,
            "split": source.split("_")[1],
            "camera_id": camera,
            "psnr": psnr,
            "ssim": 0.5,
        }

    frames = [frame("A_interp", 0, 20.0), frame("A_train", 0, 30.0), frame("A_interp", 1, 1.0)]
    others = [frame("B_interp", 7, 40.0), frame("B_interp", 8, 2.0)]
    metrics = {"A_interp_psnr": 1.5, "B_interp_psnr": 2.5, "interp_psnr": 3.5, "per_frame": frames + others}
    found = figures_of(metrics, "A")
    assert found["interp"] == {"psnr": 1.5}
    assert found["fixed"] == {"psnr": 25.0, "ssim": 0.5, "images": 2}
    assert figures_of(metrics, "B")["fixed"]["psnr"] == 40.0
    alone = {"interp_psnr": 3.5, "per_frame": others}
    assert figures_of(alone, "B")["interp"] == {"psnr": 3.5}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--scenes", "A", "--only", "adapt"], "adapt and scratch need a second scene"),
        (["--scenes", "A", "B", "--steps", "0"], "--steps must be at least 1"),
        (["--scenes", "A", "B", "--method", "dyn3d-velocity-fast"], "is none of dyn3d-mononerf's"),
        (["--scenes", "A", "B", "--only", "both"], "is no folder"),
    ],
)
def test_wrong_arguments_are_named(
    arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["bench", "mononerf", str(tmp_path / "gone"), *arguments, "--output", str(tmp_path / "out")]
    assert main(command) == 2
    assert said in capsys.readouterr().err


@pytest.mark.slow
def test_rows_are_trained_measured_and_not_done_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    scenes = write_two_scenes(tmp_path / "scenes")
    monkeypatch.setitem(all_methods, "tiny", config_of(scenes, tmp_path))
    command = [
        *("bench", "mononerf", str(scenes), "--scenes", "A", "B", "--method", "tiny", "--steps", "8"),
        *("--adapt-steps", "3", "--train-frames", "0:3", "--output", str(tmp_path / "out")),
        *("--only", "both", "unseen", "adapt"),
    ]
    assert main(command) == 0
    said = capsys.readouterr().out
    text = (tmp_path / "out/report.md").read_text()
    assert text.strip() in said
    both, unseen, adapt = json.loads((tmp_path / "out/report.json").read_text())["rows"]
    assert set(both["scenes"]) == set(unseen["scenes"]) == {"A", "B"} and set(adapt["scenes"]) == {"B"}
    a = both["scenes"]["A"]
    assert a["interp"]["images"] == 20 and a["train"]["images"] == 5 and a["fixed"]["images"] == 5
    assert a["flow"]["median"] > 0 and a["interp"]["static_alone_dynamic_psnr"] > 0
    assert unseen["scenes"]["A"]["unseen"]["images"] == 10
    assert unseen["scenes"]["A"]["unseen"]["nearest_dynamic_psnr"] > 0
    assert all(seconds > 0 for row in (both, unseen, adapt) for seconds in row["seconds"].values())
    (config,) = (tmp_path / "out/trainings/B").rglob("adapt*/config.yml")
    assert "each-4" in config.read_text(), "it starts from the training of the first scene alone"

    def trains(*_: object) -> None:
        raise AssertionError("it trained or measured again")

    monkeypatch.setattr("nerfstudio.scripts.train.train_loop", trains)
    monkeypatch.setattr("nerfstudio.utils.eval_utils.eval_setup", trains)
    assert main(command) == 0
    assert (tmp_path / "out/report.md").read_text() == text


def test_scenes_are_needed(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="give the scenes' names"):
        BenchMononerf(data=tmp_path, scenes=(), output=tmp_path / "out").run()
