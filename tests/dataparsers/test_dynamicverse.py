"""Processed clips as a dataset: our tree, and DynamicVerse's."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dyn3d_ns.dataparsers.dynamicverse import DynamicVerseDataParser, DynamicVerseDataParserConfig
from dyn3d_ns.io.clip.folder import ClipFolder
from dyn3d_ns.io.errors import DamagedFileError, DatasetError, EmptySplitError, MissingFileError
from dyn3d_ns.io.footage.clip import ClipFootage
from dyn3d_ns.io.scene_metadata import scene_of
from dyn3d_ns.video.fuse.settings import FuseSettings
from dyn3d_ns.video.fuse.stage import FuseStage
from tests.video.cards import CardClip, QuietReport


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> tuple[CardClip, Path]:
    truth = CardClip(frames=12)
    workspace = truth.write(tmp_path_factory.mktemp("clip") / "cards")
    FuseStage(FuseSettings(ply=False)).run(workspace, QuietReport())
    return truth, workspace.root


def parser(root: Path, **settings) -> DynamicVerseDataParser:
    return DynamicVerseDataParserConfig(data=root, **settings).setup()


def project(outputs, i: int, points: np.ndarray) -> np.ndarray:
    """Return pixels (centres at +0.5) of world points in an output camera."""
    camera = outputs.cameras[i]
    pose = camera.camera_to_worlds.numpy().astype(np.float64)
    seen = (points - pose[:, 3]) @ pose[:, :3] * [1, -1, -1]
    focal = np.array([camera.fx.item(), camera.fy.item()])
    return seen[:, :2] / seen[:, 2:] * focal + np.array([camera.cx.item(), camera.cy.item()])


def test_every_frame_is_in_one_split(clip: tuple[CardClip, Path]) -> None:
    _, root = clip
    train, test = (parser(root).get_dataparser_outputs(split) for split in ("train", "test"))
    assert [path.stem for path in test.image_filenames] == ["00004"]
    assert len(train.image_filenames) == 11
    assert train.cameras.times.flatten().tolist()[-1] == pytest.approx(1)
    assert test.cameras.times.item() == pytest.approx(4 / 11)
    timeline = scene_of(train.metadata).timeline
    assert timeline.fps == 10
    assert timeline.num_frames == 11, "the held-out moment is no frame of the recording"
    assert not np.isclose(timeline.frame_times, 4 / 11).any()
    assert [path.stem for path in train.image_filenames] == [f"{i:05d}" for i in (0, 1, 2, 3, *range(5, 12))]


def test_the_future_is_held_out(clip: tuple[CardClip, Path]) -> None:
    _, root = clip
    outputs = parser(root, t_obs=0.6, eval_interval=0).get_dataparser_outputs("test")
    assert scene_of(outputs.metadata).splits == ["future"] * 5
    assert scene_of(outputs.metadata).timeline.t_obs == pytest.approx(0.6)
    assert scene_of(outputs.metadata).timeline.has_future
    train = parser(root, t_obs=0.6, eval_interval=0).get_dataparser_outputs("train")
    assert float(train.cameras.times.max()) <= 0.6


def test_cameras_see_the_points_where_they_are(clip: tuple[CardClip, Path]) -> None:
    """World points, moved as the dataparser says, fall on the pixels that they were lifted from."""
    truth, root = clip
    outputs = parser(root).get_dataparser_outputs("train")
    transform, scale = outputs.dataparser_transform.numpy().astype(np.float64), outputs.dataparser_scale
    points = np.array([[0.3, 0.2, 6.0], [-0.9, 0.5, 3.0]])
    moved = (points @ transform[:, :3].T + transform[:, 3]) * scale
    for i, frame in ((0, 0), (8, 9)):
        seen = (points - truth.poses[frame, :3, 3]) @ truth.K.T
        assert project(outputs, i, moved) == pytest.approx(seen[:, :2] / seen[:, 2:] + 0.5, abs=1e-3)


def test_orientation_and_scale(clip: tuple[CardClip, Path]) -> None:
    _, root = clip
    outputs = parser(root).get_dataparser_outputs("train")
    assert outputs.cameras.camera_to_worlds[:, :, 1].mean(0).tolist() == pytest.approx([0, 0, 1], abs=1e-5)
    distance = (outputs.metadata["points3D_xyz"] - outputs.cameras.camera_to_worlds[0, :, 3]).norm(dim=1)
    assert float(distance.median()) == pytest.approx(2, rel=0.02)
    plain = parser(root, orient=False, auto_scale=False).get_dataparser_outputs("train")
    assert plain.dataparser_scale == 1
    assert plain.cameras.camera_to_worlds[0, :, :3].tolist() == [[1, 0, 0], [0, -1, 0], [0, 0, -1]]
    low, high = plain.scene_box.aabb
    assert bool((low < high).all())


def test_points_have_what_moves_at_the_middle(clip: tuple[CardClip, Path]) -> None:
    truth, root = clip
    outputs = parser(root, orient=False, auto_scale=False).get_dataparser_outputs("train")
    xyz = outputs.metadata["points3D_xyz"] - outputs.dataparser_transform[:, 3]
    near = xyz[(xyz[:, 2] - 4).abs() < 0.01]
    middle = truth.cards[2].center[1] + 6 * truth.cards[2].step[1]
    assert float(near[:, 1].mean()) == pytest.approx(middle, abs=0.05)
    assert outputs.metadata["points3D_rgb"].dtype == torch.uint8
    few = parser(root, max_points=10).get_dataparser_outputs("train")
    assert len(few.metadata["points3D_xyz"]) == 10
    none = parser(root, load_points=False).get_dataparser_outputs("train")
    assert "points3D_xyz" not in none.metadata


def test_side_files(clip: tuple[CardClip, Path]) -> None:
    truth, root = clip
    folder = ClipFolder(root)
    assert np.array_equal(folder.labels(3), truth.labels[3])
    assert folder.depth(3) == pytest.approx(truth.depths[3])
    assert folder.flow(3, 4).flow == pytest.approx(truth.flow(3, 4).flow, abs=0.02)
    assert folder.tracks().xy.shape == truth.tracks().xy.shape
    assert folder.fused() is not None


def dynamicverse_tree(root: Path, truth: CardClip) -> Path:
    """Write a scene as DynamicVerse does: numbers from 1, colour masks, disparities, arrays of arrays."""
    folder = root / "dynamicBA" / "exp"
    for name in ("rgb", "qwen/Annotations", "dynamicBA/exp"):
        (root / name).mkdir(parents=True)
    suffix = "_simple_flow_opt_1.0_1e-4"
    points, colors = np.empty(truth.num_frames, object), np.empty(truth.num_frames, object)
    for i in range(truth.num_frames):
        Image.fromarray(truth.images[i]).save(root / "rgb" / f"{i + 1:05d}.jpg")
        mask = np.where((truth.labels[i] > 0)[..., None], np.array([141, 211, 199]), 0).astype(np.uint8)
        Image.fromarray(mask).save(root / "qwen/Annotations" / f"frame_{i + 1:05d}.png")
        np.savez(
            folder / f"{i:04d}{suffix}.npz",
            disp=1 / truth.depths[i],
            img=truth.images[i],
            R=truth.poses[i, :3, :3],
            t=truth.poses[i, :3, 3],
            K=truth.K,
        )
        points[i], colors[i] = np.full((2, 3), i + 4.0), np.full((2, 3), 90.0)
    np.savez(
        folder / f"fused_4d{suffix}.npz",
        static_points=np.random.default_rng(0).normal(size=(50, 3)) + [0, 0, 6],
        static_rgbs=np.full((50, 3), 128.0),
        dyn_points=points,
        dyn_rgbs=colors,
        c2w=truth.poses,
        rgbs=np.stack(truth.images),
        Ks=np.tile(truth.K, (truth.num_frames, 1, 1)),
    )
    return root


def test_a_scene_of_dynamicverse(tmp_path: Path) -> None:
    truth = CardClip(frames=6)
    root = dynamicverse_tree(tmp_path / "scene", truth)
    settings = {"eval_interval": 3, "orient": False, "auto_scale": False}
    outputs = parser(root, **settings).get_dataparser_outputs("train")
    assert len(outputs.image_filenames) == 4
    assert outputs.cameras.cx[0].item() == pytest.approx(64)
    assert outputs.metadata["points3D_xyz"].shape == (52, 3)
    folder = ClipFolder(root)
    assert folder.depth(2) == pytest.approx(truth.depths[2], rel=1e-4)
    assert set(np.unique(folder.labels(2))) == {0, 141 + 256 * 211 + 65536 * 199}
    assert folder.times[1] is None
    # The newer layout: all poses in one file.
    np.savez(
        root / "dynamicBA/exp/poses_x.npz", poses=truth.poses + 0, intrinsics=np.tile(truth.K, (6, 1, 1))
    )
    assert np.allclose(ClipFolder(root).cameras().camera_to_worlds, truth.poses)


def write_frames(root: Path, truth: CardClip) -> Path:
    return truth.write(root, "frames cameras").root


@pytest.mark.parametrize(
    ("break_it", "error", "message"),
    [
        (lambda r: [p.unlink() for p in (r / "rgb").iterdir()], MissingFileError, "no frames in rgb"),
        (lambda r: (r / "rgb/00002.png").unlink(), DamagedFileError, "must hold 3 increasing times"),
        (lambda r: (r / "clip.json").write_text("{"), DamagedFileError, "not a clip's description"),
        (lambda r: (r / "cameras/poses.npz").unlink(), MissingFileError, "has no cameras"),
        (lambda r: (r / "cameras/poses.npz").write_bytes(b"x"), DamagedFileError, "not a readable .npz"),
        (
            lambda r: np.savez(r / "cameras/poses.npz", poses=np.zeros((2, 4, 4)), intrinsics=np.eye(3)),
            DatasetError,
            "has 4 frames, but poses",
        ),
        (
            lambda r: np.savez(
                r / "cameras/poses.npz", poses=np.full((4, 4, 4), np.nan), intrinsics=np.eye(3)
            ),
            DatasetError,
            "not finite",
        ),
    ],
)
def test_damage_is_named(tmp_path: Path, break_it, error: type[Exception], message: str) -> None:
    root = write_frames(tmp_path / "clip", CardClip(frames=4))
    break_it(root)
    with pytest.raises(error, match=message):
        parser(root, eval_interval=2).get_dataparser_outputs("train")


def test_settings_that_leave_nothing(tmp_path: Path) -> None:
    root = write_frames(tmp_path / "clip", CardClip(frames=4))
    with pytest.raises(EmptySplitError, match="none is left to evaluate on"):
        parser(root, eval_interval=0).get_dataparser_outputs("train")
    with pytest.raises(DatasetError, match="at least 2, got 1"):
        parser(root, eval_interval=1).get_dataparser_outputs("train")
    with pytest.raises(DatasetError, match="is not a folder"):
        parser(tmp_path / "nothing").get_dataparser_outputs("train")


def test_masks_must_be_one_a_frame(tmp_path: Path) -> None:
    root = CardClip(frames=4).write(tmp_path / "clip", "frames cameras masks").root
    (root / "segmentation/label/00001.png").unlink()
    with pytest.raises(DatasetError, match="holds 3 files, but there are 4 frames"):
        _ = ClipFootage(root).names


def test_names_of_objects(tmp_path: Path) -> None:
    root = write_frames(tmp_path / "clip", CardClip(frames=4))
    assert ClipFolder(root).instance_names == {}
    (root / "segmentation").mkdir()
    (root / "segmentation/instance_labels.json").write_text(json.dumps({"1": "moving object 1"}))
    assert ClipFolder(root).instance_names == {1: "moving object 1"}
    (root / "analysis").mkdir()
    (root / "analysis/instance_names.json").write_text(json.dumps({"1": "brown dog"}))
    assert ClipFolder(root).instance_names == {1: "brown dog"}
