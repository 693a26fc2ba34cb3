"""Nerfstudio's trainer with exact resume, whole checkpoints, a lean loop and defaults for the machine."""

from __future__ import annotations

import functools
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

import torch
from nerfstudio.configs.base_config import LoggingConfig, MachineConfig, ViewerConfig
from nerfstudio.engine.callbacks import TrainingCallback, TrainingCallbackLocation
from nerfstudio.engine.optimizers import Optimizers
from nerfstudio.engine.trainer import TRAIN_INTERATION_OUTPUT, Trainer, TrainerConfig
from nerfstudio.utils import writer
from nerfstudio.utils.decorators import check_main_thread, check_viewer_enabled
from nerfstudio.utils.rich_utils import CONSOLE
from nerfstudio.utils.writer import EventName
from tyro.conf import Suppress

from dyn3d_ns import plain_errors
from dyn3d_ns.data.datamanager import DynamicDataManager
from dyn3d_ns.engine import places
from dyn3d_ns.engine.checkpoint import (
    RESUMED,
    CheckpointError,
    checkpoints_in,
    explaining_misfits,
    find_checkpoint,
    load_checkpoint,
    require_parts,
    restore_rng,
    rng_state,
    run_of,
    save_checkpoint,
)
from dyn3d_ns.engine.data_units import TRANSFORMS, require_same_world
from dyn3d_ns.engine.device import default_device_type, use_cpu_threads
from dyn3d_ns.engine.forecast import forecast_seconds, in_words
from dyn3d_ns.engine.interrupt import StopRequest, exit_code, how_to_stop, resume_command
from dyn3d_ns.engine.method import DynamicMethod
from dyn3d_ns.engine.optimizers import follow_schedule
from dyn3d_ns.engine.pipeline import DynamicPipeline
from dyn3d_ns.engine.run_folder import claim, make_new
from dyn3d_ns.engine.step_log import StepLog
from dyn3d_ns.io.atomic import write_json
from dyn3d_ns.io.errors import UserError
from dyn3d_ns.io.shell import shell_word


@dataclass
class DynamicTrainerConfig(TrainerConfig):
    """Configuration of a training that can be stopped at any moment and resumed exactly"""

    _target: type = field(default_factory=lambda: DynamicTrainer)
    """target class to instantiate"""
    machine: MachineConfig = field(default_factory=lambda: MachineConfig(device_type=default_device_type()))
    """Machine configuration; the device is a GPU if there is one"""
    logging: LoggingConfig = field(
        default_factory=lambda: LoggingConfig(steps_per_log=100, max_buffer_size=5, profiler="none")
    )
    """Logging configuration"""
    viewer: ViewerConfig = field(
        default_factory=lambda: ViewerConfig(websocket_host="127.0.0.1", max_num_display_images=64)
    )
    """Viewer configuration; reachable from this machine only unless --viewer.websocket-host says otherwise"""
    vis: Literal[
        "viewer",
        "wandb",
        "tensorboard",
        "comet",
        "viewer+wandb",
        "viewer+tensorboard",
        "viewer+comet",
        "viewer_legacy",
    ] = "viewer"
    """Which visualizer to use."""
    max_num_iterations: int = 30000
    """Number of steps in total; a resumed training stops at the same step as an unbroken one"""
    prompt: Suppress[str | None] = None
    """Of generative methods."""
    cpu_alternative: str = ""
    """Method to recommend where there is no GPU, with the time it takes there; empty for none"""

    def set_timestamp(self) -> None:
        """Name the run after the second in which it starts, and give it a folder that no other training has.

        Of several that start in one second, the later ones get a number; so does a training that begins anew
        with the config.yml of another run, whose checkpoints it leaves alone.
        """
        plain_errors.install()
        begins = self.load_dir is None and self.load_checkpoint is None
        if begins and places.run_folder() is not None:
            self.timestamp = "{timestamp}"
        if self.timestamp != "{timestamp}":
            return
        super().set_timestamp()
        second, number = self.timestamp, 1
        while not make_new(self.get_base_dir()):
            number += 1
            self.timestamp = f"{second}-{number}"

    def save_config(self) -> None:
        """Write config.yml into the run's folder, the first thing that `ns-train` does with a config.

        Raises:
            UserError: the folder is another training's, or the checkpoint to resume from is not there.
        """
        plain_errors.install()
        resumed, run = self.resumed_checkpoint(), self.get_base_dir()
        claim(run, None if resumed is None else run_of(resumed))
        if resumed is None and checkpoints_in(run):
            CONSOLE.print(f"[yellow]{run} holds checkpoints of an earlier training: this one replaces them")
        if self.load_step is not None:
            # A step in the config.yml is the one that evaluations of this run show.
            self.load_dir, self.load_checkpoint, self.load_step = None, resumed, None
        super().save_config()

    def resumed_checkpoint(self) -> Path | None:
        """Return the checkpoint to resume from; None if there is none to.

        Raises:
            CheckpointError: it is not there, or more than one is named.
        """
        path = self.load_checkpoint
        if self.load_dir is not None and path is not None:
            raise CheckpointError(f"give --load-dir {self.load_dir} or --load-checkpoint {path}, not both")
        if self.load_dir is not None:
            return find_checkpoint(self.load_dir, self.load_step)
        if self.load_step is not None:
            raise CheckpointError(
                f"--load-step {self.load_step} needs --load-dir, the folder that holds the checkpoint"
            )
        if path is not None and path.is_dir():
            raise CheckpointError(
                f"--load-checkpoint {path} is a folder: it takes a file step-*.ckpt, --load-dir the folder"
            )
        return path


class DynamicTrainer(Trainer):
    """Train, and be able to go on from the last whole checkpoint as if nothing had happened.

    Beyond Nerfstudio's own, a checkpoint holds the random generators, the datamanager's ``get_state()`` and
    the method's ``training_state()`` (densification, say).
    """

    config: DynamicTrainerConfig

    def __init__(self, config: TrainerConfig, local_rank: int = 0, world_size: int = 1) -> None:
        if config.max_num_iterations < 1:
            raise UserError(f"--max-num-iterations must be at least 1, got {config.max_num_iterations}")
        if config.machine.device_type == "cuda" and not torch.cuda.is_available():
            CONSOLE.print(
                "[yellow]--machine.device-type is cuda, but torch finds no GPU here: using the CPU."
            )
            config.machine.device_type = "cpu"
        super().__init__(config, local_rank, world_size)
        self._resume_rng: dict[str, Any] | None = None
        self._resumed: tuple[Path, dict[str, Any]] | None = None
        self._started = False
        self.stop_training = False

    @property
    def method(self) -> DynamicMethod:
        """The model that is trained."""
        return cast(DynamicPipeline, self.pipeline).method

    @property
    def _datamanager(self) -> DynamicDataManager:
        return cast(DynamicPipeline, self.pipeline).datamanager

    def setup_optimizers(self) -> Optimizers:
        """Make the optimizers of the parameters as they are; the first time, let the method start before."""
        if not self._started:
            self.method.use_run_folder(self.base_dir)
            cast(DynamicPipeline, self.pipeline).start(self.config.max_num_iterations)
            self.config.max_num_iterations = self.method.stops_at(self.config.max_num_iterations)
            self._started = True
        rates = follow_schedule(self.config.optimizers, self.method.schedule)
        return Optimizers(rates, self.pipeline.get_param_groups())

    def setup(self, test_mode: Literal["test", "val", "inference"] = "val") -> None:
        """Build pipeline, optimizers, viewer and writers, and load the checkpoint to resume from."""
        if self.device == "cpu":
            use_cpu_threads()
        self._resumed = self._read_checkpoint()
        try:
            super().setup(test_mode)
        except KeyboardInterrupt as stop:
            # Nerfstudio would show the traceback and report success.
            CONSOLE.print("\n[yellow]Stopped before the first step: nothing is lost.")
            sys.exit(exit_code(stop))
        if self.device == "cpu" and self.config.cpu_alternative and self._start_step == 0:
            self._recommend_cpu_method()
        self._before = self._callbacks_at(TrainingCallbackLocation.BEFORE_TRAIN_ITERATION)
        self._after = self._callbacks_at(TrainingCallbackLocation.AFTER_TRAIN_ITERATION)

    def train(self) -> None:
        """Train up to step ``max_num_iterations``; on Ctrl-C or SIGTERM save a checkpoint and leave."""
        # As Nerfstudio writes it, but not rounded to float32: far from the origin that is metres.
        world = self.method.world
        transforms = {"transform": world.transform[:3].tolist(), "scale": world.scale}
        write_json(self.base_dir / TRANSFORMS, transforms)
        self._init_viewer_state()
        self.stop_training = False
        if self._resume_rng is not None:
            restore_rng(self._resume_rng)
        self._require_space()
        _ = self._datamanager.summary  # of the images as they are now
        start = time.perf_counter()
        with StopRequest() as stop:
            next_step = self._train_steps(stop)
            if stop and next_step < self.config.max_num_iterations:
                self._leave(next_step, stop.exit_code)
            seconds = time.perf_counter() - start
            writer.put_time(EventName.TOTAL_TRAIN_TIME, seconds, next_step, avg_over_steps=False)
            self._after_train()
        # A signal in the last step, or while that is saved, finds nothing left to stop.
        if stop:
            self.shutdown()
            sys.exit(stop.exit_code)
        if not self.config.viewer.quit_on_train_completion:
            self._train_complete_viewer()

    def train_iteration(self, step: int) -> TRAIN_INTERATION_OUTPUT:
        """Take one optimizer step; return the loss, its parts and the metrics."""
        scaled = self.use_grad_scaler or self.mixed_precision
        if scaled or self.config.gradient_accumulation_steps or self.config.log_gradients:
            return super().train_iteration(step)
        optimizers = self.optimizers
        for optimizer in optimizers.optimizers.values():
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    parameter.grad = None
        _, loss_dict, metrics_dict = self.pipeline.get_train_loss_dict(step=step)
        loss = functools.reduce(torch.add, loss_dict.values())
        loss.backward()
        with torch.no_grad():
            for name, optimizer in optimizers.optimizers.items():
                max_norm = optimizers.config[name]["optimizer"].max_norm
                if max_norm is not None:
                    torch.nn.utils.clip_grad_norm_(optimizers.parameters[name], max_norm)
                optimizer.step()
        for scheduler in optimizers.schedulers.values():
            scheduler.step()
        return loss, loss_dict, metrics_dict

    @check_main_thread
    def save_checkpoint(self, step: int) -> None:
        """Write the checkpoint of a finished step, whole or not at all.

        Raises:
            CheckpointError: it could not be written; the last whole one is untouched.
        """
        state = {
            "step": step,
            "method": self.config.method_name,
            "pipeline": self.pipeline.state_dict(),
            "optimizers": {name: o.state_dict() for name, o in self.optimizers.optimizers.items()},
            "schedulers": {name: s.state_dict() for name, s in self.optimizers.schedulers.items()},
            "scalers": self.grad_scaler.state_dict(),
            "rng": rng_state(),
            "datamanager": self._datamanager.get_state(),
            "model": self.method.training_state(),
            "data": self._datamanager.summary._asdict(),
        }
        save_checkpoint(state, self.checkpoint_dir, step, self.config.save_only_latest_checkpoint)

    def _read_checkpoint(self) -> tuple[Path, dict[str, Any]] | None:
        """Read the checkpoint that the configuration names, if it names one, before anything else is.

        Raises:
            CheckpointError: it is missing or damaged, or of another method.
        """
        path, method = self.config.resumed_checkpoint(), self.config.method_name
        if path is None:
            return None
        state = load_checkpoint(path)
        require_parts(state, path, RESUMED)
        of = state.get("method", method)
        if of != method:
            raise CheckpointError(
                f"{path} is of {of}, and this training is of {method}: go on with `ns-train {of}`, or choose "
                f"a checkpoint of {method}"
            )
        return path, state

    def _load_checkpoint(self) -> None:
        """Go back to the state of the checkpoint that was read, if there is one."""
        if self._resumed is None:
            return
        (path, state), self._resumed = self._resumed, None
        if self.method.adapts(state):
            self.method.load_networks(state["pipeline"])
            CONSOLE.print(f"Starting from the networks of {path}")
            return
        self._require_same_data(path, state.get("data"))
        box = self._datamanager.train_dataset.scene_box.aabb
        require_same_world(run_of(path), self.method.world, box.double().cpu().numpy())
        with explaining_misfits(path):
            self._restore(state)
        self._go_on_at(self.method.resume_step(self._start_step, run_of(path)))
        total = self.config.max_num_iterations
        CONSOLE.print(f"Resuming at step {self._start_step} of {total} of {path.parent}")
        if self._start_step >= total:
            CONSOLE.print(
                f"[yellow]Nothing is left to train: --max-num-iterations {total} has been reached; more asks "
                "for more steps"
            )

    def _restore(self, state: dict[str, Any]) -> None:
        """Take the parts of a checkpoint."""
        self.step = state["step"]
        self._start_step = self.step + 1
        self.pipeline.load_pipeline(state["pipeline"], state["step"])
        # The number of Gaussians may have changed: let the optimizers hold the parameters of now.
        self.optimizers = self.setup_optimizers()
        self.optimizers.load_optimizers(state["optimizers"])
        if self.config.load_scheduler:
            self.optimizers.load_schedulers(state["schedulers"])
        self.grad_scaler.load_state_dict(state["scalers"])
        self._datamanager.set_state(state["datamanager"])
        self.method.load_training_state(state["model"])
        self._resume_rng = state["rng"]

    def _require_same_data(self, path: Path, before: dict[str, Any] | None) -> None:
        """Refuse to go on with other images than a checkpoint's training began with."""
        if before is None:  # written by an earlier version
            return
        now = self._datamanager.summary
        differs = now.differs_from(before)
        if differs is not None:
            raise CheckpointError(
                f"{path} is of a training on {before['place']}, and this one is on {now.place}, where "
                f"{differs}: go on with --data {shell_word(before['place'])}{self.method.resumes_with}, or "
                "begin anew without the checkpoint"
            )

    def _go_on_at(self, step: int) -> None:
        """Go on at another step than the one after the checkpoint's, learning rates included."""
        if step != self._start_step:
            self._start_step = step
            for scheduler in self.optimizers.schedulers.values():
                scheduler.step(step)

    def _train_steps(self, stop: StopRequest) -> int:
        """Run the remaining steps and return the number of the step that would come next."""
        config, datamanager = self.config, self._datamanager
        rays = self.world_size * datamanager.get_train_rays_per_batch()
        log = StepLog(self._start_step, rays, self.optimizers.schedulers, self.device)
        evaluate = bool(datamanager.eval_dataset) and writer_enabled(config)
        for step in range(self._start_step, config.max_num_iterations):
            while self.training_state == "paused" and not (stop or self.stop_training):
                time.sleep(0.01)
                log.restart(step)
            if stop or self.stop_training:
                return step
            self.step = step
            with self.train_lock:
                if not (self.pipeline.training and self.pipeline.model.training):
                    self.pipeline.train()
                for callback in self._before:
                    callback.run_callback(step)
                loss, loss_dict, metrics_dict = self.train_iteration(step)
                self._run_after(step)
            if step % config.logging.steps_per_log == 0:
                log.write(step, loss, loss_dict, metrics_dict)
            if self.viewer_state is not None:
                self._update_viewer_state(step)
            if evaluate:
                with self.train_lock:
                    self.eval_iteration(step)
            if (step and step % config.steps_per_save == 0) or self.method.saves_after(step):
                self._try_to_save(step)
            if self.method.done:
                return step + 1
        return max(self._start_step, config.max_num_iterations)

    def _run_after(self, step: int) -> None:
        """Run what follows a step; where the last one fails there, what was trained is not lost with it."""
        try:
            for callback in self._after:
                callback.run_callback(step)
        except Exception:
            if step == self.config.max_num_iterations - 1:
                self._try_to_save(step)
            raise

    def _require_space(self) -> None:
        """Refuse to train where there is no room for a checkpoint.

        Raises:
            CheckpointError: the disk is too full.
        """
        # Optimizers keep two moments of each parameter.
        sizes = [3 * p.numel() * p.element_size() for p in self.pipeline.parameters()]
        needed = sum(sizes) + sum(b.numel() * b.element_size() for b in self.pipeline.buffers())
        free = shutil.disk_usage(self.base_dir).free
        if free < needed:
            raise CheckpointError(
                f"a checkpoint takes about {needed / 1e6:.0f} MB, and {self.base_dir} is on a disk with "
                f"{free / 1e6:.0f} MB free: free some space, or choose another disk with --output-dir"
            )

    def _save_somewhere(self, step: int) -> None:
        """Save at the end of a training: elsewhere, if the run's folder cannot be written to by now.

        Raises:
            CheckpointError: it could not be written to the run's folder; the message says where it is.
        """
        try:
            self.save_checkpoint(step)
        except CheckpointError as error:
            folder, self.checkpoint_dir = self.checkpoint_dir, Path(tempfile.mkdtemp(prefix="dyn3d-"))
            try:
                self.save_checkpoint(step)
            except CheckpointError:
                raise error from None
            finally:
                place, self.checkpoint_dir = self.checkpoint_dir, folder
            raise CheckpointError(
                f"{error}. What was trained is saved: --load-dir {shell_word(place)} goes on with it"
            ) from error

    def _try_to_save(self, step: int) -> None:
        """Save in the midst of training; a full disk is then no reason to throw the training away."""
        try:
            self.save_checkpoint(step)
        except CheckpointError as error:
            CONSOLE.print(
                f"[bold red]{error}\n[yellow]Training goes on; the next attempt is made at the next save."
            )

    def _leave(self, next_step: int, exit_code: int) -> None:
        """Save what has been trained and end the process as a signal would."""
        if next_step > self._start_step:
            with StopRequest():  # who is impatient does not lose what was trained
                self._save_somewhere(next_step - 1)
            CONSOLE.print(
                f"\n[yellow]Stopped after {next_step} of {self.config.max_num_iterations} steps. Resume with"
                f"\n  {resume_command(sys.argv, self.checkpoint_dir)}",
                soft_wrap=True,
            )
        self.shutdown()
        sys.exit(exit_code)

    def _after_train(self) -> None:
        """Run the callbacks for the end of training, save what they leave and name the next commands."""
        self.training_state = "completed"
        if self._start_step < self.config.max_num_iterations:
            for callback in self._callbacks_at(TrainingCallbackLocation.AFTER_TRAIN):
                callback.run_callback(self.step)
        self._save_somewhere(self.step)
        if self.method.unfinished is not None:
            CONSOLE.print(
                f"[bold red]All steps are trained and saved in {self.checkpoint_dir}, but what follows them "
                "failed:"
            )
            raise self.method.unfinished
        writer.write_out_storage()
        config_file = shell_word(self.base_dir / "config.yml")
        for line in self.method.outcome():
            CONSOLE.print(line)
        CONSOLE.print(
            f"\n[bold green]Trained.[/bold green] Checkpoint in {self.checkpoint_dir}\n"
            f"  watch    ns-viewer --load-config {config_file}\n"
            f"  measure  ns-eval --load-config {config_file}\n"
            f"  render   ns-render dataset --load-config {config_file}",
            soft_wrap=True,
        )

    @check_viewer_enabled
    def _train_complete_viewer(self) -> None:
        """Keep the viewer open until Ctrl-C or SIGTERM."""
        assert self.viewer_state is not None
        self.viewer_state.training_complete()
        CONSOLE.print(f"The viewer stays open; {how_to_stop()} closes it.")
        with StopRequest() as stop:
            while not (stop or self.stop_training):
                time.sleep(0.1)
        self.shutdown()

    def _callbacks_at(self, location: TrainingCallbackLocation) -> list[TrainingCallback]:
        return [callback for callback in self.callbacks if location in callback.where_to_run]

    def _recommend_cpu_method(self) -> None:
        """Say what the method made for a CPU would take on this machine and scene."""
        from nerfstudio.configs import method_configs  # not at import: it is loading us then

        config, datamanager = self.config, self._datamanager
        CONSOLE.print("[yellow]No NVIDIA GPU found: timing a few steps on the CPU…")
        other = cast(DynamicTrainerConfig, method_configs.all_methods[config.cpu_alternative])
        time_needed = in_words(forecast_seconds(other, datamanager))
        CONSOLE.print(
            f"[bold yellow]{config.method_name} is made for a GPU; {other.method_name} takes "
            f"about {time_needed} here for this scene ({other.max_num_iterations} steps):\n"
            f"  ns-train {other.method_name} --data {shell_word(datamanager.get_datapath())}",
            soft_wrap=True,
        )


def writer_enabled(config: TrainerConfig) -> bool:
    """Tell whether something is listening to evaluations during training."""
    return config.is_wandb_enabled() or config.is_tensorboard_enabled() or config.is_comet_enabled()
