"""dyn3d-mononerf, driven as ns-train, ns-eval and the viewer drive it, on small scenes with a rising disc."""

import shutil
from pathlib import Path

import pytest
import torch
from nerfstudio.utils.eval_utils import eval_setup

from dyn3d_ns.io.errors import UserError
from dyn3d_ns.models.mononerf.flow import flow_errors
from dyn3d_ns.models.mononerf.model import MonoNerfModel
from dyn3d_ns.models.mononerf.proposals import UNKNOWN
from dyn3d_ns.models.mononerf.supervision import elsewhere
from tests.dynamic_scene_files import ToyScene
from tests.mononerf_runs import config_of, trained, write_two_scenes
from tests.run_training import run_training


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two scenes, of 5 and 4 frames."""
    return write_two_scenes(tmp_path_factory.mktemp("scenes"))


@pytest.fixture(scope="module")
def both(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training on both scenes."""
    return trained(config_of(scenes, tmp_path_factory.mktemp("out"), scenes=("A", "B")))


def networks(model: MonoNerfModel) -> dict[str, torch.Tensor]:
    return {
        name: value.clone()
        for name, value in model.state_dict().items()
        if name.startswith(("scene.static", "scene.dynamic", "scene.spatial", "scene.temporal"))
    }


def test_two_scenes_of_other_sizes_train_measure_and_render(both: Path) -> None:
    _, pipeline, _, step = eval_setup(both, test_mode="test")
    model = pipeline.model
    assert step == 7 and model.scene_names == ("A", "B")
    metrics = pipeline.get_average_eval_image_metrics()
    for scene, frames in (("A", 5), ("B", 4)):
        assert metrics[f"{scene}_train_images"] == frames
        assert metrics[f"{scene}_interp_images"] == frames * (frames - 1)
        for name in ("psnr", "dynamic_psnr", "static_psnr", "static_alone_dynamic_psnr"):
            assert metrics[f"{scene}_interp_{name}"] > 0
    sizes = set()
    for index in range(len(pipeline.datamanager.eval_dataset)):
        camera, batch = pipeline.datamanager.eval_item(index)
        sizes.add(tuple(batch["image"].shape[:2]))
    assert sizes == {(24, 40), (20, 32)}
    camera.times = torch.tensor([[0.37]])
    outputs = model.get_outputs_for_camera(camera)
    assert {"rgb", "static", "dynamic", "depth", "blending", "flow", "velocity"} <= set(outputs)
    for name, image in outputs.items():
        assert image.shape[:2] == (20, 32) and bool(torch.isfinite(image).all()), name
    found = flow_errors(model, pipeline.datamanager)
    assert set(found) == {"A", "B"} and all(e["pixels"] > 0 and e["median"] > 0 for e in found.values())


def test_the_first_phase_trains_what_rests_and_the_second_what_moves(scenes: Path, tmp_path: Path) -> None:
    config = config_of(scenes, tmp_path, steps=6, scenes=("A",), static_part=0.5)
    seen = []
    trainer = None

    def note() -> None:
        seen.append(networks(trainer.pipeline.model))

    from nerfstudio.engine.callbacks import TrainingCallback, TrainingCallbackLocation

    torch.manual_seed(0)
    config.save_config()
    trainer = config.setup(local_rank=0, world_size=1)
    trainer.setup()
    start = networks(trainer.pipeline.model)
    trainer._after.append(
        TrainingCallback([TrainingCallbackLocation.AFTER_TRAIN_ITERATION], lambda step: note())
    )
    trainer.train()

    def changed(a: dict, b: dict) -> set[str]:
        return {name.split(".")[1] for name in a if not torch.equal(a[name], b[name])}

    assert changed(start, seen[2]) == {"static", "spatial"}
    assert changed(seen[2], seen[5]) == {"dynamic", "temporal"}


def test_a_stopped_training_goes_on_exactly(scenes: Path, tmp_path: Path) -> None:
    whole = config_of(scenes, tmp_path / "whole", steps=10, scenes=("A", "B"))
    trained(whole)
    first = config_of(scenes, tmp_path / "first", steps=10, scenes=("A", "B"))
    first.save_config()
    # Step 6 lies between two at which features are made anew.
    with pytest.raises(SystemExit):
        run_training(first, 6, _interrupt)
    again = config_of(scenes, tmp_path / "again", steps=10, scenes=("A", "B"))
    again.load_dir = first.get_checkpoint_dir()
    trained(again)
    states = [
        torch.load(next(c.get_checkpoint_dir().glob("*9.ckpt")), weights_only=True)["pipeline"]
        for c in (whole, again)
    ]
    for name, value in states[0].items():
        assert torch.equal(value, states[1][name]), name


def _interrupt() -> None:
    import os
    import signal

    os.kill(os.getpid(), signal.SIGTERM)


def test_unseen_frames_inform_but_what_moves_is_not_fitted_to_them(scenes: Path, tmp_path: Path) -> None:
    config = config_of(scenes, tmp_path, steps=6, scenes=("A",))
    config.pipeline.datamanager.dataparser.train_frames = "0:3"
    trainer = run_training(config)
    pipeline = trainer.pipeline
    manager, model = pipeline.datamanager, pipeline.model
    assert len(model.scene.videos.times) == 5

    def drawn(step: int) -> set[int]:
        batches = [manager.next_train(step)[1] for _ in range(20)]
        return set().union(*(batch["indices"][:, 0].tolist() for batch in batches))

    assert drawn(0) == {0, 1, 2, 3, 4}
    assert drawn(4) == {0, 1, 2}
    # What moves is looked for at the other times too, for pictures of them.
    known = (model.scene.proposals.moving != UNKNOWN).flatten(1).float().mean(1)
    assert float(known[3:].min()) > 0.3, known
    metrics = pipeline.get_average_eval_image_metrics()
    assert metrics["unseen_images"] == 10 and metrics["interp_images"] == 12
    assert metrics["unseen_nearest_dynamic_psnr"] > 0


@pytest.mark.parametrize("left_out", [{}, {"reach": 1}, {"hidden_color": 0.0, "hidden_blending": 0.0}])
def test_what_moves_is_followed_between_the_steps_that_look_at_neighbours(
    scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left_out: dict[str, float]
) -> None:
    config, asked = config_of(scenes, tmp_path, steps=12, scenes=("A",)), []
    for name, value in left_out.items():
        model = config.pipeline.model
        setattr(model if name == "reach" else model.losses, name, value)

    def follows(scene, rays, out, truth, seen, frames, most):
        asked.append((frames, most))
        return elsewhere(scene, rays, out, truth, seen, frames, most)

    monkeypatch.setattr("dyn3d_ns.models.mononerf.model.elsewhere", follows)
    run_training(config)
    # What moves is trained from step 4 on: steps 5, 7, 9 and 11 are turns 2 to 5.
    assert asked == ([] if left_out else [(2, 32), (-2, 32), (3, 32), (-3, 32)])


def test_a_new_scene_is_learned_from_the_networks_of_others(scenes: Path, both: Path, tmp_path: Path) -> None:
    before = networks(eval_setup(both, test_mode="inference")[1].model)
    config = config_of(scenes, tmp_path, scenes=("B",), adapt_steps=5)
    config.load_dir = both.parent / "nerfstudio_models"
    config.save_config()
    trainer = config.setup(local_rank=0, world_size=1)
    trainer.setup()
    model = trainer.pipeline.model
    assert trainer._start_step == 0 and len(model.scene.videos.times) == 4
    for name, value in networks(model).items():
        assert torch.equal(value, before[name]), name
    trainer.train()
    assert trainer.step == 4
    _, pipeline, _, step = eval_setup(config.get_base_dir() / "config.yml", test_mode="test")
    assert step == 4 and pipeline.model.scene_names == ("B",)


def test_networks_of_other_sizes_are_refused(scenes: Path, both: Path, tmp_path: Path) -> None:
    config = config_of(scenes, tmp_path, scenes=("B",), adapt_steps=3, width=24)
    config.load_dir = both.parent / "nerfstudio_models"
    trainer = config.setup(local_rank=0, world_size=1)
    with pytest.raises(UserError, match="adapt with the method and the --pipeline.model options"):
        trainer.setup()


def test_choices_of_a_scene_show_where_there_are_several(scenes: Path, tmp_path: Path) -> None:
    for names in (("A",), ("A", "B")):
        trainer = config_of(scenes, tmp_path / str(len(names)), scenes=names).setup(
            local_rank=0, world_size=1
        )
        trainer.setup()
        model = trainer.pipeline.model
        assert isinstance(model, MonoNerfModel)
        assert model.shown_scene.visible == model.background_scene.visible == (len(names) > 1)


def test_a_number_of_steps_below_0_is_refused(scenes: Path, tmp_path: Path) -> None:
    trainer = config_of(scenes, tmp_path, scenes=("A",), adapt_steps=-3).setup(local_rank=0, world_size=1)
    with pytest.raises(UserError, match="--adapt-steps must be at least 1, .*got -3"):
        trainer.setup()


def test_a_training_is_not_resumed_on_other_images(scenes: Path, both: Path, tmp_path: Path) -> None:
    config = config_of(scenes, tmp_path, scenes=("B",))
    config.load_dir = both.parent / "nerfstudio_models"
    trainer = config.setup(local_rank=0, world_size=1)
    with pytest.raises(UserError, match="--adapt-steps N takes its networks"):
        trainer.setup()


def test_the_checkpoint_renders_without_the_networks_looking_at_the_data(both: Path) -> None:
    model = eval_setup(both, test_mode="inference")[1].model
    assert len(model.scene.videos.pixels) == 5 * 24 * 40 + 4 * 20 * 32


def test_a_scene_can_be_shown_before_the_background_of_another(both: Path) -> None:
    _, pipeline, _, _ = eval_setup(both, test_mode="test")
    model = pipeline.model
    camera, _ = pipeline.datamanager.eval_item(0)
    own = model.get_outputs_for_camera(camera)
    model.show_background_of("B")
    other = model.get_outputs_for_camera(camera)
    assert not torch.allclose(own["static"], other["static"])
    torch.testing.assert_close(own["rgb"].shape, other["rgb"].shape)
    model.show_background_of("A")
    torch.testing.assert_close(model.get_outputs_for_camera(camera)["rgb"], own["rgb"])
    with pytest.raises(UserError, match="no scene is called C; the training has A, B"):
        model.show_background_of("C")


def test_a_viewer_that_asks_for_evaluation_again_has_what_rests_made_once(
    both: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, pipeline, _, _ = eval_setup(both, test_mode="test")
    model, made = pipeline.model, []
    rest_of = model.pictures._rest_of
    monkeypatch.setattr(
        model.pictures, "_rest_of", lambda rays: made.append(len(rays.starts)) or rest_of(rays)
    )
    camera, _ = pipeline.datamanager.eval_item(0)
    for changes in (False, False, True):
        if changes:
            model.train()
        model.eval()
        model.get_outputs_for_camera(camera)
    assert sum(made) == 2 * int(camera.height * camera.width)


def test_only_what_rests_can_be_trained(scenes: Path, tmp_path: Path) -> None:
    config = config_of(scenes, tmp_path, steps=4, scenes=("A",), parts="static")
    metrics = run_training(config).pipeline.get_average_eval_image_metrics()
    assert metrics["interp_dynamic_psnr"] == pytest.approx(
        metrics["interp_static_alone_dynamic_psnr"], abs=0.3
    )


def test_what_moves_is_learned(scenes: Path, tmp_path: Path) -> None:
    """Views that no training frame has show the disc where it is, not the wall behind it."""
    small = {"width": 32, "samples": 10, "eval_samples": 16, "channels": 8}
    config = config_of(scenes, tmp_path, steps=300, scenes=("A",), **small)
    config.pipeline.datamanager.rays_per_batch = 256
    metrics = run_training(config).pipeline.get_average_eval_image_metrics()
    assert metrics["interp_dynamic_psnr"] > metrics["interp_static_alone_dynamic_psnr"] + 3


def test_velocity_is_in_units_of_the_world(both: Path) -> None:
    """Where everything moves the same way in the cube, as far as the world says per unit of time."""
    model = eval_setup(both, test_mode="inference")[1].model
    space = model.scene.videos.space(0)
    with torch.no_grad():
        model.scene.dynamic.move.weight.zero_()
        model.scene.dynamic.move.bias.copy_(torch.tensor([0.04, 0, 0]))
    inside = torch.rand(20, 3) - 0.5
    points = space.to_world(inside)
    step = model.scene.dynamic.velocity(torch.zeros(1, model.config.width))
    expected = (space.to_world(inside + 0.01 * step) - points) / 0.01 * 4
    torch.testing.assert_close(model.velocity_at(points, 0.5), expected, rtol=1e-2, atol=1e-2)


def test_velocity_is_coloured_on_the_scale_of_what_moves(both: Path) -> None:
    _, pipeline, _, _ = eval_setup(both, test_mode="test")
    model = pipeline.model
    speeds = []
    for frame in (2, 5 + 2):
        camera = pipeline.datamanager.train_cameras[frame : frame + 1]
        moves = model.scene.videos.mask_of(frame).flatten()
        speeds.append(model.pictures.own_motion(camera, frame).velocity[moves].norm(dim=-1))
    torch.testing.assert_close(model.top_speed, torch.cat(speeds).quantile(0.98), rtol=1e-3, atol=1e-6)


def test_a_moved_folder_of_a_scene_does_not_matter_for_its_name(scenes: Path, tmp_path: Path) -> None:
    moved = shutil.copytree(scenes / "B", tmp_path / "elsewhere")
    config = config_of(moved, tmp_path / "out", steps=2)
    assert run_training(config).pipeline.model.scene_names == ("elsewhere",)


def test_frames_unseen_in_one_scene_are_not_drawn_for_being_seen_in_another(
    scenes: Path, tmp_path: Path
) -> None:
    """The last frames of both scenes have one time; 0:4 is all of B, and not the last of A."""
    config = config_of(scenes, tmp_path, steps=4, scenes=("A", "B"))
    config.pipeline.datamanager.dataparser.train_frames = "0:4"
    manager = run_training(config).pipeline.datamanager
    drawn = [manager.next_train(3)[1]["indices"][:, 0].tolist() for _ in range(30)]
    assert set().union(*drawn) == {0, 1, 2, 3, 5, 6, 7, 8}


def test_masks_that_were_made_are_mended_and_those_of_files_are_not(
    scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "C"
    ToyScene(frames=4, width=40, height=24, focal=34.0).write(root, "disp flow multiview_GT")
    run_training(config_of(root, tmp_path / "out", steps=4))
    assert "Masks of 4 frames mended" in capsys.readouterr().out
    run_training(config_of(scenes / "A", tmp_path / "other", steps=4))
    assert "mended" not in capsys.readouterr().out
