"""Scenes whose images are all of one moment, and pixels that masks leave out, in every method of its own."""

import json

import pytest
import torch
from scene_files import write_masks, write_scene

from dyn3d_ns.engine.trainer import DynamicTrainer
from tests.models.test_methods import small_config, train


@pytest.fixture(scope="module", params=["dyn3d-velocity-fast", "dyn3d-velocity-planes-fast"])
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> DynamicTrainer:
    """Train on three cameras at time 0, with masks of the left half."""
    scene = write_scene(tmp_path_factory.mktemp("scene"), cameras=4, frames=1, observed=1)
    write_masks(scene)
    config = small_config(request.param, scene, tmp_path_factory.mktemp("out"), 4)
    return train(config)


def test_a_scene_of_one_moment_trains_and_is_saved(trained: DynamicTrainer) -> None:
    assert len(list(trained.checkpoint_dir.glob("*.ckpt"))) == 1
    trained.method.eval()
    assert trained.method.timeline.num_frames == 1
    points = torch.rand(5, 3) - 0.5
    assert torch.isfinite(trained.method.velocity_at(points, 0.0)).all()
    results = trained.pipeline.get_average_eval_image_metrics()
    json.dumps(results, allow_nan=False)


def test_what_masks_leave_out_makes_no_difference(trained: DynamicTrainer) -> None:
    trained.pipeline.train()
    inputs, batch = trained.pipeline.datamanager.next_train(3)
    outputs = trained.method(inputs)
    losses = []
    # The rays' datamanager draws none of these pixels; here some of them are said not to count.
    mask = batch["mask"].clone()
    mask[: len(mask) // 3] = False
    for level in (0, 90):
        image = batch["image"].clone()
        image[~mask.expand_as(image)] = level
        torch.manual_seed(0)
        losses.append(trained.method.get_loss_dict(outputs, {**batch, "mask": mask, "image": image})["image"])
    assert float(losses[0]) == pytest.approx(float(losses[1]), abs=1e-7)
    torch.manual_seed(0)
    whole = trained.method.get_loss_dict(outputs, {**batch, "mask": torch.ones_like(mask)})["image"]
    assert float(whole) != pytest.approx(float(losses[0]), rel=1e-3)
