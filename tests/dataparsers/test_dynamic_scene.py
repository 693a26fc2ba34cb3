"""`dynamic-scene-data`: splits, cameras, worlds, priors and masks of one scene and of several."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dyn3d_ns.data.rays import RayDataManagerConfig
from dyn3d_ns.dataparsers.dynamic_scene import DynamicSceneDataParser, DynamicSceneDataParserConfig
from dyn3d_ns.engine.method import DynamicMethodConfig
from dyn3d_ns.engine.pipeline import DynamicPipelineConfig
from dyn3d_ns.io.dynamic_scene.llff import LlffScene
from dyn3d_ns.io.errors import DamagedFileError, DatasetError
from dyn3d_ns.io.scene_metadata import SceneMetadata, scene_of
from tests.dynamic_scene_files import DISC, WALL, ToyScene
from tests.engine.test_pipeline import Gray

TOY = ToyScene()


def parser(data: Path, **options: Any) -> DynamicSceneDataParser:
    return DynamicSceneDataParserConfig(data=data, **options).setup()


def scene(found: DynamicSceneDataParser, split: str = "train") -> SceneMetadata:
    return scene_of(found.get_dataparser_outputs(split).metadata)


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return TOY.write(tmp_path_factory.mktemp("scenes") / "Toy")


@pytest.fixture
def own(toy: Path, tmp_path: Path) -> Path:
    """Return a copy that a test may change."""
    return Path(shutil.copytree(toy, tmp_path / "Toy", ignore=shutil.ignore_patterns("dyn3d")))


def test_all_frames_train_and_views_are_told_apart(toy: Path) -> None:
    found = parser(toy)
    train, val = found.get_dataparser_outputs("train"), found.get_dataparser_outputs("val")
    times = train.cameras.times
    assert times is not None and times.flatten().tolist() == pytest.approx(np.linspace(0, 1, 6).tolist())
    assert [path.name for path in train.image_filenames] == [f"{i:03d}.png" for i in range(6)]
    assert scene(found).splits == ["train"] * 6 and scene(found).scene_ids is None
    evaluated = scene_of(val.metadata)
    assert Counter(evaluated.source_files) == {"Toy_train": 6, "Toy_interp": 30}
    for path, split, camera in zip(
        val.image_filenames, evaluated.splits, evaluated.camera_ids.tolist(), strict=True
    ):
        moment, place = int(path.parent.name) - 1, int(path.stem[3:]) - 1
        assert camera == place and (split == "train") == (moment == place)
    assert scene(found, "test").splits == evaluated.splits
    # The camera of a view is the place of the frame with its number, at the view's time.
    k = val.image_filenames.index(toy / "multiview_GT/00000002/cam05.jpg")
    torch.testing.assert_close(val.cameras.camera_to_worlds[k], train.cameras.camera_to_worlds[4])
    assert val.cameras.times is not None and float(val.cameras.times[k]) == pytest.approx(0.2)


def test_the_world_is_recentred_and_nothing_lies_nearer_than_one(toy: Path) -> None:
    found = parser(toy)
    outputs = found.get_dataparser_outputs("train")
    scale = 1 / (0.9 * DISC)
    assert outputs.dataparser_scale == pytest.approx(scale)
    assert scene(found).depth_bounds == pytest.approx((DISC * scale, WALL * scale))
    poses = outputs.cameras.camera_to_worlds
    torch.testing.assert_close(poses[:, :, 3].mean(0), torch.zeros(3), atol=1e-6, rtol=0)
    middle = np.mean([TOY.position(i) for i in range(6)], axis=0)
    torch.testing.assert_close(
        poses[0, :, 3], torch.tensor((TOY.position(0) - middle) * scale).float(), atol=1e-6, rtol=0
    )
    torch.testing.assert_close(poses[2, :, :3], torch.eye(3), atol=1e-6, rtol=0)
    to = outputs.dataparser_transform
    torch.testing.assert_close((to[:, :3] @ torch.tensor(middle).float()) + to[:, 3], torch.zeros(3))
    places = torch.tensor([[0.0, 0.0, -WALL * scale], [0.0, 0.0, -1.2]])
    assert bool((places >= outputs.scene_box.aabb[0]).all() and (places <= outputs.scene_box.aabb[1]).all())


def test_images_are_shrunk_with_their_cameras_and_maps(toy: Path) -> None:
    outputs = parser(toy, factor=2).get_dataparser_outputs("train")
    camera = outputs.cameras[0]
    assert (int(camera.width), int(camera.height)) == (48, 27)
    assert (float(camera.fx), float(camera.cx), float(camera.cy)) == (40.0, 24.0, 13.5)
    whole = parser(toy).get_dataparser_outputs("train").cameras[0]
    assert int(whole.width) == 96, "no image is larger than 512 pixels, so that none is shrunk"
    with pytest.raises(DatasetError, match="factor must lie between 1"):
        parser(toy, factor=-1).get_dataparser_outputs("train")


def test_the_least_factor_brings_images_to_512_pixels(tmp_path: Path) -> None:
    large = ToyScene(frames=2, width=1026, height=8).write(tmp_path / "Large", "")
    outputs = parser(large).get_dataparser_outputs("train")
    assert int(outputs.cameras.width[0]) == 342
    assert int(parser(large, factor=1).get_dataparser_outputs("train").cameras.width[0]) == 1026


def test_one_camera_at_all_times(toy: Path) -> None:
    found = scene(parser(toy, protocol="fixed"), "val")
    assert found.camera_ids.tolist() == [0] * 6
    assert found.splits == ["train"] + ["interp"] * 5


def test_frames_that_do_not_train_are_unseen(toy: Path) -> None:
    found = parser(toy, train_frames="0:2")
    assert scene(found).splits == ["train"] * 2 + ["unseen"] * 4
    assert Counter(scene(found, "val").source_files) == {"Toy_train": 2, "Toy_interp": 10, "Toy_unseen": 24}
    with pytest.raises(DatasetError, match="takes a range of frames counted from 0, such as 0:5"):
        parser(toy, train_frames="five").get_dataparser_outputs("train")
    with pytest.raises(DatasetError, match="9:12 leaves no frame of 6"):
        parser(toy, train_frames="9:12").get_dataparser_outputs("train")


def test_splits_are_written_and_read(toy: Path, tmp_path: Path) -> None:
    path = tmp_path / "splits.json"
    first = parser(toy, train_frames="0:4", protocol="fixed", splits=path)
    written = scene(first, "val")
    content = json.loads(path.read_text())
    assert content["scenes"]["Toy"]["train"] == [0, 1, 2, 3]
    assert content["scenes"]["Toy"]["evaluation"]["unseen"] == [[4, 0], [5, 0]]
    again = scene(parser(toy, splits=path), "val")
    assert again.splits == written.splits and again.camera_ids.tolist() == [0] * 6
    assert scene(parser(toy, splits=path)).splits == ["train"] * 4 + ["unseen"] * 2
    assert scene(parser(toy, splits=path, train_frames="0:4")).splits == ["train"] * 4 + ["unseen"] * 2
    with pytest.raises(DatasetError, match="leave one of the two out"):
        parser(toy, splits=path, train_frames="0:3").get_dataparser_outputs("train")
    blocked = tmp_path / "file"
    blocked.touch()
    with pytest.raises(DatasetError, match="cannot be written"):
        parser(toy, splits=blocked / "splits.json").get_dataparser_outputs("train")
    content["scenes"]["Toy"]["evaluation"]["interp"] = [[9, 0]]
    path.write_text(json.dumps(content))
    with pytest.raises(DatasetError, match="no image of time 9 and camera 0"):
        parser(toy, splits=path).get_dataparser_outputs("train")
    path.write_text(json.dumps({"scenes": {"Other": {}}}))
    with pytest.raises(DatasetError, match="no splits of Toy, only of Other"):
        parser(toy, splits=path).get_dataparser_outputs("train")
    path.write_text("{")
    with pytest.raises(DamagedFileError, match="not readable JSON"):
        parser(toy, splits=path).get_dataparser_outputs("train")


def test_priors_of_the_files(toy: Path) -> None:
    """Flow both ways, masks, and depth in scene units though disparity is relative and of half the size."""
    manager = RayDataManagerConfig(
        data=toy,
        dataparser=DynamicSceneDataParserConfig(),
        priors=("dynamic_mask", "flow", "flow_back", "depth", "disparity"),
        rays_per_batch=240,
    ).setup(device="cpu", test_mode="val")
    _, batch = manager.next_train(0)
    scale = 1 / (0.9 * DISC)
    for k in range(0, 240, 7):
        image, row, column = batch["indices"][k].tolist()
        for name, step in (("flow", 1), ("flow_back", -1)):
            to = image + step
            if not 0 <= to < 6:
                assert int(batch[f"{name}_to"][k]) == -1 and not bool(batch[f"{name}_valid"][k])
                continue
            flow, valid = TOY.flow(image, to)
            np.testing.assert_allclose(batch[name][k].numpy(), flow[row, column], atol=1e-4)
            assert bool(batch[f"{name}_valid"][k]) == bool(valid[row, column])
            assert int(batch[f"{name}_to"][k]) == to
        depth = TOY.look(image, image)[1]
        assert bool(batch["dynamic_mask"][k]) == bool(depth[row, column] == DISC)
        # Disparity has half the size: at the disc's rim it is that of the neighbour.
        near = depth[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]
        if np.ptp(near) == 0:
            assert float(batch["depth"][k]) == pytest.approx(depth[row, column] * scale, rel=0.02)
            assert float(batch["disparity"][k] * batch["depth"][k]) == pytest.approx(1)


def test_evaluation_images_come_with_what_moves(toy: Path) -> None:
    """Without any option: from the files for training views, from the camera's median for the others."""
    manager = RayDataManagerConfig(data=toy, dataparser=DynamicSceneDataParserConfig()).setup(
        device="cpu", test_mode="val"
    )
    overlap = union = 0
    for k, path in enumerate(manager.eval_dataset.image_filenames):
        moment, place = int(path.parent.name) - 1, int(path.stem[3:]) - 1
        _, batch = manager.eval_item(k)
        assert batch["image"].shape == (54, 96, 3), "views are shrunk to the size of training"
        mask, true = batch["dynamic_mask"][..., 0].numpy(), TOY.look(place, moment)[1] == DISC
        if moment == place:
            np.testing.assert_array_equal(mask, true)
        overlap, union = overlap + (mask & true).sum(), union + (mask | true).sum()
    assert overlap / union > 0.75


def test_points_of_colmap_come_along(own: Path) -> None:
    """In the scene's world: the model and the poses share theirs."""
    (own / "sparse/0").mkdir(parents=True)
    (own / "sparse/0/cameras.txt").write_text("1 PINHOLE 96 54 80 80 48 27\n")
    (own / "sparse/0/images.txt").write_text("1 1 0 0 0 0 0 0 1 000.png\n\n")
    (own / "sparse/0/points3D.txt").write_text("1 0.5 0.25 -4 10 20 30 0.1\n")
    found = parser(own)
    outputs = found.get_dataparser_outputs("train")
    points = scene(found).points
    assert points is not None and points.rgb.tolist() == [[10, 20, 30]]
    to = outputs.dataparser_transform
    expected = (to[:, :3] @ torch.tensor([0.5, 0.25, -4.0]) + to[:, 3]) * outputs.dataparser_scale
    torch.testing.assert_close(points.xyz[0], expected)


def test_evaluation_reports_scenes_splits_and_what_moves(toy: Path, tmp_path: Path) -> None:
    other = ToyScene(frames=4, width=64, height=40).write(tmp_path / "Other")
    config = DynamicSceneDataParserConfig(train_frames="0:2", scenes=(str(other),))
    pipeline = DynamicPipelineConfig(
        datamanager=RayDataManagerConfig(data=toy, dataparser=config),
        model=DynamicMethodConfig(_target=Gray),
    ).setup(device="cpu", test_mode="test")
    figures = pipeline.get_average_eval_image_metrics()
    for group, count in (("interp", 16), ("Toy_interp", 10), ("Other_unseen", 8), ("Other_train", 2)):
        assert figures[f"{group}_images"] == count
        assert {
            f"{group}_{name}" for name in ("psnr", "ssim", "dynamic_psnr", "static_psnr")
        } <= figures.keys()
    assert figures["per_frame"][0]["file"] == "multiview_GT/00000001/cam01.jpg"


def test_several_scenes_keep_worlds_and_names(toy: Path, tmp_path: Path) -> None:
    other = ToyScene(frames=4, width=64, height=40).write(tmp_path / "Other")
    root = tmp_path / "root"
    root.mkdir()
    (root / "Toy").symlink_to(toy)
    (root / "Other").symlink_to(other)
    (root / "notes").mkdir()
    with pytest.raises(DatasetError, match="holds 2 scenes; say which with --scenes: Other Toy"):
        parser(root).get_dataparser_outputs("train")
    both = parser(root, scenes=("Toy", "Other"))
    found = scene(both)
    assert found.scene_names == ("Toy", "Other")
    assert found.scene_ids is not None and found.scene_ids.tolist() == [0] * 6 + [1] * 4
    assert Counter(scene(both, "val").source_files) == {
        "Toy_train": 6, "Toy_interp": 30, "Other_train": 4, "Other_interp": 12
    }  # fmt: skip
    cameras = both.get_dataparser_outputs("train").cameras
    assert cameras.width[:, 0].tolist() == [96] * 6 + [64] * 4
    alone = parser(other).get_dataparser_outputs("train")
    torch.testing.assert_close(cameras.camera_to_worlds[6:], alone.cameras.camera_to_worlds)
    assert found.depth_bounds == scene(parser(toy)).depth_bounds
    assert found.priors.flow_back(7) is not None and found.priors.flow_back(6) is None
    assert found.priors.flow(6).to == 7  # type: ignore[union-attr]
    assert scene(parser(toy, scenes=(str(other),))).scene_names == ("Toy", "Other")
    assert scene(parser(root, scenes=("Other",))).scene_ids is None
    with pytest.raises(DatasetError, match="--scenes Third: neither .*Third nor Third is a scene"):
        parser(root, scenes=("Third",)).get_dataparser_outputs("train")
    with pytest.raises(DatasetError, match="is no scene and holds none"):
        parser(root / "notes").get_dataparser_outputs("train")


def test_without_other_views_the_frames_are_evaluated(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(own / "multiview_GT")
    found = parser(own)
    assert scene(found, "val").source_files == ["Toy_train"] * 6
    assert scene(found, "test").splits == ["train"] * 6
    assert capsys.readouterr().err.count("no held-out views") == 1


@pytest.mark.parametrize("place", ["gt", "../gt/Toy", "../results/gt/Toy"])
def test_views_of_the_first_camera_as_dynamicnerf_has_them(own: Path, place: str) -> None:
    shutil.rmtree(own / "multiview_GT")
    for t in range(6):
        path = own / place / f"v000_t{t:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(TOY.look(0, t)[0]).save(path)
    found = parser(own).get_dataparser_outputs("val")
    assert scene_of(found.metadata).splits == ["train"] + ["interp"] * 5
    first = parser(own).get_dataparser_outputs("train").cameras.camera_to_worlds[0]
    torch.testing.assert_close(found.cameras.camera_to_worlds, first.expand(6, 3, 4))


def test_eleven_frames_of_twelve_poses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = TOY.write(tmp_path / "Toy", "")
    (root / "images/005.png").unlink()
    (root / "images_2").mkdir()
    Image.new("RGB", (4, 4)).save(root / "images_2/000.png")
    outputs = parser(root).get_dataparser_outputs("train")
    assert len(outputs.image_filenames) == 5 and "5 frames, but 6 poses" in capsys.readouterr().err
    (root / "images/009.png").write_bytes((root / "images/004.png").read_bytes())
    (root / "images/010.png").write_bytes((root / "images/004.png").read_bytes())
    with pytest.raises(DatasetError, match="6 rows, but .*images holds 7 frames"):
        parser(root).get_dataparser_outputs("train")


def test_where_a_frame_is_missing_all_goes_by_numbers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = TOY.write(tmp_path / "Whole")
    root = Path(shutil.copytree(whole, tmp_path / "Toy"))
    (root / "images/002.png").unlink()
    files, all_files = LlffScene(root), LlffScene(whole)
    known = {view.image.relative_to(whole): view for view in all_files.views()}
    left = [view.image.relative_to(root) for view in files.views()]
    gone = {p for p in known if "00000003" in p.parts or p.stem == "cam03"}
    assert sorted(left) == sorted(set(known) - gone) and len(gone) == 11
    assert "11 views are of a time or camera whose frame is missing" in capsys.readouterr().err
    for view in files.views():
        there = known[view.image.relative_to(root)]
        np.testing.assert_array_equal(view.pose, there.pose)
        assert files.frames[view.frame].name == all_files.frames[there.frame].name
    # 001_fwd leads to the frame that is missing.
    assert files.flow(1, 2) is None and files.flow(2, 1) is None
    for i, j, of in ((0, 1, (0, 1)), (2, 3, (3, 4)), (3, 2, (4, 3))):
        flow, there = files.flow(i, j), all_files.flow(*of)
        assert flow is not None and there is not None
        np.testing.assert_array_equal(flow.flow, there.flow)
    assert files.has("flow") == [True, False, False, True, True]
    rows = np.load(root / "poses_bounds.npy")
    np.save(root / "poses_bounds.npy", np.delete(rows, 2, axis=0))
    with pytest.raises(DatasetError, match="frames are missing after 001.png, and their poses too"):
        LlffScene(root).views()


@pytest.mark.parametrize(
    "names",
    [
        [f"{10 * i:03d}" for i in range(6)],
        ["t0", "t33", "t67", "t100", "t133", "t167"],
        [f"v{i}_1" for i in range(6)],
    ],
    ids=["tens", "milliseconds", "one number"],
)
def test_frames_in_steps_miss_none(own: Path, names: list[str]) -> None:
    """Even steps, steps that are even but for rounding, and names whose last number is the same for all."""
    for folder, suffix in (("images", "png"), ("flow", "npz")):
        for path in (own / folder).glob(f"*.{suffix}"):
            number, *way = path.stem.split("_")
            path.rename(path.with_name(f"{'_'.join([f'new {names[int(number)]}', *way])}.{suffix}"))
    for name in ("motion_masks", "disp"):
        shutil.rmtree(own / name)
    assert len(LlffScene(own).views()) == 36 and all(LlffScene(own).has("flow"))
    (own / f"images/new {names[5]}.png").unlink()
    with pytest.raises(DatasetError, match="6 rows, but .* holds 5 frames"):
        LlffScene(own).views()


def test_a_view_of_a_camera_that_is_not_there(own: Path) -> None:
    source = own / "multiview_GT/00000001/cam01.jpg"
    shutil.copy(source, own / "multiview_GT/00000001/cam09.jpg")
    with pytest.raises(DatasetError, match="cam09.jpg is of time 0 and camera 8"):
        parser(own).get_dataparser_outputs("val")
