"""`dyn3d bench das3r`: tables, what stands in them, and runs that fail or go on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dyn3d_ns.cli import das3r
from dyn3d_ns.cli.bench import dataset_of, plain_figures, sequence_names
from dyn3d_ns.cli.bench_report import SequenceResult, report
from dyn3d_ns.cli.errors import CommandError
from dyn3d_ns.cli.main import main
from dyn3d_ns.models.das3r.published import MEAN_PSNR, PSNR, SEQUENCES
from tests.video.cards import CardClip


@pytest.mark.parametrize("dataset", SEQUENCES)
def test_published_means_are_those_of_the_published_figures(dataset: str) -> None:
    assert set(PSNR[dataset]) == set(MEAN_PSNR[dataset])
    for method, values in PSNR[dataset].items():
        assert len(values) == len(SEQUENCES[dataset])
        assert sum(values) / len(values) == pytest.approx(MEAN_PSNR[dataset][method], abs=0.011), method


def result(name: str, dataset: str = "DAVIS", frames: int = 45, **figures) -> SequenceResult:
    figures = {
        "static_psnr_das3r": 25.0,
        "masks_j_mean": 0.4,
        "mask_source": "dyn3d process",
        "camera_source": "COLMAP",
        "regions_by": "ground truth",
        **figures,
    }
    return SequenceResult(f"clips/{name}", name, dataset, "config.yml", figures, frames)


def row(text: str, title: str, name: str) -> list[str]:
    """Return the cells of a line in the table below a title."""
    table = text.split(f"## {title}")[1].split("\n## ", maxsplit=1)[0]
    (line,) = (line for line in table.splitlines() if line.startswith(f"| {name} |"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_our_column_stands_beside_the_published_ones() -> None:
    text = report([result("camel"), result("dog", static_psnr_das3r=29.0)], "dyn3d-das3r")
    camel = row(text, "Static PSNR, DAVIS", "camel")
    assert camel[1:7] == ["19.19", "21.31", "25.62", "20.97", "27.06", "27.27"] and camel[7] == "25.00"
    assert row(text, "Static PSNR, DAVIS", "soapbox")[7] == ""
    assert row(text, "Static PSNR, DAVIS", "mean")[6:] == ["25.70", "27.00 (2 of 8)"]
    # The same two of DAS3R: 27.27 and 28.63.
    assert row(text, "Static PSNR, DAVIS", "mean of the 2 run here")[6:] == ["27.95", "27.00"]
    assert row(text, "Static PSNR, Sintel", "mean")[7] == ""
    assert "arXiv 2412.19584" in text and text.count("DAS3R, published") == 4
    assert row(text, "What ran here", "camel")[7:10] == ["dyn3d process", "COLMAP", "ground truth"]


def test_masks_are_averaged_over_frames_and_poses_over_sequences() -> None:
    rest = {"pose_rpe_translation": 0.02, "pose_rpe_rotation_degrees": 0.5}
    poses = [{"pose_ate": ate, **rest} for ate in (0.1, 0.3)]
    ran = [
        result("alley_2", "Sintel", 10, masks_j_mean=0.9, **poses[0]),
        result("cave_2", "Sintel", 30, masks_j_mean=0.5, **poses[1]),
    ]
    text = report(ran, "dyn3d-das3r")
    assert row(text, "Masks", "Sintel") == ["Sintel", "37.1", "59.3", "60.0 (2 of 14)"]
    assert row(text, "Masks", "DAVIS")[-1] == ""
    assert row(text, "Camera poses", "ATE")[1:] == ["0.360", "0.141", "0.108", "0.107", "0.200 (2 of 14)"]


def test_figures_by_estimated_masks_say_so() -> None:
    text = report([result("camel", regions_by="dyn3d process")], "dyn3d-das3r")
    assert row(text, "Static PSNR, DAVIS", "camel")[7] == "25.00 (1)"
    assert row(text, "Static PSNR, DAVIS", "mean")[7] == "25.00 (1 of 8) (1)"
    assert "not to be compared" in text
    assert "not to be compared" not in report([result("camel")], "dyn3d-das3r")


def test_names_and_datasets() -> None:
    given = ("davis:data/DAVIS/camel", "clips/walk/", "alley_2.mp4")
    assert sequence_names(given) == ["camel", "walk", "alley_2"]
    assert [dataset_of(s, n) for s, n in zip(given, sequence_names(given), strict=True)] == [
        "DAVIS", "", "Sintel",
    ]  # fmt: skip
    assert dataset_of("sintel:root/camel", "camel") == ""
    with pytest.raises(CommandError, match="two sequences are called camel"):
        sequence_names(("a/camel", "b/camel.mp4"))
    with pytest.raises(CommandError, match="at least one sequence"):
        sequence_names(())


def test_what_json_cannot_hold_is_left_out() -> None:
    found = plain_figures({"a": 1.5, "b": float("nan"), "c": float("inf"), "d": [1], "e": "x", "f": True})
    assert found == {"a": 1.5, "e": "x", "f": True}


@pytest.mark.slow
def test_a_failed_sequence_does_not_stop_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = tmp_path / "camel"
    CardClip(frames=10, width=64, height=48).write(clip, "frames cameras depth masks")
    command = [
        "bench", "das3r", str(tmp_path / "gone.mp4"), str(clip), "--output", str(tmp_path / "out"),
        "--method", "dyn3d-das3r-fast", "--steps", "20",
    ]  # fmt: skip
    assert main(command) == 2
    said = capsys.readouterr()
    assert "1 of 2 sequences failed: gone" in said.err and "gone failed: frames, flow" in said.out
    content = json.loads((tmp_path / "out/report.json").read_text())
    gone, camel = content["sequences"]
    assert gone["error"] and not gone["figures"]
    assert not camel["error"] and camel["dataset"] == "DAVIS" and camel["frames"] == 9
    assert camel["steps"] == 20
    assert camel["figures"]["static_psnr_das3r"] > 10
    text = (tmp_path / "out/report.md").read_text()
    assert text.strip() in said.out and "## Failed" in text
    assert row(text, "Static PSNR, DAVIS", "camel")[7].endswith("(1)")

    monkeypatch.setattr("nerfstudio.scripts.train.train_loop", lambda *_: pytest.fail("it trained again"))
    monkeypatch.setattr(das3r, "load_scene", lambda *_: pytest.fail("it evaluated again"))
    assert main([*command[:2], *command[3:]]) == 0
    assert json.loads((tmp_path / "out/report.json").read_text())["sequences"] == [camel]
