"""The contract of methods, on the smallest one: phases, camera optimisation, weights of pixels."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from nerfstudio.cameras.camera_optimizers import CameraOptimizerConfig
from static_method import StaticModel, static

from dyn3d_ns.engine.method import NoVelocityError
from dyn3d_ns.engine.schedule import Phase, Stage, fixed_window, frame_by_frame
from dyn3d_ns.engine.trainer import DynamicTrainer

TIME = 0.4
"""A recorded time of the tiny scene; all that a static method can show is one moment."""


class OneMoment(StaticModel):
    """Trained on the images of one time."""

    def phases(self) -> list[Phase]:
        return [Phase("all", 1.0, fixed_window(TIME, TIME))]


def make(
    scene: Path, output: Path, model: type[StaticModel], steps: int = 60, **settings: Any
) -> DynamicTrainer:
    """Set a training of a static method up."""
    config = copy.deepcopy(static.config)
    config.output_dir, config.timestamp, config.vis = output, "run", "tensorboard"
    config.max_num_iterations = steps
    config.pipeline.datamanager.data = scene
    config.pipeline.model._target = model
    for name, value in settings.items():
        setattr(config.pipeline.model, name, value)
    torch.manual_seed(0)
    trainer = config.setup(local_rank=0, world_size=1)
    trainer.setup()
    return trainer


def errors_at(trainer: DynamicTrainer, time: float) -> float:
    """Return the mean squared error of the evaluation images of one time."""
    trainer.pipeline.eval()
    frames = trainer.pipeline.get_average_eval_image_metrics()["per_frame"]
    found = [frame["mse"] for frame in frames if abs(frame["time"] - time) < 1e-4]
    return sum(found) / len(found)


def test_a_static_method_is_small_and_learns_the_moment_it_sees(tiny_scene: Path, tmp_path: Path) -> None:
    lines = (Path(__file__).parents[1] / "static_method.py").read_text().splitlines()
    preset_starts = lines.index("# The preset: a file of method_configs/.")
    assert preset_starts <= 150 and len(lines) - preset_starts <= 25
    trainer = make(tiny_scene, tmp_path, OneMoment, steps=200)
    before = errors_at(trainer, TIME)
    trainer.pipeline.train()
    trainer.train()
    assert errors_at(trainer, TIME) < 0.6 * before
    model = trainer.method
    camera, _ = trainer.pipeline.datamanager.fixed_indices_eval_dataloader[0]
    outputs = model.get_outputs_for_camera(camera)
    assert not {"velocity", "flow", "dynamic_mask"} & set(outputs), "nothing moves"
    with pytest.raises(NoVelocityError):
        model.velocity_at(torch.zeros(1, 3), 0.5)


def test_groups_outside_a_phase_stay_as_they_are(tiny_scene: Path, tmp_path: Path) -> None:
    class TwoStages(OneMoment):
        seen: list[tuple[str, str]]

        def phases(self) -> list[Phase]:
            self.seen = []
            window = fixed_window(TIME, TIME)
            colors = frozenset({"features_dc"})
            return [Phase("colours", 0.5, window, groups=colors), Phase("all", 1.0, window)]

        def enter_phase(self, phase: Phase) -> None:
            self.seen.append(("enter", phase.name))

        def leave_phase(self, phase: Phase) -> None:
            self.seen.append(("leave", phase.name))
            self.after = {name: p.detach().clone() for name, p in self.scene.params.items()}

    trainer = make(tiny_scene, tmp_path, TwoStages, steps=12, densify="none")
    model: Any = trainer.method
    start = {name: p.detach().clone() for name, p in model.scene.params.items()}
    halfway: dict[str, torch.Tensor] = {}
    trainer._after.append(_at_step(5, lambda: halfway.update(model.after)))
    trainer.train()
    changed = {name for name in start if not torch.equal(start[name], halfway[name])}
    assert changed == {"features_dc"}
    assert all(not torch.equal(start[name], p) for name, p in model.scene.params.items() if p.numel())
    assert model.seen == [("enter", "colours"), ("leave", "colours"), ("enter", "all"), ("leave", "all")]


def test_splitting_by_gradient_waits_while_nothing_moves(tiny_scene: Path, tmp_path: Path) -> None:
    class ColorsFirst(OneMoment):
        def phases(self) -> list[Phase]:
            window, colors = fixed_window(TIME, TIME), frozenset({"features_dc"})
            return [Phase("colours", 0.5, window, groups=colors), Phase("all", 1.0, window)]

    trainer = make(tiny_scene, tmp_path, ColorsFirst, steps=12, densify="default")
    densifier = cast(StaticModel, trainer.method).densifier
    assert densifier is not None
    counts: list[float] = []
    trainer._after.append(
        _every_step(lambda: counts.append(float(densifier.get_state().get("count", torch.zeros(1)).sum())))
    )
    trainer.train()
    assert counts[5] == 0 and counts[6] > 0


def test_a_phase_a_frame_draws_that_frame_and_forgets_the_moments(tiny_scene: Path, tmp_path: Path) -> None:
    class Streamed(StaticModel):
        kept: dict[str, torch.Tensor]

        def phases(self) -> list[Phase]:
            self.kept = {}
            return frame_by_frame(self.observed_times, Stage("", 4))

        def leave_phase(self, phase: Phase) -> None:
            """Keep the frame, as streaming writes its delta."""
            self.kept[phase.name] = self.scene.params["means"].detach().clone()

    frames = 8
    trainer = make(tiny_scene, tmp_path, Streamed, steps=4 * frames, densify="none")
    model: Any = trainer.method
    assert len(model.observed_times) == frames
    drawn, counts = [], []
    next_train = trainer.pipeline.datamanager.next_train

    def watched(step: int) -> Any:
        camera, batch = next_train(step)
        drawn.append(round(batch["time"], 4))
        return camera, batch

    trainer.pipeline.datamanager.next_train = watched  # type: ignore[method-assign]
    state = trainer.optimizers.optimizers["means"].state
    trainer._after.append(_every_step(lambda: counts.append(int(next(iter(state.values()))["step"]))))
    trainer.train()
    assert drawn == [round(t, 4) for t in model.observed_times for _ in range(4)]
    assert counts == [1, 2, 3, 4] * frames
    assert list(model.kept) == [f"frame {i}" for i in range(frames)]


def test_the_camera_optimiser_undoes_a_wrong_pose(tiny_scene: Path, tmp_path: Path) -> None:
    trainer = make(tiny_scene, tmp_path, OneMoment, steps=200, densify="none")
    trainer.train()
    learned = copy.deepcopy(trainer.method.scene.state_dict())
    misplaced: Any = make(
        tiny_scene, tmp_path / "misplaced", OneMoment, steps=150, densify="none",
        camera_optimizer=CameraOptimizerConfig(mode="SO3xR3", trans_l2_penalty=0.0, rot_l2_penalty=0.0),
    )  # fmt: skip
    model = misplaced.method
    model.scene.load_state_dict(learned)
    cameras = misplaced.pipeline.datamanager.train_cameras
    times = cameras.times.flatten()
    chosen = int((times - TIME).abs().argmin())
    adjustment = model.camera_optimizer.pose_adjustment
    optimizer = torch.optim.Adam([adjustment], lr=2e-3)
    model.train()
    camera = cameras[chosen : chosen + 1]
    camera.metadata = {"cam_idx": chosen}
    batch = {"image": torch.from_numpy(misplaced.pipeline.datamanager.train_dataset.get_numpy_image(chosen))}

    def loss() -> torch.Tensor:
        torch.manual_seed(1)  # the same background each time
        return model.get_loss_dict(model.get_training_outputs(camera), batch)["image"]

    true = float(loss())
    with torch.no_grad():
        adjustment[chosen, :3] = torch.tensor([0.16, -0.1, 0.12])
    shifted = float(loss())
    assert shifted > 1.2 * true
    for _ in range(150):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
    assert float(loss()) < true + 0.25 * (shifted - true)
    others = [i for i in range(len(times)) if i != chosen]
    assert float(adjustment.detach()[others].abs().max()) == 0.0


def test_cameras_are_a_parameter_group_of_their_own(tiny_scene: Path, tmp_path: Path) -> None:
    trainer = make(
        tiny_scene, tmp_path, OneMoment, steps=3, camera_optimizer=CameraOptimizerConfig(mode="SO3xR3")
    )
    model: Any = trainer.method
    trainer.train()
    assert "camera_opt" in trainer.optimizers.optimizers
    moved = model.camera_optimizer.pose_adjustment.detach().abs().sum(1) > 0
    times = trainer.pipeline.datamanager.train_cameras.times.flatten()
    assert bool(moved.any()) and bool(((times[moved] - TIME).abs() < 1e-4).all())


def test_pixels_without_weight_neither_count_nor_teach(tiny_scene: Path, tmp_path: Path) -> None:
    class Half(OneMoment):
        def image_weight(self, batch: dict[str, Any]) -> torch.Tensor:
            weight = torch.ones(*batch["image"].shape[:2], 1)
            weight[:, : weight.shape[1] // 2] = 0.0
            return weight

    trainer = make(tiny_scene, tmp_path, Half, steps=3, ssim_weight=0.2)
    model: Any = trainer.method
    model.train()
    camera, batch = trainer.pipeline.datamanager.next_train(0)
    outputs = model.get_training_outputs(camera)
    outputs["render"].retain_grad()
    model.get_loss_dict(outputs, batch)["image"].backward()
    slope = outputs["render"].grad.abs().sum(-1)
    half = slope.shape[1] // 2
    # Two windows of SSIM reach ten pixels over.
    assert float(slope[:, : half - 10].max()) < 1e-4 * float(slope[:, half:].max())


def _at_step(number: int, action: Any) -> Any:
    from nerfstudio.engine.callbacks import TrainingCallback, TrainingCallbackLocation

    where = [TrainingCallbackLocation.AFTER_TRAIN_ITERATION]
    return TrainingCallback(where, lambda step: action() if step == number else None)


def _every_step(action: Any) -> Any:
    from nerfstudio.engine.callbacks import TrainingCallback, TrainingCallbackLocation

    return TrainingCallback([TrainingCallbackLocation.AFTER_TRAIN_ITERATION], lambda step: action())
