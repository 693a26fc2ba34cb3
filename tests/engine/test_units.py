"""Trainings in tiny units are those of the same scene in usual ones, and trainings on nothing are told."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from dyn3d_ns.dataparsers.dynamic_object import DynamicObjectDataParserConfig
from dyn3d_ns.engine.checkpoint import load_checkpoint
from dyn3d_ns.engine.data_units import pose_collector, require_same_world, splat_writer
from dyn3d_ns.engine.visibility import WATCH_EVERY, BlankWatch, require_box_in_view, require_gaussians_in_view
from dyn3d_ns.gaussians import Gaussians
from dyn3d_ns.gaussians.data_units import to_data_units
from dyn3d_ns.geometry.harmonics import harmonic_basis
from dyn3d_ns.geometry.world import World
from dyn3d_ns.io.das3r_ply import read_das3r_ply
from dyn3d_ns.io.errors import DatasetError, UserError
from dyn3d_ns.io.ply import read_points, write_points
from dyn3d_ns.io.scene_metadata import scene_of


def test_a_scene_in_tiny_units_trains_to_the_same_bits(
    training, unbroken: Path, checkpoint_differences, tiny_scene: Path, tmp_path: Path
) -> None:
    folder = tmp_path / tiny_scene.name
    shutil.copytree(tiny_scene, folder)
    for path in folder.glob("transforms_*.json"):
        content = json.loads(path.read_text())
        for entry in content["frames"]:
            pose = np.array(entry["transform_matrix"])
            pose[:3, 3] /= 1024
            entry["transform_matrix"] = pose.tolist()
        path.write_text(json.dumps(content))
    config = training.config("tiny-units")
    config.pipeline.datamanager.data = folder
    trainer = training.run(config)
    assert trainer.pipeline.model.world.scale == 1024
    mine = load_checkpoint(trainer.checkpoint_dir / unbroken.name)
    assert checkpoint_differences(mine["pipeline"], load_checkpoint(unbroken)["pipeline"]) == []
    saved = json.loads((trainer.base_dir / "dataparser_transforms.json").read_text())
    assert saved["scale"] == 1024


def test_points_of_another_coordinate_system_are_refused_by_name(tiny_scene: Path, tmp_path: Path) -> None:
    folder = tmp_path / "scene"
    shutil.copytree(tiny_scene, folder)
    write_points(folder / "points3d.ply", np.full((9, 3), 5e6) + np.eye(9, 3), np.zeros((9, 3), np.uint8))
    outputs = DynamicObjectDataParserConfig(data=folder).setup().get_dataparser_outputs("train")
    scene, cameras = scene_of(outputs.metadata), outputs.cameras
    with pytest.raises(
        DatasetError, match=r"points3d\.ply, which lies in x 5000000 to .*--load-points False"
    ):
        require_box_in_view(cameras, outputs.scene_box.aabb, scene)
    with pytest.raises(DatasetError, match="no training camera sees the Gaussians to start from"):
        require_gaussians_in_view(cameras, outputs.metadata["points3D_xyz"], 0.01, scene)


def test_one_gaussian_in_view_is_enough(tiny_scene: Path) -> None:
    outputs = DynamicObjectDataParserConfig(data=tiny_scene).setup().get_dataparser_outputs("train")
    scene, cameras = scene_of(outputs.metadata), outputs.cameras
    require_box_in_view(cameras, outputs.scene_box.aabb, scene)
    last = cameras.camera_to_worlds[-1]
    behind = cameras.camera_to_worlds[:, :, 3] + 100 * cameras.camera_to_worlds[:, :, 2]
    ahead = (last[:, 3] - 0.5 * last[:, 2])[None]
    require_gaussians_in_view(cameras, torch.cat([behind, ahead]), 0.01, scene)
    with pytest.raises(DatasetError, match="camera-near, 100 units"):
        require_gaussians_in_view(cameras, ahead, 100.0, scene)


def test_pictures_that_stay_background_are_told_once() -> None:
    watch, blank, solid = BlankWatch(), torch.zeros(4, 4, 1), torch.ones(4, 4, 1)
    steps = range(0, 40 * WATCH_EVERY, WATCH_EVERY)
    assert watch.look(1, blank) is None
    told = [step for step in steps if watch.look(step, blank if step != 2 * WATCH_EVERY else solid)]
    assert told == [8 * WATCH_EVERY]


def turned_far_world() -> World:
    transform = np.eye(4)
    transform[:3, :3] = Rotation.from_rotvec([0.3, -0.5, 0.9]).as_matrix()
    transform[:3, 3] = -transform[:3, :3] @ [448000.0, 5411000.0, 120.0]
    return World(transform, 8.0)


def some_gaussians() -> Gaussians:
    generator = torch.Generator().manual_seed(0)
    quats = torch.nn.functional.normalize(torch.randn(6, 4, generator=generator), dim=1)
    scales, colors = torch.rand(6, 3, generator=generator) + 0.1, torch.randn(6, 9, 3, generator=generator)
    places, moves = torch.randn(2, 6, 3, generator=generator)
    return Gaussians(places, quats, scales, torch.full((6,), 0.5), colors, moves)


def test_gaussians_come_back_with_shape_colours_and_velocity() -> None:
    world, before = turned_far_world(), some_gaussians()
    after = to_data_units(before, world)
    turn = torch.from_numpy(world.transform[:3, :3]).float()
    np.testing.assert_allclose(world.points(after.means.numpy()), before.means.numpy(), atol=1e-7)
    torch.testing.assert_close(8 * after.motion @ turn.T, before.motion)

    def axes(g: Gaussians) -> torch.Tensor:
        rotations = torch.from_numpy(Rotation.from_quat(g.quats[:, [1, 2, 3, 0]].numpy()).as_matrix()).float()
        return rotations * g.scales[:, None]

    covariance, wanted = (axes(g) @ axes(g).mT for g in (after, before))
    torch.testing.assert_close(64 * turn @ covariance @ turn.T, wanted, rtol=1e-4, atol=1e-6)
    ways = torch.nn.functional.normalize(torch.randn(4, 3, generator=torch.Generator().manual_seed(1)), dim=1)
    for degree, part in ((1, slice(1, 4)), (2, slice(4, 9))):
        seen = [
            harmonic_basis(w, degree) @ g.colors[:, part] for w, g in ((ways, after), (ways @ turn.T, before))
        ]
        torch.testing.assert_close(*seen, rtol=1e-4, atol=1e-4)


def test_the_stock_exports_write_the_data_too(tmp_path: Path) -> None:
    world, before = turned_far_world(), some_gaussians()
    columns = {axis: before.means[:, i] for i, axis in enumerate("xyz")}
    columns |= {f"f_dc_{i}": before.colors[:, 0, i, None] for i in range(3)}
    rest = before.colors[:, 1:].mT.reshape(6, -1)
    columns |= {f"f_rest_{i}": rest[:, i, None] for i in range(24)} | {"opacity": torch.zeros(6, 1)}
    columns |= {f"scale_{i}": before.scales.log()[:, i, None] for i in range(3)}
    columns |= {f"rot_{i}": before.quats[:, i, None] for i in range(4)}
    splat_writer(world)(str(tmp_path / "splat.ply"), 6, {k: v.numpy() for k, v in columns.items()})
    found, wanted = read_das3r_ply(tmp_path / "splat.ply"), to_data_units(before, world)
    np.testing.assert_allclose(found.scales, wanted.scales.numpy(), rtol=1e-5)
    np.testing.assert_allclose(found.quats, wanted.quats.numpy(), atol=1e-6)
    np.testing.assert_allclose(found.sh, wanted.colors.numpy(), atol=1e-5)
    np.testing.assert_allclose(
        read_points(tmp_path / "splat.ply").xyz, wanted.means.numpy(), rtol=0, atol=1e-8
    )
    pose = np.eye(4)[:3]
    ((frame,), _) = pose_collector(lambda _: ([{"transform": pose.tolist()}], []), world)(None)
    np.testing.assert_allclose(np.array(frame["transform"])[:, 3], [448000, 5411000, 120], rtol=0, atol=1e-6)


def test_a_training_in_another_world_is_refused(tmp_path: Path) -> None:
    world, box = turned_far_world(), np.array([[-2.0, -2, -2], [2, 2, 2]])
    require_same_world(tmp_path, world, box)  # nothing is known of it
    file = tmp_path / "dataparser_transforms.json"
    rounded = np.float32(world.transform[:3]).tolist()
    file.write_text(json.dumps({"transform": rounded, "scale": 8.0}))
    require_same_world(tmp_path, world, np.array([[-40.0] * 3, [40] * 3]))
    file.write_text(json.dumps({"transform": np.eye(4)[:3].tolist(), "scale": 1.0}))
    with pytest.raises(UserError, match="in another place or unit .* train again"):
        require_same_world(tmp_path, world, box)
    file.write_text("{}")
    with pytest.raises(UserError, match="is damaged"):
        require_same_world(tmp_path, world, box)
