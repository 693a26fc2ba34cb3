"""DyCheck's iPhone layout: which camera trains, its conventions, and damaged files."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from dyn3d_ns.data.rays import RayDataManagerConfig
from dyn3d_ns.dataparsers.dynamic_scene import DynamicSceneDataParserConfig
from dyn3d_ns.io.dynamic_scene.dycheck import DyCheckScene
from dyn3d_ns.io.errors import DamagedFileError, DatasetError, MissingFileError, PoseError, UnsafePathError
from dyn3d_ns.io.scene_metadata import scene_of
from tests.dynamic_scene_files import DISC, WALL, ToyScene

TOY = ToyScene()


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return TOY.write_dycheck(tmp_path_factory.mktemp("captures") / "mochi")


@pytest.fixture
def own(capture: Path, tmp_path: Path) -> Path:
    """Return a copy that a test may damage."""
    return Path(shutil.copytree(capture, tmp_path / "mochi"))


def change(path: Path, **values: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_the_same_video_gives_the_same_cameras(capture: Path, tmp_path: Path) -> None:
    """In the layout of Dynamic Scene and in this one it has one world."""
    llff = DynamicSceneDataParserConfig(data=TOY.write(tmp_path / "Toy")).setup()
    phone = DynamicSceneDataParserConfig(data=capture).setup()
    one, other = llff.get_dataparser_outputs("train"), phone.get_dataparser_outputs("train")
    torch.testing.assert_close(one.cameras.camera_to_worlds, other.cameras.camera_to_worlds)
    for name in ("fx", "fy", "cx", "cy", "width", "height", "times"):
        torch.testing.assert_close(getattr(one.cameras, name), getattr(other.cameras, name))
    found = scene_of(other.metadata)
    assert found.depth_bounds == scene_of(one.metadata).depth_bounds
    assert found.timeline.fps == 30
    assert found.points is not None
    assert found.points.xyz[0, 2] == pytest.approx(-WALL / (0.9 * DISC))


def test_other_cameras_are_evaluated_with_what_moves(capture: Path) -> None:
    manager = RayDataManagerConfig(data=capture, dataparser=DynamicSceneDataParserConfig()).setup(
        device="cpu", test_mode="val"
    )
    found = scene_of(manager.eval_dataset.metadata)
    assert Counter(found.source_files) == {"mochi_interp": 6}
    train = manager.train_dataset.cameras
    overlap = union = 0
    for k in range(6):
        camera, batch = manager.eval_item(k)
        torch.testing.assert_close(camera.camera_to_worlds[0], train.camera_to_worlds[0])
        assert camera.times is not None and float(camera.times) == pytest.approx(k / 5)
        mask, true = batch["dynamic_mask"][..., 0].numpy(), TOY.look(0, k)[1] == DISC
        overlap, union = overlap + (mask & true).sum(), union + (mask | true).sum()
    assert overlap / union > 0.7


def test_lidar_depth_is_in_scene_units(capture: Path) -> None:
    found = scene_of(
        DynamicSceneDataParserConfig(data=capture).setup().get_dataparser_outputs("train").metadata
    )
    np.testing.assert_allclose(found.priors.depth(3), TOY.look(3, 3)[1] / (0.9 * DISC), rtol=1e-5)


def test_splits_and_gaps(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Lists in splits/ leave images out, whatever separators they have; times go by the moments."""
    (own / "splits").mkdir()
    (own / "covisible").mkdir()
    train = [f"0_{i:05d}" for i in (0, 1, 3, 5)]
    (own / "splits/train.json").write_text(json.dumps({"frame_names": train}))
    (own / "splits/val.json").write_text(json.dumps({"frame_names": ["1_00003", "1_00004"]}))
    found = DyCheckScene(own)
    assert found.times.tolist() == pytest.approx([0, 0.2, 0.6, 1])
    assert [(view.frame, view.camera) for view in found.views()] == [(2, 5)]
    told = capsys.readouterr().err
    assert "covisible/ is not read" in told and "1 held-out images are of no training moment" in told


def test_separators_of_windows(own: Path) -> None:
    (own / "rgb/1x/part").mkdir()
    (own / "camera/part").mkdir()
    for folder, suffix in (("rgb/1x", "png"), ("camera", "json")):
        (own / f"{folder}/0_00002.{suffix}").rename(own / f"{folder}/part/0_00002.{suffix}")
    for name in ("dataset", "metadata"):
        path = own / f"{name}.json"
        path.write_text(path.read_text().replace('"0_00002"', '"part\\\\0_00002"'))
    found = DyCheckScene(own)
    assert found.frames[2] == own / "rgb/1x/part/0_00002.png"
    np.testing.assert_allclose(found.cameras().camera_to_worlds[2, :3, 3], TOY.position(2))
    path.write_text(path.read_text().replace("part\\\\0_00002", "..\\\\0_00002"))
    (own / "dataset.json").write_text((own / "dataset.json").read_text().replace("part", ".."))
    with pytest.raises(UnsafePathError, match="leads out of the folder"):
        DyCheckScene(own)


def test_intrinsics_are_for_the_images_that_there_are(own: Path) -> None:
    """Cameras are of rgb/1x; where only smaller images are left, they follow."""
    from PIL import Image

    for path in (own / "rgb/1x").iterdir():
        Image.open(path).resize((48, 27)).save(path)
    (own / "rgb/1x").rename(own / "rgb/2x")
    outputs = DynamicSceneDataParserConfig(data=own).setup().get_dataparser_outputs("train")
    camera = outputs.cameras[0]
    assert [float(camera.fx), float(camera.cx), float(camera.cy)] == [40.0, 24.0, 13.5]


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        (lambda root: (root / "camera/0_00001.json").unlink(), MissingFileError, "0_00001.json does not"),
        (lambda root: (root / "rgb/1x/0_00001.png").unlink(), MissingFileError, "though dataset.json lists"),
        (lambda root: (root / "metadata.json").write_text("{}"), DamagedFileError, "warp_id and camera_id"),
        (lambda root: (root / "scene.json").write_text("["), DamagedFileError, "not readable JSON"),
        (lambda root: change(root / "scene.json", near=0), DamagedFileError, "0 < near < far"),
        (lambda root: change(root / "dataset.json", ids=["0_00000"]), DatasetError, "takes at least 2"),
        (
            lambda root: change(root / "camera/0_00001.json", orientation=np.ones((3, 3)).tolist()),
            PoseError,
            "is no rotation",
        ),
        (
            lambda root: change(root / "camera/0_00001.json", radial_distortion=[0.1, 0, 0]),
            DatasetError,
            "undistort the images first",
        ),
        (
            lambda root: change(root / "camera/0_00001.json", focal_length="wide"),
            DamagedFileError,
            "must hold focal_length",
        ),
    ],
)  # fmt: skip
def test_damage_is_named(own: Path, damage, error, message: str) -> None:
    damage(own)
    with pytest.raises(error, match=message):
        DynamicSceneDataParserConfig(data=own).setup().get_dataparser_outputs("train")
