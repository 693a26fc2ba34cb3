"""What trainer, pipeline, viewer, evaluation and commands ask of a method, in one place and typed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.configs.config_utils import to_immutable_dict
from nerfstudio.engine.callbacks import (
    TrainingCallback,
    TrainingCallbackAttributes,
    TrainingCallbackLocation,
)
from nerfstudio.models.base_model import Model, ModelConfig
from nerfstudio.utils.rich_utils import CONSOLE
from torch import Tensor
from torch.optim import Optimizer
from tyro.conf import Suppress

from dyn3d_ns.data.sampling import Sampling
from dyn3d_ns.engine.schedule import Phase, Schedule
from dyn3d_ns.engine.visibility import BlankWatch, require_box_in_view
from dyn3d_ns.gaussians import Gaussians
from dyn3d_ns.geometry.world import SAME, World
from dyn3d_ns.io.errors import UserError
from dyn3d_ns.io.scene_metadata import scene_of
from dyn3d_ns.metrics.evaluation import FrameScore, RegionError
from dyn3d_ns.metrics.image import compare
from dyn3d_ns.timeline import Timeline
from dyn3d_ns.viewer.playback import TimePlayback

if TYPE_CHECKING:
    from dyn3d_ns.data.datamanager import DynamicDataManager


@dataclass
class DynamicMethodConfig(ModelConfig):
    """Settings of a method; what Nerfstudio's models have and ours do not read stays out of ``--help``."""

    _target: type = field(default_factory=lambda: DynamicMethod)
    """Target class to instantiate."""
    enable_collider: Suppress[bool] = False
    """Rays need no collider; Gaussians have no rays."""
    collider_params: Suppress[dict[str, float] | None] = None
    """Of the collider."""
    loss_coefficients: Suppress[dict[str, float]] = to_immutable_dict({})
    """Weights are fields of their own."""
    eval_num_rays_per_chunk: Suppress[int] = 8192
    """Rays rendered at once in evaluation."""
    prompt: Suppress[str | None] = None
    """Of generative methods."""


class DynamicMethod(Model):
    """A Nerfstudio model of a scene that moves, with every hook that the toolkit calls.

    A method overrides what it needs; each hook has a default. The life of a training: :meth:`plan`,
    :meth:`seed` on the training images, then for each step :meth:`enter_phase` where one begins,
    :meth:`before_step`, the step, :meth:`after_step` and :meth:`leave_phase`, and :meth:`finish` at the end,
    after which the last checkpoint is written.
    """

    takes_many_scenes: bool = False
    """Whether one training may learn from several scenes."""
    has_gaussians: bool = False
    """Whether the scene consists of Gaussians."""
    renders_stereo: bool = False
    """Whether the rays of a picture may start at different places, as those of omnidirectional stereo do."""
    resumes_with: str = ""
    """What else than its data a training needs to go on from a checkpoint, or may do with other data."""
    takes_masks: bool = False
    """Whether pixels that the dataset's masks leave out do not count in its training."""
    scene_names: tuple[str, ...] = ()
    """Names of the scenes that may be shown; empty for a method of one scene."""
    timeline: Timeline
    """Times of the recording and where its observed part ends."""
    world: World = SAME
    """The data's world in that of training; the method itself knows the latter alone."""
    has_alpha: bool
    """Whether images say where the scene ends."""
    eval_background: Float[Tensor, "3"]
    """Colour behind the scene in evaluation."""
    top_speed: Float[Tensor, ""]
    """Speed that the velocity's colours show at full range, world units per unit of time."""
    playback: TimePlayback
    """Play and pause in the viewer."""
    step: int
    """Training step that runs."""
    schedule: Schedule
    """Phases of the training; of one step until :meth:`plan` was called."""
    optimizers: dict[str, Optimizer]
    """Optimizers of the training by parameter group; empty outside one."""
    unfinished: Exception | None = None
    """What went wrong in :meth:`finish`; the trainer raises it once the training is saved."""

    def set_up(self, eval_background: Float[Tensor, "3"], keep_background: bool = True) -> None:
        """Set what every method has; call it first in ``populate_modules``.

        Args:
            eval_background: Colour behind the scene in evaluation, to start with.
            keep_background: Whether checkpoints hold it.
        """
        scene = scene_of(self.kwargs["metadata"])
        self.timeline, self.has_alpha, self.world = scene.timeline, scene.has_alpha, scene.world
        self.register_buffer("eval_background", eval_background, persistent=keep_background)
        self.register_buffer("top_speed", torch.ones(()))
        self.playback = TimePlayback(self.timeline)
        self.step, self.schedule, self.optimizers = 0, Schedule(1), {}
        self._phase: Phase | None = None
        self._blank = BlankWatch()

    def phases(self) -> list[Phase]:
        """Return the phases of a training; by default one, on all images."""
        return [Phase("all", 1.0)]

    def plan(self, steps: int) -> None:
        """Set the schedule up for a training of so many steps."""
        self.schedule = Schedule(steps, self.phases())

    def training_steps(self, configured: int) -> int:
        """Return the steps that a training plans with, given ``max_num_iterations``."""
        return configured

    def stops_at(self, configured: int) -> int:
        """Return the step at which a planned training stops, given ``max_num_iterations``."""
        return min(configured, self.schedule.steps)

    def sampling(self, step: int) -> Sampling:
        """Return what may be drawn at a step; by default what its phase says."""
        return self.schedule.sampling(step)

    def use_run_folder(self, folder: Path) -> None:
        """Take note of the folder of the training's run, in which a method may keep files of its own.

        Called before a training starts and after a checkpoint was loaded.
        """

    def resume_step(self, step: int, earlier: Path) -> int:
        """Return the step to go on with, given the one after the checkpoint and the earlier run's folder."""
        return step

    def saves_after(self, step: int) -> bool:
        """Return whether a checkpoint is to be written after a step, whatever the interval."""
        return False

    @property
    def done(self) -> bool:
        """Whether there is nothing more to train on, though steps are left."""
        return False

    def outcome(self) -> list[str]:
        """Return what to say at the end of a training, a line each."""
        return []

    def shows(self, time: float) -> bool:
        """Return whether the method has come to a recorded time; an evaluation leaves the others out."""
        return True

    def seed(self, datamanager: DynamicDataManager) -> None:
        """Start on what the training images show; called once, before the optimizers are made."""

    def require_view(self, datamanager: DynamicDataManager) -> None:
        """Refuse a start of which no training camera sees anything; called after :meth:`seed`.

        Raises:
            DatasetError: it says where the scene lies and where the cameras stand.
        """
        dataset = datamanager.train_dataset
        require_box_in_view(dataset.cameras, dataset.scene_box.aabb, scene_of(dataset.metadata))

    def forward(self, ray_bundle: RayBundle | Cameras) -> dict[str, Any]:
        """Render for a training step, and say so when training pictures stay blank."""
        outputs = super().forward(ray_bundle)
        solid = outputs.get("accumulation")
        if self.training and isinstance(solid, Tensor):
            found = self._blank.look(self.step, solid)
            if found is not None:
                CONSOLE.print(f"[bold yellow]{found}")
        return outputs

    def start_training(self, optimizers: dict[str, Optimizer]) -> None:
        """Take the optimizers of a training that begins."""
        self.optimizers = optimizers

    def enter_phase(self, phase: Phase) -> None:
        """Prepare for the steps of a phase; also where a training goes on in its midst."""

    def before_step(self, step: int) -> None:
        """Do what comes before a step."""

    def after_step(self, step: int) -> None:
        """Do what comes after a step."""

    def leave_phase(self, phase: Phase) -> None:
        """Do what follows the last step of a phase."""

    def finish(self) -> None:
        """Do what follows the last step of a training; its checkpoint is written after this."""

    def training_state(self) -> dict[str, Any]:
        """Return what an exact resume needs beside parameters and buffers.

        Tensors, numbers, strings, lists and dicts only, so that checkpoints load without running code.
        """
        return {}

    def load_training_state(self, state: dict[str, Any]) -> None:
        """Go on from a state of :meth:`training_state`."""

    def adapts(self, checkpoint: Mapping[str, Any]) -> bool:
        """Whether a training on other data starts from the networks of another one, given its checkpoint.

        Otherwise it resumes that one.
        """
        return False

    def load_networks(self, state: Mapping[str, Tensor]) -> None:
        """Take the networks of another training's pipeline; called where :attr:`adapts` says so.

        Raises:
            UserError: they do not fit.
        """
        raise NotImplementedError

    def estimated_camera(self, camera: Cameras, batch: dict[str, Any]) -> Cameras:
        """Return the camera of a recorded image as the method estimates it by now."""
        return camera

    def score(
        self, camera: Cameras, batch: dict[str, Any], outputs: dict[str, Any]
    ) -> dict[str, float | RegionError]:
        """Return further metrics of an evaluation image, beside those of its colours, by name.

        Numbers are averaged over the images of a split; errors of regions are pooled over their pixels and
        reported as PSNR.
        """
        return {}

    def figures(self, scores: Sequence[FrameScore]) -> dict[str, Any]:
        """Return what an evaluation reports of the whole, beside its summary by split, by name."""
        return {}

    def estimated_masks(self) -> Iterator[Bool[Tensor, "H W"]] | None:
        """Return where training images move as the method sees it by now, in order; None if it does not say.

        An evaluation measures them where the dataset knows true ones.
        """
        return None

    def gaussians_at(self, time: float) -> Gaussians:
        """Return the scene at a normalised time, as viewer, render and metrics use it, in the world of
        training.

        Raises:
            NoGaussiansError: the method has none.
        """
        raise NoGaussiansError

    def laid_out_at(self) -> str:
        """Return in words which moment the parameters of the Gaussians show, as a stock export writes them.

        Raises:
            NoGaussiansError: the method has none.
        """
        raise NoGaussiansError

    def velocity_at(self, points: Float[Tensor, "P 3"], time: float) -> Float[Tensor, "P 3"]:
        """Return the velocity of what is at points of the scene, units of training per unit of time.

        Raises:
            NoVelocityError: the method has no velocity field.
        """
        raise NoVelocityError

    @property
    def scene_shown(self) -> int:
        """Number of the scene that cameras are in which do not say it themselves."""
        return 0

    def show_scene(self, scene: str) -> None:
        """Show another scene of the training.

        Raises:
            UserError: there is no such scene.
        """
        raise UserError(f"{type(self).__name__} learns one scene, and has no other to show")

    def show_background_of(self, scene: str) -> None:
        """Show what moves before what rests in another scene of the training.

        Raises:
            UserError: there is no such scene.
        """
        raise UserError(f"{type(self).__name__} learns one scene, and has no background to exchange")

    def describe_size(self) -> dict[str, int]:
        """Return numbers that an evaluation reports of the scene, by name."""
        return {}

    def estimated_poses(self) -> Float[Tensor, "N 4 4"] | None:
        """Return the camera-to-world poses that training images have by now, None where none were changed.

        An evaluation measures them where the dataset knows true ones; the worlds may differ by a similarity.
        """
        return None

    def get_training_callbacks(
        self, training_callback_attributes: TrainingCallbackAttributes
    ) -> list[TrainingCallback]:
        """Add the hooks above to the training loop."""
        made = training_callback_attributes.optimizers
        assert made is not None
        self.start_training(made.optimizers)
        where = TrainingCallbackLocation
        return [
            TrainingCallback([where.BEFORE_TRAIN_ITERATION], self._before_step),
            TrainingCallback([where.AFTER_TRAIN_ITERATION], self._after_step),
        ]

    def _before_step(self, step: int) -> None:
        self.step, phase = step, self.schedule.at(step)
        begins = phase is not self._phase
        if begins and self.schedule.begins(step) and phase.fresh_optimizers:
            for optimizer in self.optimizers.values():
                optimizer.state.clear()
        if begins or phase.groups is not None:
            # At each step, since densification replaces parameters by ones that are free to move.
            for name, optimizer in self.optimizers.items():
                for group in optimizer.param_groups:
                    for parameter in group["params"]:
                        parameter.requires_grad_(phase.groups is None or name in phase.groups)
        if begins:
            self._phase = phase
            self.enter_phase(phase)
        self.before_step(step)

    def _after_step(self, step: int) -> None:
        self.after_step(step)
        if self.schedule.ends(step):
            self.leave_phase(self.schedule.at(step))
        if step == self.schedule.steps - 1:
            try:
                self.finish()
            except Exception as error:
                self.unfinished = error

    def get_rgba_image(self, outputs: dict[str, Any], output_name: str = "rgb") -> Float[Tensor, "H W 4"]:
        """Return a picture as it is before no background, with its accumulation as straight alpha."""
        alpha = outputs["accumulation"]
        background = outputs["background"] if "background" in outputs else self.eval_background.to(alpha)
        color = (outputs[output_name] - (1 - alpha) * background) / alpha.clamp_min(1e-6)
        return torch.cat([torch.where(alpha > 1e-3, color.clamp(0, 1), torch.zeros_like(color)), alpha], -1)

    def get_image_metrics_and_images(
        self, outputs: dict[str, Any], batch: dict[str, Any]
    ) -> tuple[dict[str, float], dict[str, Tensor]]:
        """Compare one evaluation image with the ground truth, on the evaluation background."""
        return compare(outputs["rgb"], batch["image"].to(self.device), self.eval_background)


class NoGaussiansError(NotImplementedError):
    """The method has no Gaussians."""


class NoVelocityError(NotImplementedError):
    """The method has no velocity field."""
