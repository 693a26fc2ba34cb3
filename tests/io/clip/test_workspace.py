"""The tree's readers and writers, and the transforms.json that Nerfstudio reads."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dyn3d_ns.io.clip.types import Cameras, Clip, SparsePoints, Tracks
from dyn3d_ns.io.clip.workspace import Workspace
from dyn3d_ns.io.errors import DamagedFileError, MissingFileError
from dyn3d_ns.io.ply import read_points
from dyn3d_ns.video.transforms import write_transforms


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Return a tree with 3 frames of 40x30, cameras, points and depth."""
    w = Workspace(tmp_path / "scene")
    w.rgb_dir.mkdir(parents=True)
    for i in range(3):
        Image.new("RGB", (40, 30), (i, 0, 0)).save(w.frame_path(i))
    w.write_clip(Clip((0.0, 0.1, 0.4), (0, 1, 4), 40, 30, 5.0))
    poses = np.tile(np.eye(4), (3, 1, 1))
    poses[:, 0, 3] = [0, 1, 2]
    K = np.array([[50, 0, 19.5], [0, 51, 14.5], [0, 0, 1.0]])
    w.write_cameras(Cameras(np.tile(K, (3, 1, 1)), poses, np.array([True, False, True])))
    observed = np.array([0, 1], np.int32)
    points = np.float32([[0, 0, 5], [1, 0, 4]])
    w.write_points(SparsePoints(points, np.uint8([[1, 2, 3], [4, 5, 6]]), observed, observed, points[:, :2]))
    return w


def test_what_is_written_is_read_again(workspace: Workspace) -> None:
    assert workspace.num_frames == 3 and workspace.images()[2][0, 0].tolist() == [2, 0, 0]
    assert workspace.clip().normalized_times.tolist() == [0, 0.25, 1]
    cameras = workspace.cameras()
    assert cameras.registered.tolist() == [True, False, True] and cameras.camera_to_worlds[2, 0, 3] == 2
    assert np.allclose(cameras.world_to_cameras[2, :3, 3], [-2, 0, 0])
    assert workspace.points().rgb[1].tolist() == [4, 5, 6]
    labels = np.zeros((30, 40), np.int32)
    labels[3:5] = 2
    for top in (2, 700):
        labels[0, 0] = top
        workspace.write_labels(1, labels)
        assert np.array_equal(workspace.labels(1), labels)
        assert workspace.dynamic_mask(1).sum() == 81
    workspace.write_motion(0, np.full((30, 40), 0.4, np.float32), "dyna_max")
    assert workspace.motion(0, "dyna_max") == pytest.approx(0.4, abs=1 / 255)


def test_tracks_have_the_published_keys(workspace: Workspace) -> None:
    visible, confidence = np.ones((3, 5), bool), np.ones((3, 5), np.float32)
    tracks = Tracks(np.ones((3, 5, 2), np.float32), visible, confidence, np.arange(5), 30, 40)
    workspace.write_tracks(tracks, 10, 50)
    with np.load(workspace.root / "cotrackerv3_10_50/results.npz", allow_pickle=False) as file:
        names = ["all_confidences", "all_tracks", "all_visibilities", "init_frames", "orig_shape"]
        assert sorted(file.files) == names
    assert (workspace.tracks().height, workspace.tracks().width) == (30, 40)


def test_adjusted_cameras_and_depth_are_preferred(workspace: Workspace) -> None:
    workspace.write_depths([np.full((30, 40), d, np.float32) for d in (1, 2, 3)], 3)
    assert workspace.depth(2)[0, 0] == 3
    cameras = workspace.cameras()
    moved = Cameras(cameras.Ks * 2, cameras.camera_to_worlds, cameras.registered)
    workspace.write_cameras(moved, adjusted=True)
    assert workspace.cameras().Ks[0, 0, 0] == 100 and workspace.cameras(adjusted=False).Ks[0, 0, 0] == 50
    disparity = np.full((30, 40), 0.25, np.float32)
    disparity[0, 0] = 0
    np.savez(workspace.adjusted_frame_path(2), disp=disparity)
    depth = workspace.depth(2)
    assert depth[1, 1] == 4 and depth[0, 0] == 0
    assert workspace.depth(2, adjusted=False)[1, 1] == 3


@pytest.mark.parametrize("shape", [(3, 30, 40), (3, 1, 30, 40), (3, 30, 40, 1)])
def test_depth_of_each_published_shape_is_read(workspace: Workspace, shape: tuple[int, ...]) -> None:
    workspace.depth_path.parent.mkdir()
    values = np.arange(3 * 30 * 40, dtype=np.float32).reshape(3, 30, 40)
    np.save(workspace.depth_path, values.reshape(shape))
    assert np.array_equal(workspace.depth(1), values[1])


def test_depths_are_written_one_after_another(workspace: Workspace) -> None:
    tracemalloc.start()
    workspace.write_depths((np.full((200, 300), i, np.float32) for i in range(100)), 100)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * 200 * 300 * 4 and workspace.depth(99)[0, 0] == 99
    with pytest.raises(ValueError, match="expected 3 depth maps, got 2"):
        workspace.write_depths((np.ones((4, 5), np.float32) for _ in range(2)), 3)
    assert workspace.depth(99)[0, 0] == 99, "what was there stays"


def test_transforms_are_opengl_with_times_and_shifted_centres(workspace: Workspace) -> None:
    write_transforms(workspace)
    content = json.loads(workspace.transforms_path.read_text())
    frame = content["frames"][1]
    assert frame["file_path"] == "rgb/00001.png" and frame["time"] == 0.25
    assert [frame[k] for k in ("fl_x", "fl_y", "cx", "cy", "w", "h")] == [50, 51, 20, 15, 40, 30]
    pose = [[1, 0, 0, 1], [0, -1, 0, 0], [0, 0, -1, 0], [0, 0, 0, 1]]
    assert np.array_equal(frame["transform_matrix"], pose)
    cloud = read_points(workspace.root / content["ply_file_path"])
    assert np.array_equal(cloud.xyz, [[0, 0, 5], [1, 0, 4]])


def test_nerfstudio_reads_the_transforms(workspace: Workspace) -> None:
    from nerfstudio.data.dataparsers.nerfstudio_dataparser import NerfstudioDataParserConfig

    write_transforms(workspace)
    config = NerfstudioDataParserConfig(
        data=workspace.root, load_3D_points=False, eval_mode="all", downscale_factor=1,
        orientation_method="none", center_method="none", auto_scale_poses=False,
    )  # fmt: skip
    outputs = config.setup().get_dataparser_outputs("train")
    assert [p.name for p in outputs.image_filenames] == ["00000.png", "00001.png", "00002.png"]
    assert outputs.cameras.camera_to_worlds[2, :, 3].tolist() == [2, 0, 0]
    assert outputs.cameras.cx.flatten().tolist() == [20, 20, 20]


def test_stock_nerfstudio_data_sees_the_points_where_the_cameras_saw_them(workspace: Workspace) -> None:
    from nerfstudio.data.dataparsers.nerfstudio_dataparser import NerfstudioDataParserConfig

    write_transforms(workspace)
    config = NerfstudioDataParserConfig(data=workspace.root, eval_mode="all", downscale_factor=1)
    config.load_3D_points = True  # as splatfacto has it
    outputs = config.setup().get_dataparser_outputs("train")
    points = outputs.metadata["points3D_xyz"].numpy()
    assert outputs.metadata["points3D_rgb"].tolist() == [[1, 2, 3], [4, 5, 6]]
    assert len(outputs.cameras) == 3
    camera = outputs.cameras[1]
    pose = camera.camera_to_worlds.numpy()
    at = (points - pose[:, 3]) @ pose[:, :3] * [1, -1, -1]
    pixels = at[:, :2] / at[:, 2:] * [50, 51] + [20, 15]
    # The second camera stands at x = 1: a point 5 ahead and 1 to its left, and one straight ahead.
    np.testing.assert_allclose(pixels, [[10, 15], [20, 15]], atol=1e-3)


def test_missing_and_damaged_files_name_the_stage(workspace: Workspace) -> None:
    for read, stage in (
        (lambda: workspace.flow(0, 1), "flow"),
        (lambda: workspace.labels(0), "masks"),
        (lambda: workspace.depth(0), "depth"),
        (workspace.tracks, "tracks"),
        (workspace.keyframes, "keyframes"),
        (lambda: Workspace(workspace.root / "no").frames(), "frames"),
    ):
        with pytest.raises(MissingFileError, match=f"`{stage}`"):
            read()
    workspace.cameras_path.write_bytes(b"PK broken")
    with pytest.raises(DamagedFileError, match=r"poses\.npz"):
        workspace.cameras()
    np.savez(workspace.cameras_path, poses=np.eye(4)[None])
    with pytest.raises(DamagedFileError, match="lacks intrinsics"):
        workspace.cameras()
    workspace.frame_path(1).write_bytes(workspace.frame_path(1).read_bytes()[:60])
    with pytest.raises(DamagedFileError, match=r"00001\.png"):
        workspace.image(1)
    workspace.clip_path.write_text("{")
    with pytest.raises(DamagedFileError, match=r"clip\.json"):
        workspace.clip()


def test_pickles_are_never_loaded(workspace: Workspace) -> None:
    np.savez(workspace.cameras_path, poses=np.array([{}], dtype=object), intrinsics=np.eye(3)[None])
    with pytest.raises(DamagedFileError, match="pickle"):
        workspace.cameras()


def test_as_many_cameras_as_frames_are_needed(workspace: Workspace) -> None:
    cameras = workspace.cameras()
    workspace.write_cameras(Cameras(cameras.Ks[:2], cameras.camera_to_worlds[:2], cameras.registered[:2]))
    with pytest.raises(MissingFileError, match="3 frames, 3 times and 2 cameras"):
        write_transforms(workspace)
