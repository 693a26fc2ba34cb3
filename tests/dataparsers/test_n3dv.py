"""Recordings of several cameras as a dataset."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from recording_files import (
    FOCAL,
    HEIGHT,
    NEAR_FAR,
    WIDTH,
    Rig,
    write_3dgstream,
    write_camera_folders,
    write_videos,
)

from dyn3d_ns.data.datamanager import DynamicDataManager, DynamicDataManagerConfig
from dyn3d_ns.dataparsers import n3dv
from dyn3d_ns.dataparsers.n3dv import N3DVDataParserConfig
from dyn3d_ns.io.errors import DatasetError, EmptySplitError
from dyn3d_ns.io.frame_source import FrameSource
from dyn3d_ns.io.joined_scenes import join_scenes
from dyn3d_ns.io.recordings.pool import FramePool
from dyn3d_ns.io.scene_metadata import SceneMetadata, scene_of

RIG = Rig(frames=5)


@pytest.fixture(autouse=True)
def closed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Close what decodes ahead, so that nothing of it runs into the next test."""
    pools: list[FramePool] = []

    def make(*arguments) -> FramePool:
        pools.append(FramePool(*arguments))
        return pools[-1]

    monkeypatch.setattr(n3dv, "FramePool", make)
    yield
    for pool in pools:
        pool.close()


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a recording of three videos, five frames each."""
    return write_videos(tmp_path_factory.mktemp("recording"), RIG)


def outputs(data: Path, split: str = "train", **options):
    return N3DVDataParserConfig(data=data, **options).setup().get_dataparser_outputs(split)


def frames_of(scene: SceneMetadata) -> FrameSource:
    assert scene.frames is not None
    return scene.frames


def manager(data: Path, test_mode: str = "val", **options) -> DynamicDataManager:
    config = DynamicDataManagerConfig(data=data, dataparser=N3DVDataParserConfig(**options))
    return config.setup(device="cpu", test_mode=test_mode)


def test_images_moment_by_moment(recording: Path, tmp_path: Path) -> None:
    parser = N3DVDataParserConfig(data=recording, cache_dir=tmp_path).setup()
    found, scene = (train := parser.get_dataparser_outputs("train")), scene_of(train.metadata)
    assert found.cameras.times is not None
    np.testing.assert_allclose(found.cameras.times[:, 0], np.repeat(np.arange(5) / 4, 2), atol=1e-7)
    assert scene.camera_ids.tolist() == [1, 2] * 5 and scene.splits == ["train"] * 10
    assert (scene.timeline.num_frames, scene.timeline.fps, scene.timeline.has_future) == (5, 25.0, False)
    for i in range(10):
        camera, frame = 1 + i % 2, i // 2
        RIG.check(frames_of(scene).image(i), camera, frame)
        pose = found.cameras.camera_to_worlds[i].numpy()
        np.testing.assert_allclose(pose, (RIG.poses[camera] * [1, -1, -1, 1])[:3], atol=1e-6)
    assert (found.cameras.fx[0].item(), found.cameras.cy[0].item()) == (FOCAL, HEIGHT / 2)
    assert len(set(found.image_filenames)) == 10 and all(path.is_file() for path in found.image_filenames)
    held = parser.get_dataparser_outputs("val")
    test = scene_of(held.metadata)
    assert test.splits == ["interp"] * 5 and test.camera_ids.tolist() == [0] * 5
    RIG.check(frames_of(test).image(3), 0, 3)
    assert frames_of(test).latest() == 5


def test_a_point_lies_where_the_cameras_see_it(recording: Path, tmp_path: Path) -> None:
    """Worked out from OpenCV poses and LLFF's focal length, at half the size."""
    point = np.array([0.3, -0.2, 0.4])
    cameras = outputs(recording, scale=0.5, cache_dir=tmp_path).cameras
    for i, c in enumerate((1, 2)):
        seen = (point - RIG.poses[c, :3, 3]) @ RIG.poses[c, :3, :3]
        expected = 0.5 * (seen[:2] / seen[2] * FOCAL + [WIDTH / 2, HEIGHT / 2])
        pose = cameras.camera_to_worlds[i].numpy()
        x, y, z = (point - pose[:, 3]) @ pose[:, :3]
        found = [
            -x / z * cameras.fx[i].item() + cameras.cx[i].item(),
            y / z * cameras.fy[i].item() + cameras.cy[i].item(),
        ]
        np.testing.assert_allclose(found, expected, atol=1e-4)
    assert (int(cameras.width[0]), int(cameras.height[0])) == (WIDTH // 2, HEIGHT // 2)


def test_the_box_holds_what_the_cameras_see(recording: Path, tmp_path: Path) -> None:
    low, high = outputs(recording, cache_dir=tmp_path).scene_box.aabb.numpy()
    for pose in RIG.poses:
        for depth in NEAR_FAR:
            for x in (-0.5, 0.5):
                corner = pose[:3, 3] + pose[:3, :3] @ [x * WIDTH / FOCAL * depth, 0.0, depth]
                assert (low - 1e-5 <= corner).all() and (corner <= high + 1e-5).all()
    assert (high - low < 20).all()


def test_which_camera_and_which_frames(recording: Path, tmp_path: Path) -> None:
    options = {"cache_dir": tmp_path, "frame_start": 1, "frame_end": 4}
    for test, ids in (("cam10", [0, 1]), ("1", [0, 2]), (None, [1, 2])):
        found = scene_of(outputs(recording, test_camera=test, **options).metadata)
        assert found.camera_ids.tolist() == ids * 3
        RIG.check(frames_of(found).image(2), ids[0], 2)
    few = scene_of(outputs(recording, drop_cameras=("cam00",), cache_dir=tmp_path).metadata)
    RIG.check(frames_of(few).image(0), 2, 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"test_camera": "cam01"}, "no camera is named cam01"),
        ({"frame_end": 9}, "has 5 frames, --frame-end asks for 9"),
        ({"frame_start": 5}, "leave no frame of 5"),
        ({"frame_start": -1}, "leave no frame"),
        ({"scale": 3.0}, "--scale"),
        ({"follow": True}, "--follow takes folders of images"),
    ],
)
def test_options_that_cannot_be(recording: Path, options: dict, message: str) -> None:
    with pytest.raises((DatasetError, EmptySplitError), match=message):
        outputs(recording, **options)


def test_notes_are_said(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    RIG.write_video(write_videos(tmp_path, RIG) / "cam02.mp4", 1, frames=3)
    assert scene_of(outputs(tmp_path).metadata).timeline.num_frames == 3
    assert "cameras have 3 to 5 frames (cam02 fewer" in capsys.readouterr().err


def test_points_of_colmap_come_along(tmp_path: Path) -> None:
    found = outputs(write_3dgstream(tmp_path, RIG))
    assert sorted(found.metadata["points3D_rgb"].tolist(), reverse=True) == [[9, 8, 7], [1, 2, 3]]
    assert torch.isfinite(found.scene_box.aabb).all()
    assert "points3D_xyz" not in outputs(tmp_path, load_points=False).metadata


def test_the_datamanager_keeps_nothing(recording: Path, tmp_path: Path) -> None:
    data = manager(recording, cache_dir=tmp_path)
    assert data.train_dataset.estimate_bytes() == 0
    _ = data.cached_train
    assert not list(tmp_path.rglob("*.png")), "nothing is decoded up front"
    for step in range(30):
        camera, batch = data.next_train(step)
        index = batch["image_idx"]
        assert camera.times is not None and camera.times.item() == pytest.approx(index // 2 / 4)
        RIG.check(batch["image"].numpy(), 1 + index % 2, index // 2)
    assert not data.train_dataset._decoded and data.train_dataset._cached_bytes == 0
    _, images = data.images_at(2)
    RIG.check(images[1].numpy(), 2, 2)
    camera, batch = data.fixed_indices_eval_dataloader[4]
    RIG.check(batch["image"].numpy(), 0, 4)


def test_thumbnails_decode_nothing(recording: Path, tmp_path: Path) -> None:
    data = manager(recording, cache_dir=tmp_path)
    data.train_dataset.shown_only = True
    assert (data.train_dataset[9]["image"] == 0.5).all() and not list(tmp_path.rglob("*.png"))
    data.train_dataset.get_numpy_image(9)
    RIG.check(255 * data.train_dataset[9]["image"].numpy(), 2, 4)
    RIG.check(255 * data.eval_dataset[4]["image"].numpy(), 0, 4)


def test_ns_render_writes_true_training_images(recording: Path, tmp_path: Path) -> None:
    """It asks the items of a datamanager that belongs to no pipeline."""
    data = manager(recording, "test", cache_dir=tmp_path)
    RIG.check(255 * data.train_dataset[9]["image"].numpy(), 2, 4)


def test_several_recordings_are_joined(recording: Path, tmp_path: Path) -> None:
    other = write_camera_folders(tmp_path / "other", Rig(frames=3))
    joined = join_scenes([outputs(recording, cache_dir=tmp_path / "cache"), outputs(other)])
    frames = frames_of(scene_of(joined.metadata))
    RIG.check(frames.image(9), 2, 4)
    RIG.check(frames.image(10 + 4), 1, 2)
    assert frames.latest() == 3 and frames.wait(2, 0.0)


def test_a_recording_that_is_still_being_made(tmp_path: Path) -> None:
    rig = Rig(frames=2)
    write_camera_folders(tmp_path, rig)
    data = manager(tmp_path, follow=True, frame_end=4)
    frames = frames_of(scene_of(data.train_dataset.metadata))
    assert data.timeline.num_frames == 4 and len(data.train_dataset) == 8
    assert frames.latest() == 2 and not frames.wait(2, 0.0) and not frames.is_ready(4)
    data.train_dataset.shown_only = True
    assert (data.train_dataset[4]["image"] == 0.5).all(), "the viewer starts nevertheless"
    for i, name in enumerate(rig.names):
        rig.write_image(tmp_path / name / "images/0002.png", i, 2)
    assert frames.wait(2, 10.0)
    rig.check(frames.image(4), 1, 2)
    assert outputs(tmp_path, follow=True).cameras.times.max() == 1  # type: ignore[union-attr]
    assert scene_of(outputs(tmp_path, follow=True).metadata).timeline.num_frames == 300


def test_the_table(shared_data: Path, tmp_path: Path) -> None:
    found = outputs(shared_data / "table", cache_dir=tmp_path, frame_end=3)
    assert len(found.image_filenames) == 27 and found.cameras.height[0] == 240
    assert frames_of(scene_of(found.metadata)).image(0).shape == (240, 320, 3)


def test_another_dataset_is_named_with_what_takes_it(tmp_path: Path) -> None:
    frame = {"file_path": "./train/r_000", "time": 0.0, "transform_matrix": np.eye(4).tolist()}
    for split in ("train", "test"):
        text = json.dumps({"camera_angle_x": 0.7, "frames": [frame]})
        (tmp_path / f"transforms_{split}.json").write_text(text)
    message = "is no recording: .* It looks like .*; `ns-train dyn3d-velocity-fast --data .*` takes it"
    with pytest.raises(DatasetError, match=message):
        outputs(tmp_path)
    write_videos(tmp_path / "outer/room", RIG)
    with pytest.raises(DatasetError, match="What it holds: room; try `dyn3d info .*room`"):
        outputs(tmp_path / "outer")


def test_tiny_and_far_recordings_are_handed_out_near_the_origin(tmp_path: Path) -> None:
    root, shift = write_camera_folders(tmp_path / "data", RIG), np.array([448000.0, 5411000.0, 120.0])
    near, path = outputs(root), root / "poses_bounds.npy"
    rows = np.load(path)
    rows[:, [3, 8, 13]] = rows[:, [3, 8, 13]] / 1024 + shift
    rows[:, 15:] /= 1024
    np.save(path, rows)
    far = outputs(root)
    world, scene = scene_of(far.metadata).world, scene_of(near.metadata)
    zoom, eyes = world.scale / 1024, near.cameras.camera_to_worlds[:, :, 3]
    wanted = (zoom * eyes + torch.from_numpy(world.points(shift[None])[0])).float()
    torch.testing.assert_close(far.cameras.camera_to_worlds[:, :, 3], wanted, rtol=0, atol=1e-3)
    assert far.cameras.camera_to_worlds.abs().max() < 100
    depths = scene_of(far.metadata).depth_bounds
    assert scene.depth_bounds is not None
    assert depths == pytest.approx([zoom * depth for depth in scene.depth_bounds])
