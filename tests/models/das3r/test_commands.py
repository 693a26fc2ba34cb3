"""``ns-train``, ``ns-eval`` and ``ns-render`` as a user runs them, on a sequence in Sintel's layout."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.footage_files import write_sintel
from tests.models.das3r.conftest import FRAMES, Clip

BIN = Path(sys.executable).parent


def run(*command: object) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def config(card_clip: Clip, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train on a Sintel sequence that has clean plates, with true cameras and masks."""
    root = write_sintel(tmp_path_factory.mktemp("sintel"), card_clip.recorded)
    plates = root / "ground_truth/clean"
    plates.mkdir(parents=True)
    for i, image in enumerate(card_clip.clean.images):
        Image.fromarray(image).save(plates / f"frame_{i + 1:04d}.png")
    options = ("--vis", "tensorboard", "--output-dir", root / "out", "--max-num-iterations", 200)
    model = ("--pipeline.model.max-gaussians", 4000)
    run(BIN / "ns-train", "dyn3d-das3r-fast", *options, *model, "sintel-data", "--data", root)
    (found,) = (root / "out").rglob("config.yml")
    return found


def test_every_figure_of_the_tables_is_measured(config: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    run(BIN / "ns-eval", "--load-config", config, "--output-path", report)
    results = json.loads(report.read_text())["results"]
    assert results["mask_source"] == results["camera_source"] == results["regions_by"] == "ground truth"
    assert results["clean_psnr"] > 20 and results["clean_seen_psnr"] > 20
    assert results["clean_psnr"] == pytest.approx(results["interp_clean_psnr"])
    assert results["clean_movers_psnr"] > results["interp_dynamic_psnr"] + 5, "movers are not in the scene"
    assert results["static_psnr_das3r"] > results["static_psnr"] > 20
    assert results["masks_j_mean"] > 0.7 and results["masks_j_recall"] == 1
    assert results["masks_jf_mean"] == pytest.approx((results["masks_j_mean"] + results["masks_f_mean"]) / 2)
    assert results["pose_before_ate"] < 1e-5, "true cameras are right"
    assert results["pose_ate_percent"] < 1
    names = [frame["file"][-8:] for frame in results["per_frame"]]
    assert names == [f"{i + 1:04d}.png" for i in range(FRAMES) if (i + 5) % 10 == 0]
    assert "dynamic_psnr" not in results["per_frame"][-1], "Sintel's last frame has no label"


def test_the_movers_are_rendered_over_the_static_scene(config: Path, card_clip: Clip, tmp_path: Path) -> None:
    names = ("rgb", "composite", "mask", "staticness")
    options = ("--split", "train+test", "--image-format", "png")
    run(BIN / "ns-render", "dataset", "--load-config", config, "--output-path", tmp_path, *options)
    pictures = {name: sorted((tmp_path / "train" / name).glob("*.png")) for name in names}
    assert all(len(found) == FRAMES - 2 for found in pictures.values())
    assert len(list((tmp_path / "test" / "composite").glob("*.png"))) == 2, "the frames held out as well"
    shown, laid_over = (np.asarray(Image.open(pictures[name][3])).astype(float) for name in names[:2])
    hidden = card_clip.recorded.labels[3] > 0
    recorded, clean = (c.images[3].astype(float) for c in (card_clip.recorded, card_clip.clean))
    assert (
        np.abs(laid_over[..., :3] - recorded)[hidden].mean()
        < np.abs(shown[..., :3] - recorded)[hidden].mean()
    )
    assert np.abs(shown[..., :3] - clean)[hidden].mean() < 25
