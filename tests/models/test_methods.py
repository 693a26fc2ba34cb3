"""Every registered method, driven as ns-train, ns-eval and the viewer drive it, on a tiny real scene."""

import copy
import json
import math
import re
import shutil
from dataclasses import fields, is_dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nerfstudio.utils.eval_utils import eval_setup
from PIL import Image

from dyn3d_ns.cli.main import main
from dyn3d_ns.cli.rig import rig_of_config
from dyn3d_ns.engine.config_file import load_config
from dyn3d_ns.engine.trainer import DynamicTrainer, DynamicTrainerConfig
from dyn3d_ns.models.gaussian_model import GaussianModel

ELSEWHERE = (
    ".dyn3d_das3r:",
    ".dyn3d_imported:",
    ".dyn3d_mononerf:",
    ".dyn3d_stream_splat:",
    ".dyn3d_streamrf:",
)
"""Methods of one video, those that stream and what is not trained have tests of their own."""
METHODS = sorted(
    e.name
    for e in entry_points(group="nerfstudio.method_configs")
    if e.value.startswith("dyn3d_ns.") and not any(name in e.value for name in ELSEWHERE)
)
"""Methods of a scene that moves."""


SMALL = {
    "max_gaussians": 800,
    "keyframes": 3,
    "start_resolution": 12,
    "resolution": 24,
    "occupancy_cells": 24,
    "collocation_points": 128,
    "velocity_width": 16,
    "color_width": 16,
    "density_channels": 4,
    "appearance_channels": 8,
    "velocity_layers": 3,
    "rays_per_batch": 128,
}
"""What makes each of our methods quick; a method with other settings of the kind adds them here."""


def small_config(name: str, scene: Path, output: Path, steps: int) -> DynamicTrainerConfig:
    (entry,) = (e for e in entry_points(group="nerfstudio.method_configs") if e.name == name)
    config = copy.deepcopy(entry.load().config)
    config.max_num_iterations = steps
    config.output_dir, config.experiment_name, config.timestamp = output, "tiny", "run"
    config.vis = "tensorboard"
    config.cpu_alternative = ""  # the advice has a test of its own, tests/engine/test_trainer.py
    config.data = config.pipeline.datamanager.data = scene
    shrink(config.pipeline.model)
    shrink(config.pipeline.datamanager)
    return config


def shrink(settings: Any) -> None:
    """Set those of the settings that make a training large to values that train in seconds."""
    for item in fields(settings):
        value = getattr(settings, item.name)
        if item.name in SMALL:
            setattr(settings, item.name, SMALL[item.name])
        elif is_dataclass(value) and type(value).__module__.startswith("dyn3d_ns."):
            shrink(value)


def train(config: DynamicTrainerConfig) -> DynamicTrainer:
    torch.manual_seed(0)
    config.save_config()
    trainer = config.setup(local_rank=0, world_size=1)
    trainer.setup()
    trainer.train()
    return trainer


@pytest.fixture(scope="module", params=METHODS)
def trained(request: pytest.FixtureRequest, tiny_scene: Path, tmp_path_factory: pytest.TempPathFactory):
    config = small_config(request.param, tiny_scene, tmp_path_factory.mktemp("out"), 24)
    train(config)
    return config.get_base_dir() / "config.yml"


def test_a_trained_method_loads_measures_and_renders_at_any_time(trained: Path) -> None:
    _, pipeline, _, step = eval_setup(trained, test_mode="test")
    model = pipeline.model
    assert step == 23 and callable(model.velocity_at)
    metrics = pipeline.get_average_eval_image_metrics(get_std=True)
    for key in (
        "interp_psnr",
        "interp_psnr_mean",
        "interp_ssim",
        "future_psnr",
        "future_ssim",
        "psnr",
        "fps",
    ):
        assert metrics[key] > 0, key
    assert metrics["interp_psnr"] <= metrics["interp_psnr_mean"]
    assert len(metrics["per_frame"]) == len(pipeline.datamanager.eval_dataset)
    camera, _ = pipeline.datamanager.fixed_indices_eval_dataloader[0]
    camera.times = torch.tensor([[1.1]])
    outputs = model.get_outputs_for_camera(camera)
    assert {"rgb", "depth", "accumulation", "velocity"} <= set(outputs)
    assert isinstance(model, GaussianModel) == ({"flow", "dynamic_mask"} <= set(outputs))
    for name, image in outputs.items():
        assert image.dtype == torch.float32 and image.shape[:2] == (48, 48) and image.shape[2] in (1, 3), name
        assert bool(torch.isfinite(image).all()), name
    camera.times = None
    assert model.get_outputs_for_camera(camera)["rgb"].shape == (48, 48, 3)


def test_gaussians_at_any_time_are_whole(trained: Path) -> None:
    model = eval_setup(trained, test_mode="inference")[1].model
    if not isinstance(model, GaussianModel):
        points = torch.rand(50, 3) - 0.5
        assert all(bool(torch.isfinite(model.velocity_at(points, t)).all()) for t in (0.0, 0.75, 1.5))
        return
    for t in (0.0, 0.33, 0.75, 0.99, 1.5):
        gaussians = model.gaussians_at(t)
        assert len(gaussians) == model.num_points
        assert bool(torch.isfinite(gaussians.means).all()) and bool(
            torch.isfinite(gaussians.velocities).all()
        )
    points = gaussians.means[:50]
    assert model.velocity_at(points, 0.5).shape == (50, 3)


def test_a_scene_without_masks_has_the_mean_of_its_images_behind_it(tiny_scene: Path, tmp_path: Path) -> None:
    scene = shutil.copytree(tiny_scene, tmp_path / "opaque")
    for path in scene.glob("*/*.png"):
        image = Image.open(path)
        ground = Image.new("RGBA", image.size, (180, 90, 30, 255))
        Image.alpha_composite(ground, image).convert("RGB").save(path)
    config = small_config("dyn3d-velocity-fast", scene, tmp_path / "out", 20)
    train(config)
    _, pipeline, _, _ = eval_setup(config.get_base_dir() / "config.yml", test_mode="test")
    model = pipeline.model
    t = model.canonical_time
    frames = json.loads((scene / "transforms_train.json").read_text())["frames"]
    now = [scene / f"{f['file_path']}.png" for f in frames if abs(f["time"] - t) < 1e-6]
    assert len(now) >= 3
    mean = np.mean([np.asarray(Image.open(path)) for path in now], axis=(0, 1, 2)) / 255.0
    np.testing.assert_allclose(model.eval_background, mean, atol=1e-5)
    camera, _ = pipeline.datamanager.fixed_indices_eval_dataloader[0]
    away = camera.camera_to_worlds.clone()
    away[..., :3, [0, 2]] *= -1  # look the other way, where nothing is
    camera.camera_to_worlds = away
    rgb = model.get_outputs_for_camera(camera)["rgb"]
    np.testing.assert_allclose(rgb, np.broadcast_to(mean, rgb.shape), atol=1e-5)


@pytest.mark.parametrize("kind", ["mcmc", "default"])
def test_densification_resizes_every_tensor_and_the_checkpoint_loads(
    kind: str, tiny_scene: Path, tmp_path: Path
) -> None:
    config = small_config("dyn3d-velocity-fast", tiny_scene, tmp_path, 240)
    config.pipeline.model.densify = kind
    trainer = train(config)
    model = trainer.pipeline.model
    assert {len(p) for p in model.scene.params.values()} == {model.num_points}
    if kind == "default":
        assert model.num_points != 800
    for name, parameter in model.scene.params.items():
        assert trainer.optimizers.optimizers[name].param_groups[0]["params"][0] is parameter
    loaded = eval_setup(config.get_base_dir() / "config.yml", test_mode="inference")[1].model
    assert loaded.num_points == model.num_points
    torch.testing.assert_close(loaded.gaussians_at(0.9).means, model.eval().gaussians_at(0.9).means)


def test_motion_is_learned_and_beats_a_frozen_scene(tiny_scene: Path, tmp_path: Path) -> None:
    """At observed times the learned motion renders held-out views better than holding the last frame."""
    config = small_config("dyn3d-velocity-fast", tiny_scene, tmp_path, 600)
    pipeline = train(config).pipeline
    pipeline.eval()
    model = pipeline.model
    moving = pipeline.get_average_eval_image_metrics()["interp_psnr"]
    last = model.gaussians_at(model.timeline.t_obs)
    state, model.gaussians_at = model.gaussians_at, lambda time: last
    frozen = pipeline.get_average_eval_image_metrics()["interp_psnr"]
    model.gaussians_at = state
    assert moving > frozen + 2.0
    assert moving > 20.0


EXPORTS = {
    "ply": "ply",
    "usd": "a.usdc",
    "4dgs": "a.4dgs",
    "splat4d": "a.splat4d",
    "spz": "spz",
    "glb": "glb",
    "trajectories": "a.npz",
}


@pytest.mark.parametrize("kind", EXPORTS)
def test_a_trained_scene_is_exported_or_refused(
    trained: Path, kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out" / EXPORTS[kind]
    command = ["export", kind, "--load-config", str(trained), "--output", str(out), "--future"]
    status, said = main(command), capsys.readouterr()
    if "planes" in load_config(trained).method_name:
        assert status == 2 and "which has no Gaussians that move" in said.err
        assert not list(tmp_path.glob("out/*")), "nothing is left"
        return
    assert status == 0, said.err
    line = next(line for line in said.out.splitlines() if line.startswith(str(out)))
    timeline = rig_of_config(trained).timeline
    frames = timeline.num_frames + math.ceil(timeline.num_frames / 4)
    assert re.fullmatch(rf"{re.escape(str(out))}: \d+ Gaussians at {frames} times, 0 to .* s, .* MB", line)
    assert [path.name for path in tmp_path.glob("out/*")] == [EXPORTS[kind]]
    if out.is_dir():
        assert len(list(out.iterdir())) == frames


def test_a_trained_scene_is_a_page_or_refused(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out" / "scene.html"
    status = main(["export", "web", "--load-config", str(trained), "--output", str(out)])
    said = capsys.readouterr()
    if "planes" in load_config(trained).method_name:
        assert status == 2 and "which has no Gaussians that move" in said.err
        assert not list(tmp_path.glob("out/*")), "nothing is left"
        return
    assert status == 0, said.err
    timeline = rig_of_config(trained).timeline
    end = 1.25 * timeline.seconds(timeline.frame_times[-1])
    assert re.search(
        rf"^{re.escape(str(out))}: \d+ Gaussians, \d+ of them moving, {end:.4g} s, ", said.out, re.M
    )
    assert '"kind":"carried"' in out.read_text()
