"""The released code's behaviour: one number a pixel for two purposes, colours in the camera's axes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dyn3d_ns.engine.trainer import DynamicTrainer
from dyn3d_ns.io.errors import UserError
from dyn3d_ns.models.gaussian_model import TrainingView
from tests.models.das3r.conftest import FRAMES, Clip, train_on
from tests.video.cards import CardClip

TRAINING = FRAMES - 2


@pytest.fixture(scope="module")
def small_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    clip = CardClip(frames=12, width=48, height=36)
    return clip.write(tmp_path_factory.mktemp("small") / "cards").root


@pytest.fixture(scope="module")
def paper(small_clip: Path, tmp_path_factory: pytest.TempPathFactory) -> DynamicTrainer:
    return train_on(small_clip, tmp_path_factory.mktemp("paper"), "dyn3d-das3r-paper", steps=4)


def test_every_pixel_is_a_gaussian(paper: DynamicTrainer) -> None:
    model = paper.pipeline.model
    assert len(model.scene) == 11 * 36 * 48
    assert torch.equal(model.birth.flatten(), torch.arange(len(model.scene), dtype=torch.int32))
    fresh = model.make_scene(
        type("S", (), {"positions": torch.rand(9, 3), "colors": torch.rand(9, 3), "static": None})()
    )
    assert fresh.opacities.tolist() == pytest.approx([1 / 11] * 9)


def test_one_number_is_opacity_and_weight(paper: DynamicTrainer) -> None:
    model = paper.pipeline.train().model
    camera, batch = paper.pipeline.datamanager.next_train(0)
    view = camera.metadata["cam_idx"]
    weight = model.static_of(view)
    born = int(model.birth[view, 3, 5])
    assert float(weight[3, 5]) == float(model.scene.params["static"][born])
    model.zero_grad()
    sum(model.get_loss_dict(model(camera), batch).values()).backward()
    slope = model.scene.params["static"].grad[model.birth[view].long().flatten()]
    assert float(slope.mean()) > 0, "shrinking every weight lowers the loss: the defect is there"
    assert set(model.get_loss_dict(model(camera), batch)) == {"image"}


def test_an_unbounded_factor_stays_within_an_opacity(paper: DynamicTrainer) -> None:
    scene = paper.pipeline.model.scene
    kept = scene.params["static"].data.clone()
    scene.params["static"].data[:3, 0] = torch.tensor([50.0, -1.0, 0.5])
    opacities = scene.at(0).opacities
    scene.params["static"].data.copy_(kept)
    assert opacities[:2].tolist() == [1.0, 0.0]
    assert float(opacities[2]) == pytest.approx(0.5 * float(scene.opacities[2]))


def test_colours_turn_with_the_camera(paper: DynamicTrainer) -> None:
    """Turned together, scene and camera look alike in the released code and in ours; turned alone the colour
    of a point straight ahead changes in ours only."""
    model = paper.pipeline.eval().model
    step, model.step = model.step, 3000
    try:
        gaussians = model.gaussians_at(0.0)
        one = type(gaussians)(
            torch.tensor([[0.0, 0, 2]]), torch.tensor([[1.0, 0, 0, 0]]), torch.full((1, 3), 0.3),
            torch.ones(1), torch.zeros(1, 16, 3),
        )  # fmt: skip
        one.colors[:, 2] = 1.0  # along z
        K = torch.tensor([[[40.0, 0, 16], [0, 40.0, 16], [0, 0, 1]]])
        ahead = TrainingView(0.0, torch.eye(4)[None], K, 32, 32)
        turned = torch.diag(torch.tensor([-1.0, 1, -1, 1]))
        turned[2, 3] = 4.0  # from behind: at 2 again
        behind = ahead._replace(viewmats=turned[None])
        first, second = (
            model.rasterize_gaussians(one, view, one.colors, sh_degree=3)[0][0, 16, 16]
            for view in (ahead, behind)
        )
        torch.testing.assert_close(first, second)
        assert float(first[0]) > 0.6, "one degree is on after 3,000 steps"
        model.step = 0
        flat = model.rasterize_gaussians(one, ahead, one.colors, sh_degree=3)[0][0, 16, 16]
        assert float(flat[0]) == pytest.approx(0.5, abs=0.02)
    finally:
        model.step = step


def test_it_loads_and_evaluates(paper: DynamicTrainer) -> None:
    from nerfstudio.utils.eval_utils import eval_setup

    pipeline = eval_setup(paper.config.get_base_dir() / "config.yml", test_mode="test")[1]
    figures = pipeline.get_average_eval_image_metrics()
    assert figures["static_psnr"] > 5 and figures["masks_refined"] is False
    assert torch.equal(pipeline.model.birth, paper.pipeline.model.birth)


def test_what_it_does_not_do_is_refused(small_clip: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="refine-masks, --pipeline.model.densify: take dyn3d-das3r"):
        options = {"refine_masks": True, "densify": "mcmc"}
        train_on(small_clip, tmp_path, "dyn3d-das3r-paper", steps=2, **options)


def test_it_needs_depth(tmp_path: Path, card_clip: Clip) -> None:
    root = CardClip(frames=12, width=48, height=36).write(tmp_path / "cards", "frames cameras masks").root
    with pytest.raises(UserError, match="starts from depth maps"):
        train_on(root, tmp_path / "out", "dyn3d-das3r-paper", steps=2)
