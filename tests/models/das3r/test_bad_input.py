"""Videos that a static scene can hardly be learned from: one sentence each, before training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from dyn3d_ns.io.errors import DatasetError, EmptySplitError, UserError
from tests.models.das3r.conftest import train_on
from tests.video.cards import CardClip


def write(tmp_path: Path, frames: int = 12, covered: tuple[int, ...] = (), part: float = 1.0, **clip) -> Path:
    """Write a clip whose masks cover a part of the height of some frames."""
    workspace = CardClip(frames=frames, width=48, height=36, **clip).write(tmp_path / "cards")
    for i in covered:
        labels = workspace.labels(i)
        labels[: round(part * 36)] = 1
        workspace.write_labels(i, labels)
    return workspace.root


def test_masks_that_cover_everything(tmp_path: Path) -> None:
    root = write(tmp_path, covered=tuple(range(12)))
    with pytest.raises(DatasetError, match="cover every pixel of every training frame.*use-masks False"):
        train_on(root, tmp_path / "out", steps=2)
    trainer = train_on(root, tmp_path / "out", steps=2, use_masks=False)
    assert trainer.pipeline.model.views.static.float().mean() > 240


def test_frames_without_a_static_pixel_are_named_and_teach_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    trainer = train_on(write(tmp_path, covered=(2, 4)), tmp_path / "out", steps=30, refine_masks=False)
    said = " ".join(capfd.readouterr().out.split())
    assert "2 of 11 training frames have no static pixel and teach nothing: 00002.png, 00004.png" in said
    model = trainer.pipeline.model
    assert float(model.views.psnr[2]) == 0, "its pose stays"
    assert np.isfinite(float(model.views.psnr.max()))
    assert all(bool(torch.isfinite(p).all()) for p in model.scene.params.values())


def test_masks_that_cover_nearly_everything(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    train_on(write(tmp_path, covered=tuple(range(12)), part=0.95), tmp_path / "out", steps=2)
    assert "% of the pixels of" in " ".join(capfd.readouterr().out.split())


def test_a_camera_that_stands_still(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    trainer = train_on(write(tmp_path, camera_step=(0.0, 0.0, 0.0)), tmp_path / "out", steps=20)
    assert "there is no parallax, so depth is a guess" in " ".join(capfd.readouterr().out.split())
    assert trainer.pipeline.get_average_eval_image_metrics()["static_psnr"] > 10


def test_two_frames(tmp_path: Path) -> None:
    root = write(tmp_path, frames=2)
    with pytest.raises(
        EmptySplitError, match="of 2 frames none is left to evaluate on; change --eval-interval"
    ):
        train_on(root, tmp_path / "out", steps=2)


def test_without_depth_it_starts_on_points_whose_staticness_the_views_tell(tmp_path: Path) -> None:
    truth = CardClip(frames=12, width=48, height=36)
    root = truth.write(tmp_path / "cards", "frames cameras masks").root
    trainer = train_on(root, tmp_path / "out", steps=2)
    assert len(trainer.pipeline.model.scene) > 50


def test_looks_that_do_not_rise(tmp_path: Path) -> None:
    root = write(tmp_path)
    for looks in ((0.5, 0.3), (0.0, 0.5), (1.0,)):
        with pytest.raises(UserError, match="pipeline.model.looks must be parts"):
            train_on(root, tmp_path / "out", steps=2, looks=looks)


def test_a_report_names_no_masks_where_there_are_none(tmp_path: Path) -> None:
    root = CardClip(frames=12, width=48, height=36).write(tmp_path / "cards", "frames cameras depth").root
    figures = train_on(root, tmp_path / "out", steps=2).pipeline.get_average_eval_image_metrics()
    assert figures["mask_source"] == figures["regions_by"] == "none"
    assert "static_psnr" not in figures
