"""Evaluation through the pipeline, with a model that renders known images."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from scene_files import write_scene

from dyn3d_ns.data.datamanager import DynamicDataManagerConfig
from dyn3d_ns.dataparsers.dynamic_object import DynamicObjectDataParserConfig
from dyn3d_ns.engine.method import DynamicMethod, DynamicMethodConfig
from dyn3d_ns.engine.pipeline import DynamicPipelineConfig
from dyn3d_ns.engine.schedule import Phase, fixed_window


class Gray(DynamicMethod):
    """Render one grey over any camera, and record what the pipeline offers it."""

    def populate_modules(self):
        super().populate_modules()
        self.set_up(torch.ones(3))
        self.level = torch.nn.Parameter(torch.tensor(0.5))
        self.initialized_with = None

    def describe_size(self):
        return {"num_gaussians": 42}

    def get_param_groups(self):
        return {"level": [self.level]}

    def get_outputs(self, ray_bundle):
        return {"rgb": self.level.expand(int(ray_bundle.height), int(ray_bundle.width), 3)}

    def get_outputs_for_camera(self, camera, obb_box=None):
        return self.get_outputs(camera)

    def get_loss_dict(self, outputs, batch, metrics_dict=None):
        return {}

    def get_image_metrics_and_images(self, outputs, batch):
        return {}, {}

    def phases(self):
        return [Phase("early", 0.5, fixed_window(0.0, 0.3)), Phase("all", 1.0)]

    def seed(self, datamanager):
        self.initialized_with = datamanager


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    return write_scene(tmp_path_factory.mktemp("scene"))


def make(scene, test_mode="test"):
    datamanager = DynamicDataManagerConfig(data=scene, dataparser=DynamicObjectDataParserConfig())
    config = DynamicPipelineConfig(datamanager=datamanager, model=DynamicMethodConfig(_target=Gray))
    return config.setup(device="cpu", test_mode=test_mode)


def expected_errors(folder, background=1.0):
    """Return the mean squared errors of grey 0.5 (8 bit: 128) against the scene's images, in float64."""
    errors = []
    for path in sorted(folder.glob("*.png")):
        rgba = np.asarray(Image.open(path)).astype(np.float64) / 255
        target = rgba[..., :3] * rgba[..., 3:] + background * (1 - rgba[..., 3:])
        errors.append(((target - 128 / 255) ** 2).mean())
    return np.array(errors)


def test_every_split_is_reported(scene):
    result = make(scene).get_average_eval_image_metrics(get_std=True)
    json.dumps(result, allow_nan=False)
    interp, future = expected_errors(scene / "val"), expected_errors(scene / "test")
    assert result["interp_psnr"] == pytest.approx(-10 * np.log10(interp.mean()), abs=1e-4)
    assert result["interp_psnr_mean"] == pytest.approx((-10 * np.log10(interp)).mean(), abs=1e-4)
    assert result["future_psnr"] == pytest.approx(-10 * np.log10(future.mean()), abs=1e-4)
    assert result["val_psnr"] == result["interp_psnr"]
    assert result["psnr"] == pytest.approx(
        (-10 * np.log10(np.concatenate((interp, future)))).mean(), abs=1e-4
    )
    assert {"ssim", "fps", "num_rays_per_sec", "psnr_std", "frames_per_second"} <= result.keys()
    assert result["num_gaussians"] == 42
    assert len(result["per_frame"]) == 24
    first = result["per_frame"][0]
    assert (first["file"], first["split"], first["source"]) == ("val/c04_f000.png", "interp", "val")
    assert (first["camera_id"], first["time"]) == (4, 0.0)


def test_ground_truth_lies_over_the_models_background(scene):
    pipeline = make(scene)
    pipeline.model.eval_background = torch.zeros(3)
    result = pipeline.get_average_eval_image_metrics()
    assert result["interp_psnr"] == pytest.approx(
        -10 * np.log10(expected_errors(scene / "val", 0.0).mean()), abs=1e-4
    )


def test_within_training_there_are_only_numbers(scene):
    pipeline = make(scene)
    pipeline.train()
    result = pipeline.get_average_eval_image_metrics(step=10)
    assert all(isinstance(value, (int, float)) for value in result.values())
    assert pipeline.training


def test_images_are_saved_side_by_side(scene, tmp_path):
    make(scene).get_average_eval_image_metrics(output_path=tmp_path / "images")
    files = sorted((tmp_path / "images").iterdir())
    assert [f.name for f in files][:2] == ["eval_img_0000.png", "eval_img_0001.png"]
    pixels = np.asarray(Image.open(files[0]))
    assert pixels.shape == (12, 32, 3)
    assert (pixels[:, 16:] == 128).all()


def test_a_training_starts_by_a_look_at_the_images_and_draws_as_planned(scene):
    training = make(scene, "val")
    assert training.model.initialized_with is None
    training.start(10)
    assert training.model.initialized_with is training.datamanager
    assert max(training.datamanager.next_train(4)[1]["time"] for _ in range(40)) <= 0.3
    assert max(training.datamanager.next_train(5)[1]["time"] for _ in range(80)) > 0.3
