"""Scenes in tiny units and far from the origin are handed out as the same scene at the origin."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scene_files import ANGLE_X, camera_pose, frame, write_image, write_json, write_scene

from dyn3d_ns.dataparsers.dynamic_object import DynamicObjectDataParserConfig
from dyn3d_ns.dataparsers.video import VideoDataParserConfig
from dyn3d_ns.io.ply import write_points
from dyn3d_ns.io.scene_metadata import scene_of

UTM = np.array([448000.0, 5411000.0, 120.0])
TINY = 2.0**-10


def moved(root: Path, scale: float, shift: np.ndarray) -> None:
    """Bring the poses of all transforms files to another unit and place."""
    for path in root.glob("transforms*.json"):
        content = json.loads(path.read_text())
        entries = content["frames"] if "frames" in content else content["data"].values()
        for entry in entries:
            pose = np.array(entry["transform_matrix"])
            pose[:3, 3] = scale * pose[:3, 3] + shift
            entry["transform_matrix"] = pose.tolist()
        path.write_text(json.dumps(content))


def per_camera(root: Path) -> Path:
    """Write a scene in the form with an entry a camera."""
    cameras = {}
    for c in range(3):
        names = [f"images/c{c}_f{f}" for f in range(3)]
        for name in names:
            write_image(root / f"{name}.png")
        frames = [{"file_path": name} for name in names]
        cameras[f"cam{c}"] = {"transform_matrix": camera_pose(c, 3).tolist(), "frames": frames}
    write_json(root / "transforms_train.json", {"camera_angle_x": ANGLE_X, "data": cameras})
    write_image(root / "test.png")
    held_out = [frame("test", camera_pose(1, 7), 0.5)]
    write_json(root / "transforms_test.json", {"camera_angle_x": ANGLE_X, "frames": held_out})
    return root


@pytest.mark.parametrize("write", [lambda root: write_scene(root, 4, 3, 2), per_camera], ids=["flat", "cams"])
@pytest.mark.parametrize(("scale", "shift"), [(TINY, 0 * UTM), (1.0, UTM), (TINY, UTM), (1024.0, UTM)])
def test_dynamic_object(tmp_path: Path, write, scale: float, shift: np.ndarray) -> None:
    xyz = np.random.default_rng(0).uniform(-1, 1, (50, 3)).astype(np.float32).astype(np.float64)
    found = []
    for name in ("near", "other"):
        root = write(tmp_path / name)
        here = scale * xyz + shift if name == "other" else xyz
        if name == "other":
            moved(root, scale, shift)
        write_points(root / "points3d.ply", here, np.zeros((50, 3), np.uint8))
        found.append(DynamicObjectDataParserConfig(data=root).setup().get_dataparser_outputs("train"))
    near, other = found
    world = scene_of(other.metadata).world
    assert scene_of(near.metadata).world.same and not world.same
    assert near.dataparser_scale == 1 and other.dataparser_scale == world.scale
    # Points take 3.5 units, so that other sizes come to twice that.
    zoom = world.scale * scale
    offset = world.points(shift[None])[0]
    assert zoom in (1, 2), "a power of two"
    exact = {"rtol": 0, "atol": 0 if not shift.any() else 1e-5}
    for mine, theirs in (
        (other.cameras.camera_to_worlds[:, :, 3], near.cameras.camera_to_worlds[:, :, 3]),
        (other.scene_box.aabb, near.scene_box.aabb),
        (other.metadata["points3D_xyz"], near.metadata["points3D_xyz"]),
    ):
        torch.testing.assert_close(mine, (zoom * theirs + torch.from_numpy(offset)).float(), **exact)
    ids = [scene_of(outputs.metadata).camera_ids.tolist() for outputs in found]
    assert ids[0] == ids[1]


def test_a_video_without_points_or_depth(tmp_path: Path) -> None:
    frames = []
    for i in range(4):
        write_image(tmp_path / f"{i}.png", mode="RGB")
        pose = camera_pose(i, 40)
        pose[:3, 3] = TINY * pose[:3, 3] + UTM
        frames.append(frame(f"{i}.png", pose, i / 3))
    write_json(tmp_path / "transforms.json", {"camera_angle_x": ANGLE_X, "frames": frames})
    outputs = VideoDataParserConfig(data=tmp_path, eval_interval=2).setup().get_dataparser_outputs("train")
    world, eyes = scene_of(outputs.metadata).world, outputs.cameras.camera_to_worlds[:, :, 3].double().numpy()
    assert 0.5 < np.linalg.norm(eyes, axis=1).max() < 50
    wanted = [np.array(f["transform_matrix"])[:3, 3] for f in (frames[0], frames[2])]
    np.testing.assert_allclose(world.points_back(eyes), wanted, rtol=0, atol=1e-8)
