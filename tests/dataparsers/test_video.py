"""Videos of other tools as a dataset, told apart by what their folder holds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from footage_files import check_outputs, save, write_colmap, write_das3r, write_transforms

from dyn3d_ns.dataparsers.video import VideoDataParserConfig
from dyn3d_ns.io.errors import DatasetError, EmptySplitError
from dyn3d_ns.io.scene_metadata import scene_of
from tests.video.cards import CardClip

WRITERS = {
    "das3r": lambda root, truth: write_das3r(root, truth, rearranged=False),
    "rearranged": lambda root, truth: write_das3r(root, truth, rearranged=True),
    "colmap": write_colmap,
    "transforms": write_transforms,
}


@pytest.fixture(scope="module")
def truth() -> CardClip:
    return CardClip(frames=11)


@pytest.mark.parametrize("layout", WRITERS)
def test_cameras_see_the_points_where_they_are(tmp_path: Path, truth: CardClip, layout: str) -> None:
    parser = VideoDataParserConfig(data=WRITERS[layout](tmp_path, truth), longer_side=64).setup()
    train, test = (parser.get_dataparser_outputs(split) for split in ("train", "test"))
    check_outputs(train, truth, [0, 1, 2, 3, 4, 6, 7, 8, 9, 10])
    check_outputs(test, truth, [5])
    assert train.cameras.width[0] == 64
    scene = scene_of(train.metadata)
    assert {"dynamic_mask", "motion"} <= scene.priors.names
    assert (scene.points is not None) == (layout in ("colmap", "transforms"))


def test_without_points_depth_tells_the_scale(tmp_path: Path, truth: CardClip) -> None:
    parser = VideoDataParserConfig(data=write_das3r(tmp_path, truth, rearranged=True)).setup()
    outputs = parser.get_dataparser_outputs("train")
    depth = scene_of(outputs.metadata).priors.depth(0)
    assert float(np.median(depth[depth > 0])) == pytest.approx(2, rel=0.01)
    center = outputs.cameras.camera_to_worlds[0, :, 3]
    assert float(center.norm()) == pytest.approx(2, rel=0.01), "what it looks at is the origin"


def test_two_frames(tmp_path: Path) -> None:
    two = CardClip(frames=2)
    root = write_transforms(tmp_path, two)
    with pytest.raises(EmptySplitError, match="none is left to evaluate on"):
        VideoDataParserConfig(data=root).setup().get_dataparser_outputs("train")
    outputs = (
        VideoDataParserConfig(data=root, t_obs=0.5, eval_interval=0).setup().get_dataparser_outputs("train")
    )
    check_outputs(outputs, two, [0])


def test_faults_come_before_training(tmp_path: Path, truth: CardClip) -> None:
    root = write_colmap(tmp_path, truth)
    for path in (root / "masks").iterdir():
        save(np.zeros((96, 96), np.uint8), path)
    with pytest.raises(DatasetError, match="another proportion"):
        VideoDataParserConfig(data=root).setup().get_dataparser_outputs("train")
    with pytest.raises(DatasetError, match="is not a folder"):
        VideoDataParserConfig(data=tmp_path / "nothing").setup().get_dataparser_outputs("train")
