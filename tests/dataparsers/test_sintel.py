"""MPI Sintel as a dataset."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from footage_files import check_outputs, write_sintel

from dyn3d_ns.dataparsers.sintel import SintelDataParserConfig
from dyn3d_ns.io.scene_metadata import scene_of
from tests.video.cards import CardClip


def test_a_sequence(tmp_path: Path) -> None:
    truth = CardClip(frames=8)
    root = write_sintel(tmp_path, truth)
    outputs = SintelDataParserConfig(data=root).setup().get_dataparser_outputs("train")
    check_outputs(outputs, truth, [0, 1, 2, 3, 4, 6, 7])
    scene = scene_of(outputs.metadata)
    assert scene.priors.names == {"dynamic_mask", "motion", "depth", "disparity", "flow"}
    assert [scene.priors.has_true_mask(i) for i in (5, 6)] == [True, False]
    assert scene.true_poses is not None


def test_estimated_cameras_are_measured_by_the_true_ones(tmp_path: Path) -> None:
    truth = CardClip(frames=8)
    root = write_sintel(tmp_path, truth)
    truth.write(root / "dyn3d/final/alley_1")
    settings = {"data": root, "orient": False, "auto_scale": False}
    outputs = SintelDataParserConfig(**settings, cameras="estimated").setup().get_dataparser_outputs("train")
    scene = scene_of(outputs.metadata)
    assert scene.priors.camera_source == "dyn3d process"
    true = SintelDataParserConfig(**settings).setup().get_dataparser_outputs("train")
    assert scene.true_poses is not None
    relative = np.linalg.inv(scene.true_poses[0].numpy()) @ scene.true_poses[1].numpy()
    poses = np.tile(np.eye(4), (2, 1, 1))
    for given in (outputs, true):
        poses[:, :3] = given.cameras.camera_to_worlds[:2].numpy()
        assert np.allclose(np.linalg.inv(poses[0]) @ poses[1], relative, atol=1e-5)
    assert not np.allclose(outputs.cameras.camera_to_worlds[0], scene.true_poses[0, :3]), (
        "in a world of their own"
    )


def test_our_rendered_clip(shared_data: Path) -> None:
    parser = SintelDataParserConfig(data=shared_data / "walk").setup()
    outputs = parser.get_dataparser_outputs("test")
    assert [path.stem for path in outputs.image_filenames] == [f"frame_{i:04d}" for i in (6, 16, 26, 36)]
    priors = scene_of(outputs.metadata).priors
    assert priors.truths == {"cameras", "dynamic_mask", "clean"}
    assert outputs.cameras.cx[0].item() == pytest.approx(136)
    depth = priors.depth(0)
    assert float(np.median(depth[depth > 0])) == pytest.approx(2, rel=0.3)
    assert priors.clean(0).shape == (152, 272, 3)
