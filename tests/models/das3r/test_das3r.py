"""``dyn3d-das3r`` on a clip whose mover hides a wall that other frames show."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.utils.eval_utils import eval_setup

from dyn3d_ns.engine.trainer import DynamicTrainer
from dyn3d_ns.geometry.cameras import project, to_camera
from dyn3d_ns.rendering import rasterize
from tests.models.das3r.conftest import FRAMES, Clip, train_on
from tests.models.test_methods import small_config, train

MIDDLE = 7


def frame_camera(trainer: DynamicTrainer, frame: int) -> Cameras:
    """Return the dataset's camera of a frame; frame 5 is held out."""
    dataset = trainer.pipeline.datamanager.train_dataset
    names = [int(path.stem) for path in dataset.image_filenames]
    return dataset.cameras[names.index(frame) : names.index(frame) + 1]


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(-10 * np.log10(np.mean(np.square(a / 255.0 - b / 255.0))))


def render(trainer: DynamicTrainer, frame: int) -> np.ndarray:
    model = trainer.pipeline.eval().model
    camera = model.corrected_camera(frame_camera(trainer, frame))
    return 255 * model.get_outputs_for_camera(camera)["rgb"].numpy()


def test_what_moves_is_gone(trained: DynamicTrainer, card_clip: Clip) -> None:
    clean, recorded = (c.images[MIDDLE].astype(float) for c in (card_clip.clean, card_clip.recorded))
    hidden = card_clip.recorded.labels[MIDDLE] > 0
    shown = render(trained, MIDDLE)
    assert psnr(shown[hidden], clean[hidden]) > psnr(recorded[hidden], clean[hidden]) + 8
    assert psnr(shown, clean) > 20


def test_without_masks_and_staticness_ghosts_remain(
    trained: DynamicTrainer, card_clip: Clip, tmp_path: Path
) -> None:
    plain = train_on(card_clip.root, tmp_path, use_masks=False, use_staticness=False, refine_masks=False)
    clean, hidden = card_clip.clean.images[MIDDLE].astype(float), card_clip.recorded.labels[MIDDLE] > 0
    with_masks = psnr(render(trained, MIDDLE)[hidden], clean[hidden])
    assert with_masks > psnr(render(plain, MIDDLE)[hidden], clean[hidden]) + 2
    assert "masks_j_mean" not in plain.pipeline.get_average_eval_image_metrics(), "there are no true masks"


def test_an_evaluation_says_what_it_rests_on(trained: DynamicTrainer) -> None:
    figures = trained.pipeline.get_average_eval_image_metrics()
    assert figures["mask_source"] == figures["camera_source"] == figures["regions_by"] == "dyn3d process"
    assert figures["interp_images"] == 2 and figures["eval_pose_refine_steps"] == 0
    assert figures["static_psnr"] == pytest.approx(figures["interp_static_psnr"])
    assert figures["static_psnr_das3r"] > figures["static_psnr"], "zeros of the mover count as hits"
    assert "clean_psnr" not in figures and "pose_ate" not in figures
    assert figures["static_psnr"] > 20


def test_a_training_loads_with_its_views(trained: DynamicTrainer) -> None:
    config = trained.config.get_base_dir() / "config.yml"
    loaded = eval_setup(config, test_mode="inference")[1].model
    model = trained.pipeline.eval().model
    for name, value in model.views.state_dict().items():
        assert torch.equal(value, loaded.views.state_dict()[name]), name
    assert torch.equal(loaded.estimated_poses(), model.estimated_poses())
    camera = frame_camera(trained, MIDDLE)
    for name in ("rgb", "staticness", "composite", "mask"):
        assert torch.equal(
            loaded.get_outputs_for_camera(camera)[name], model.get_outputs_for_camera(camera)[name]
        ), name


def test_the_movers_are_laid_over(trained: DynamicTrainer, card_clip: Clip) -> None:
    model = trained.pipeline.eval().model
    camera = model.corrected_camera(frame_camera(trained, MIDDLE))
    outputs = model.get_outputs_for_camera(camera)
    hidden = torch.from_numpy(card_clip.recorded.labels[MIDDLE] > 0)
    recorded = torch.from_numpy(card_clip.recorded.images[MIDDLE]) / 255.0
    assert outputs["mask"][hidden].mean() > 0.9 and outputs["mask"][~hidden].mean() < 0.15
    assert (outputs["composite"] - recorded)[hidden].abs().mean() < 0.03
    aside = camera.camera_to_worlds.clone()
    aside[..., 0, 3] += 0.05
    camera.camera_to_worlds = aside
    moved = model.get_outputs_for_camera(camera)
    assert not torch.equal(moved["composite"], moved["rgb"])
    assert not moved["composite"].requires_grad, "`ns-render dataset` turns each output into NumPy"
    assert 0.5 < float(moved["mask"].mean() / outputs["mask"].mean()) < 1.5, (
        "they stand where their depth says"
    )
    wide = model.corrected_camera(frame_camera(trained, MIDDLE))
    wide.cx, wide.width = wide.cx + 20, wide.width + 40
    wider = model.get_outputs_for_camera(wide)
    torch.testing.assert_close(wider["mask"][:, 20:-20], outputs["mask"], atol=1e-3, rtol=0)
    assert float(wider["mask"][:, :19].max()) == 0, "the recording says nothing of what lies beside it"


def test_a_focal_length_is_corrected_once(trained: DynamicTrainer) -> None:
    model = trained.pipeline.eval().model
    kept, poses = model.views.log_focal.data.clone(), model.camera_optimizer.pose_adjustment.data.clone()
    try:
        model.views.log_focal.data.fill_(0.05)
        model.camera_optimizer.pose_adjustment.data.zero_()
        given = frame_camera(trained, MIDDLE)
        once = model.corrected_camera(given)
        assert float(once.fx) == pytest.approx(1.0513 * float(given.fx), rel=1e-3)
        shown = model.get_outputs_for_camera(given)["rgb"]
        assert torch.equal(shown, model.get_outputs_for_camera(once)["rgb"])
        late = frame_camera(trained, MIDDLE)
        late.times = torch.ones_like(late.times)
        assert torch.equal(shown, model.get_outputs_for_camera(late)["rgb"]), "a camera held while time runs"
    finally:
        model.views.log_focal.data.copy_(kept)
        model.camera_optimizer.pose_adjustment.data.copy_(poses)


def test_poses_are_those_of_training_in_either_mode(trained: DynamicTrainer) -> None:
    model = trained.pipeline.eval().model
    optimizer = model.camera_optimizer
    kept, mode = optimizer.pose_adjustment.data.clone(), optimizer.config.mode
    try:
        for optimizer.config.mode in ("SO3xR3", "SE3"):
            optimizer.pose_adjustment.data.copy_(0.1 * torch.ones_like(kept))
            camera = frame_camera(trained, 2)
            camera.metadata = {"cam_idx": 2}
            trains = optimizer.apply_to_camera(camera)
            torch.testing.assert_close(model.estimated_poses()[2:3, :3], trains, atol=1e-5, rtol=0)
    finally:
        optimizer.config.mode = mode
        optimizer.pose_adjustment.data.copy_(kept)


def test_what_surely_moves_teaches_nothing(trained: DynamicTrainer) -> None:
    """Where no view sees the ground, however small a weight would bring the mover back: Adam has no scale."""
    model, view = trained.pipeline.model, 2
    batch = trained.pipeline.datamanager.cached_train[view]
    camera = frame_camera(trained, view)
    camera.metadata = {"cam_idx": view}
    kept = model.views.static.clone()
    try:
        model.train()
        for static, teaches in ((0.12, False), (0.3, True)):
            model.views.static[view] = round(255 * static)
            loss = model.get_loss_dict(model(camera), batch)["image"]
            (slope,) = torch.autograd.grad(loss, model.scene.params["features_dc"])
            assert bool((slope != 0).any()) == teaches, f"{static} static"
    finally:
        model.views.static.copy_(kept)


def test_ghosts_of_what_masks_missed_fade(trained: DynamicTrainer) -> None:
    """Gaussians that stand where all views see something move lose their staticness; others keep it."""
    model = trained.pipeline.eval().model
    static, maps = model.scene.params["static"].data.clone(), model.views.static.clone()
    try:
        model.scene.params["static"].data.fill_(4.0)
        model._fade_what_never_rested()
        assert float(model.scene.staticness.median()) > 0.8
        model.views.static[:, 40:60, 50:80] = 0
        model._fade_what_never_rested()
        camera = model.view_of(7)
        shown = project(to_camera(model.scene.params["means"].detach(), camera.viewmats[0]), camera.Ks[0])
        away = (shown - torch.tensor([65.0, 50.0])).abs().max(1).values
        assert float(model.scene.staticness[away < 4].median()) < 0.5
        assert float(model.scene.staticness[away > 25].median()) > 0.8
    finally:
        model.scene.params["static"].data.copy_(static)
        model.views.static.copy_(maps)


def test_a_stopped_training_goes_on_as_if_nothing_had_happened(card_clip: Clip, tmp_path: Path) -> None:
    """The second half is the same in one go and after a checkpoint, looks at the masks included."""
    whole = train_on(card_clip.root, tmp_path / "whole", steps=40)
    half = small_config("dyn3d-das3r-fast", card_clip.root, tmp_path / "half", 40)
    half.pipeline.model.max_gaussians = 4000
    half.steps_per_save, half.save_only_latest_checkpoint = 20, False
    train(half)
    again = small_config("dyn3d-das3r-fast", card_clip.root, tmp_path / "again", 40)
    again.pipeline.model.max_gaussians = 4000
    again.load_dir, again.load_step = half.get_checkpoint_dir(), 20
    resumed = train(again)
    for name, value in whole.pipeline.model.state_dict().items():
        assert torch.equal(value, resumed.pipeline.model.state_dict()[name]), name


def test_cameras_of_other_frames_follow_their_neighbours(trained: DynamicTrainer) -> None:
    model = trained.pipeline.eval().model
    kept = model.camera_optimizer.pose_adjustment.data.clone()
    try:
        model.camera_optimizer.pose_adjustment.data.zero_()
        model.camera_optimizer.pose_adjustment.data[4] = torch.tensor([0.1, 0, 0, 0, 0, 0])
        held_out, _ = trained.pipeline.datamanager.fixed_indices_eval_dataloader[0]
        corrected = model.corrected_camera(held_out)
        moved = corrected.camera_to_worlds - held_out.camera_to_worlds
        assert moved[..., 0, 3].item() == pytest.approx(0.05, abs=1e-4), "half of the frame before"
        given = frame_camera(trained, 4)
        as_given = model.get_outputs_for_camera(given)["rgb"]
        refined = model.get_outputs_for_camera(model.corrected_camera(given))["rgb"]
        torch.testing.assert_close(as_given, refined)
        given.camera_to_worlds = given.camera_to_worlds + 1e-3 * torch.eye(4)[:3, 3:]
        given.camera_to_worlds[..., 0, 3] += 1e-3
        assert not torch.allclose(model.get_outputs_for_camera(given)["rgb"], refined, atol=1e-2)
        assert model.estimated_poses()[4, 0, 3] - model.views.camera_to_worlds[4, 0, 3] == pytest.approx(0.1)
    finally:
        model.camera_optimizer.pose_adjustment.data.copy_(kept)


def test_a_wrong_pose_comes_back(trained: DynamicTrainer) -> None:
    """A frame whose camera is off by a pixel and a half is fitted to the scene that the others show."""
    model = trained.pipeline.eval().model
    held_out, batch = trained.pipeline.datamanager.fixed_indices_eval_dataloader[0]
    right = model.corrected_camera(held_out)
    shifted = held_out.camera_to_worlds.clone()
    held_out.camera_to_worlds = shifted + shifted.new_tensor([0, 0, 0, 0.02]) * torch.eye(4)[:3, :1]
    model.config.eval_pose_refine_steps = 120
    try:
        found = model.estimated_camera(held_out, batch)
    finally:
        model.config.eval_pose_refine_steps = 0
    rests = ~batch["dynamic_mask"]
    truth = batch["image"].float() / 255.0

    def error(camera: Cameras) -> float:
        return float(((model.get_outputs_for_camera(camera)["rgb"] - truth) * rests).abs().mean())

    assert error(held_out) > 1.5 * error(right)
    assert error(found) < 1.2 * error(right)


def test_poses_get_gradients_once_their_view_is_explained(trained: DynamicTrainer) -> None:
    pipeline = trained.pipeline
    model = pipeline.train().model
    camera, batch = pipeline.datamanager.next_train(0)
    index = camera.metadata["cam_idx"]
    kept = float(model.views.psnr[index])
    assert kept > model.config.pose_psnr_gate
    try:
        for psnr, moves in ((10.0, False), (30.0, True)):
            model.views.psnr[index] = psnr
            model.zero_grad()
            sum(model.get_loss_dict(model(camera), batch).values()).backward()
            gradient = model.camera_optimizer.pose_adjustment.grad[index]
            # The penalty of the adjustment itself has a gradient of its own, below that of the images.
            assert (float(gradient.abs().max()) > 1e-4) == moves
            assert float(model.views.log_focal.grad.abs()) > 0
    finally:
        model.views.psnr[index] = kept
        model.zero_grad()
        pipeline.eval()


def test_scaled_camera_axes_are_a_scaled_focal_length() -> None:
    torch.manual_seed(0)
    n, factor = 40, 1.07
    means = torch.rand(n, 3) * torch.tensor([2.0, 2.0, 1.0]) + torch.tensor([-1.0, -1.0, 3.0])
    quats, scales = torch.randn(n, 4), 0.05 + 0.1 * torch.rand(n, 3)
    arguments = (means, quats, scales, torch.rand(n), torch.rand(n, 4, 3))
    K = torch.tensor([[[60.0, 0, 32], [0, 60.0, 24], [0, 0, 1]]])
    zoomed = K.clone()
    zoomed[:, (0, 1), (0, 1)] *= factor
    viewmat = torch.eye(4)[None]
    stretched = viewmat * torch.tensor([factor, factor, 1, 1])[:, None]
    a, _, _ = rasterize(*arguments, viewmat, zoomed, 64, 48, sh_degree=1, packed=False)
    b, _, _ = rasterize(*arguments, stretched, K, 64, 48, sh_degree=1, packed=False)
    torch.testing.assert_close(a, b, atol=2e-4, rtol=0)


def test_frames_train_by_their_number(card_clip: Clip, trained: DynamicTrainer) -> None:
    dataset = trained.pipeline.datamanager.train_dataset
    assert len(dataset) == FRAMES - 2, "frames 5 and 15 are held out"
    labels = card_clip.recorded.labels[3] > 0
    static = trained.pipeline.model.views.static[3].numpy()
    assert (static[labels] < 128).mean() > 0.95
    assert (static[~labels] > 128).mean() > 0.85
