"""Clips of `dyn3d process` and other footage as scenes, with and without what they may bring."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from dyn3d_ns.dataparsers.dynamic_scene import DynamicSceneDataParserConfig
from dyn3d_ns.io.scene_metadata import scene_of
from tests.dynamic_scene_files import ToyScene
from tests.video.cards import CardClip

CLIP = CardClip(frames=6)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return CLIP.write(tmp_path_factory.mktemp("clips") / "clip").root


def test_a_clip_brings_its_maps(clip: Path) -> None:
    found = DynamicSceneDataParserConfig(data=clip).setup()
    outputs = found.get_dataparser_outputs("train")
    scene = scene_of(outputs.metadata)
    assert len(scene.splits) == 6, "every frame trains, none is held out"
    assert scene_of(found.get_dataparser_outputs("val").metadata).source_files == ["clip_train"] * 6
    priors, scale = scene.priors, outputs.dataparser_scale
    np.testing.assert_allclose(priors.depth(2) / scale, CLIP.depths[2], rtol=1e-2)
    np.testing.assert_array_equal(priors.dynamic_mask(2), CLIP.labels[2] > 0)
    back = priors.flow_back(3)
    assert back is not None and back.to == 2
    np.testing.assert_allclose(back.flow, CLIP.flow(3, 2).flow, atol=0.05)
    assert scene.depth_bounds is not None and scene.depth_bounds[0] >= 1
    near = np.percentile(CLIP.depths[2], 5) * scale
    assert near == pytest.approx(1 / 0.9, rel=0.05)
    assert not (clip / "dyn3d").exists(), "nothing had to be made"


def test_frames_and_cameras_are_enough(clip: Path, tmp_path: Path) -> None:
    """Bounds, masks and depth come from the flow; they are those of the clip that has them."""
    bare = CLIP.write(tmp_path / "bare", "frames cameras").root
    outputs = DynamicSceneDataParserConfig(data=bare).setup().get_dataparser_outputs("train")
    whole = DynamicSceneDataParserConfig(data=clip).setup().get_dataparser_outputs("train")
    assert outputs.dataparser_scale == pytest.approx(whole.dataparser_scale, rel=0.15)
    priors = scene_of(outputs.metadata).priors
    inverse = 1 / np.where(priors.depth(2) > 0, priors.depth(2), np.inf) * outputs.dataparser_scale
    still = (CLIP.labels[2] == 0) & (priors.depth(2) > 0)
    assert np.median(np.abs(inverse * CLIP.depths[2] - 1)[still]) < 0.05
    assert sorted(path.name for path in (bare / "dyn3d").iterdir()) == [
        f"made-{kind}.npz" for kind in ("depth", "flow", "masks")
    ]


def test_scenes_of_other_layouts_go_together(clip: Path, tmp_path: Path) -> None:
    toy = ToyScene(frames=3).write(tmp_path / "Toy")
    phone = ToyScene(frames=4).write_dycheck(tmp_path / "phone")
    config = DynamicSceneDataParserConfig(data=clip, scenes=(str(toy), str(phone)))
    outputs = config.setup().get_dataparser_outputs("train")
    scene = scene_of(outputs.metadata)
    assert scene.scene_names == ("clip", "Toy", "phone")
    assert scene.scene_ids is not None and torch.bincount(scene.scene_ids).tolist() == [6, 3, 4]
    assert {"dynamic_mask", "flow", "flow_back", "depth", "disparity"} <= scene.priors.names
    assert all(len(scene.priors.depth(i).shape) == 2 for i in (0, 6, 9))
