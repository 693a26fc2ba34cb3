"""What Nerfstudio's own commands do while they run a method of ours."""

from __future__ import annotations

import copy
import sys
from pathlib import Path

import pytest
import torch
import yaml
from nerfstudio.cameras import camera_paths
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.configs.method_configs import all_methods
from nerfstudio.scripts import render
from nerfstudio.utils.eval_utils import eval_load_checkpoint, eval_setup

from dyn3d_ns.engine import commands
from dyn3d_ns.engine.checkpoint import CheckpointError, checkpoint_path
from dyn3d_ns.engine.pipeline import DynamicPipeline
from dyn3d_ns.io.errors import DatasetError, UserError
from dyn3d_ns.plain_errors import ReadableErrors


@pytest.fixture
def config_path(tiny_scene: Path, tmp_path: Path) -> Path:
    """Return the config of a training that has left no checkpoint."""
    config = copy.deepcopy(all_methods["dyn3d-velocity-fast"])
    config.output_dir, config.experiment_name, config.timestamp = tmp_path, "x", "y"
    config.pipeline.datamanager.data = tiny_scene
    config.get_checkpoint_dir().mkdir(parents=True)
    path = config.get_base_dir() / "config.yml"
    path.write_text(yaml.dump(config))
    return path


def test_a_folder_without_checkpoints_is_named(config_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    folder = config_path.parent / "nerfstudio_models"
    with pytest.raises(CheckpointError, match="nerfstudio_models holds no checkpoint.*folder in which"):
        eval_setup(config_path)
    assert isinstance(sys.excepthook, ReadableErrors), "this process shows errors as messages from now on"
    checkpoint_path(folder, 30).write_bytes(b"damaged")
    with pytest.raises(CheckpointError, match=r"cannot read checkpoint .*step-000000030\.ckpt"):
        eval_setup(config_path)
    config = yaml.load(config_path.read_text(), Loader=yaml.Loader)  # noqa: S506  # our own file
    config.load_step = 20
    config_path.write_text(yaml.dump(config))
    with pytest.raises(CheckpointError, match=r"no checkpoint of step 20 in .*there are \[30\]"):
        eval_setup(config_path)


def test_other_pipelines_are_loaded_as_nerfstudio_does(config_path: Path) -> None:
    commands.adapt(DynamicPipeline)
    config = yaml.load(config_path.read_text(), Loader=yaml.Loader)  # noqa: S506  # our own file
    config.load_dir = config.get_checkpoint_dir()
    with pytest.raises(IndexError):  # what Nerfstudio makes of an empty folder
        eval_load_checkpoint(config, torch.nn.Module())  # type: ignore[arg-type]


def test_a_damaged_scene_is_named(config_path: Path, tmp_path: Path) -> None:
    config = yaml.load(config_path.read_text(), Loader=yaml.Loader)  # noqa: S506  # our own file
    config.pipeline.datamanager.data = tmp_path / "nowhere"
    config_path.write_text(yaml.dump(config))
    with pytest.raises(DatasetError, match="nowhere"):
        eval_setup(config_path)


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "not there"), ("{", "no JSON"), ('{"seconds": 1}', "lacks 'render_height'"), ("[]", "lacks")],
)
@pytest.mark.parametrize("option", ["--camera-path-filename {}", "--camera_path_filename={}"])
def test_a_wrong_camera_path_is_named(
    config_path: Path, tmp_path: Path, content: str | None, said: str, option: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    path = tmp_path / "orbit.json"
    if content is not None:
        path.write_text(content)
    arguments = ["camera-path", "--load-config", str(config_path), *option.format(path).split()]
    monkeypatch.setattr(sys, "argv", ["ns-render", *arguments])
    with pytest.raises(UserError) as caught:
        render.entrypoint()
    message = str(caught.value)
    assert f"--camera-path-filename {path}" in message and said in message and "dyn3d path" in message


def test_interpolated_paths_keep_their_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render, "get_interpolated_camera_path", camera_paths.get_interpolated_camera_path)
    poses = torch.eye(4)[None, :3].repeat(3, 1, 1)
    poses[:, 0, 3] = torch.tensor([0.0, 2.0, 1.0])  # the third stands between the others
    cameras = Cameras(poses, 10.0, 10.0, 4.0, 4.0, 8, 8, times=torch.tensor([0.0, 0.4, 0.6]))
    assert render.get_interpolated_camera_path(cameras, 3, order_poses=False).times is None
    commands.adapt(DynamicPipeline)
    for order_poses, times, x in (
        (False, [0.0, 0.2, 0.4, 0.4, 0.5, 0.6], [0.0, 1.0, 2.0, 2.0, 1.5, 1.0]),
        (True, [0.0, 0.3, 0.6, 0.6, 0.5, 0.4], [0.0, 0.5, 1.0, 1.0, 1.5, 2.0]),
    ):
        path = render.get_interpolated_camera_path(cameras, steps=3, order_poses=order_poses)
        assert path.times is not None
        assert [float(path[i].times) for i in range(len(path))] == pytest.approx(times)  # type: ignore[arg-type]
        assert path.camera_to_worlds[:, 0, 3].tolist() == pytest.approx(x)
    assert camera_paths.get_interpolated_camera_path(cameras, 3, order_poses=False).times is None
    cameras.times = None
    assert render.get_interpolated_camera_path(cameras, steps=3, order_poses=False).times is None
    with pytest.raises(UserError, match="there is one only; take others with --pose-source train"):
        render.get_interpolated_camera_path(cameras[:1], steps=3, order_poses=False)
    with pytest.raises(UserError, match="--interpolation-steps must be at least 1, got 0"):
        render.get_interpolated_camera_path(cameras, steps=0, order_poses=False)
