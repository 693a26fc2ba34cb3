"""A pipeline whose evaluation reports every split by name."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.data.datamanagers.base_datamanager import DataManagerConfig
from nerfstudio.pipelines.base_pipeline import VanillaPipeline, VanillaPipelineConfig
from nerfstudio.utils.rich_utils import CONSOLE
from PIL import Image
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from torch import Tensor

from dyn3d_ns.data.datamanager import DynamicDataManager, DynamicDataManagerConfig
from dyn3d_ns.engine import commands, places
from dyn3d_ns.engine.method import DynamicMethod
from dyn3d_ns.io.errors import UserError
from dyn3d_ns.io.resampling import mask_to
from dyn3d_ns.io.scene_metadata import scene_of
from dyn3d_ns.losses.photometric import composite
from dyn3d_ns.metrics.evaluation import (
    FrameScore,
    RegionError,
    eval_results,
    masked_error,
    region_errors,
    summarize,
)
from dyn3d_ns.metrics.image import load_lpips, mse, quantize, ssim
from dyn3d_ns.metrics.masks import contour_accuracy, mask_scores, region_similarity
from dyn3d_ns.metrics.trajectory import TrajectoryErrors, trajectory_errors

Lpips = Callable[[Float[Tensor, "H W 3"], Float[Tensor, "H W 3"]], float]


@dataclass
class DynamicPipelineConfig(VanillaPipelineConfig):
    """Configuration of the pipeline for scenes that move"""

    _target: type = field(default_factory=lambda: DynamicPipeline)
    """Target class to instantiate."""
    datamanager: DataManagerConfig = field(default_factory=DynamicDataManagerConfig)
    """Datamanager configuration."""

    def setup(self, **kwargs: Any) -> "DynamicPipeline":
        """Build the pipeline, and let the command that runs in this process know it as ours."""
        commands.adapt(DynamicPipeline, self.model._target)
        places.find_data(self.datamanager)
        return super().setup(**kwargs)


class DynamicPipeline(VanillaPipeline):
    """Train and evaluate a method on a scene that moves."""

    datamanager: DynamicDataManager

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Of a pipeline only viewers ask for these items; `ns-render dataset` has a datamanager of its own.
        self.datamanager.train_dataset.shown_only = True

    @property
    def method(self) -> DynamicMethod:
        """The model, as the toolkit knows it.

        Raises:
            TypeError: it is none of ours.
        """
        model = self.model
        if not isinstance(model, DynamicMethod):
            raise TypeError(
                f"DynamicPipeline takes models that extend DynamicMethod, not {type(model).__name__}"
            )
        return model

    def start(self, steps: int) -> None:
        """Plan a training of so many steps and let the method see its images.

        Raises:
            UserError: there are several scenes, or masks, but the method takes none of these.
        """
        dataset = self.datamanager.train_dataset
        scene = scene_of(dataset.metadata)
        if scene.scene_ids is not None and not self.method.takes_many_scenes:
            named = ", ".join(scene.scene_names) or "several"
            raise UserError(
                f"{type(self.method).__name__} learns from one scene, but the dataset gives more ({named}): "
                "name one with the dataparser's --scenes, and train each scene by itself"
            )
        if dataset.first_mask is not None and not self.method.takes_masks:
            raise UserError(
                f"{type(self.method).__name__} compares whole images, but masks say what is to count of them "
                f"({dataset.first_mask}, …): train without with --load-masks False of the dataparser, "
                "or take a method that weighs pixels, such as dyn3d-velocity"
            )
        self.method.plan(self.method.training_steps(steps))
        self.datamanager.sampling = self.method.sampling
        self.method.seed(self.datamanager)
        self.method.require_view(self.datamanager)

    def get_average_eval_image_metrics(
        self, step: int | None = None, output_path: Path | None = None, get_std: bool = False
    ) -> dict[str, Any]:
        """Score every evaluation frame and sum up by split and by source file.

        With ``step`` (an evaluation within training) the result holds only numbers; without it (`ns-eval`)
        also `per_frame`, one entry per image. With ``output_path`` ground truth and rendering are saved side
        by side as `eval_img_NNNN.png`.
        """
        scores = self._score_frames(output_path)
        figures = {
            **summarize(scores, with_std=get_std),
            **self._score_poses(),
            "masks": self._score_masks(),
            **self.method.figures(scores),
            **self.method.describe_size(),
        }
        return eval_results(figures, None if step is not None else [score.to_dict() for score in scores])

    def _score_frames(self, output_path: Path | None) -> list[FrameScore]:
        frames = self.datamanager.fixed_indices_eval_dataloader
        nets = {net: load_lpips(net, self.device) for net in ("alex", "vgg")}
        nets = {net: distance for net, distance in nets.items() if distance is not None}
        scores: list[FrameScore] = []
        was_training = self.training
        self.eval()
        chosen = self._shown_frames()
        columns = (TextColumn("[progress.description]{task.description}"), BarColumn(), TimeElapsedColumn())
        with Progress(*columns, MofNCompleteColumn(), transient=True) as progress:
            if not progress.console.is_terminal:  # a file shows no bar
                progress.console.print(f"Evaluating {len(chosen)} images")
            for index in progress.track(chosen, description="[green]Evaluating all images..."):
                camera, batch = frames[index]
                scores.append(self._score_frame(index, camera, batch, nets, output_path))
        self.train(was_training)
        return scores

    def _shown_frames(self) -> list[int]:
        """Return the evaluation images at times that the method has come to; say so if there are others."""
        cameras = self.datamanager.eval_dataset.cameras
        times = [0.0] * len(cameras) if cameras.times is None else cameras.times.flatten().tolist()
        chosen = [i for i, time in enumerate(times) if self.method.shows(time)]
        if len(chosen) < len(times):
            left = len(times) - len(chosen)
            CONSOLE.print(f"[yellow]Not trained yet, so not measured: {left} of {len(times)} images")
        return chosen

    @torch.no_grad()
    def _score_frame(
        self,
        index: int,
        camera: Cameras,
        batch: dict[str, Any],
        nets: dict[str, Lpips],
        output_path: Path | None,
    ) -> FrameScore:
        camera = self.method.estimated_camera(camera, batch)
        start = self._clock()
        outputs = self.model.get_outputs_for_camera(camera)
        rendered = outputs["rgb"]
        seconds = max(self._clock() - start, 1e-9)
        prediction = quantize(rendered[..., :3])
        target = composite(batch["image"].to(prediction.device), self.method.eval_background.to(prediction))
        if output_path is not None:
            _save_pair(output_path / f"eval_img_{index:04d}.png", target, prediction)
        dataset = self.datamanager.eval_dataset
        scene = scene_of(dataset.metadata)
        found = self.method.score(camera, batch, outputs)
        regions = {name: value for name, value in found.items() if isinstance(value, RegionError)}
        regions |= masked_error(prediction, target, batch.get("mask"))
        return FrameScore(
            file=self._relative(dataset.image_filenames[index]),
            camera_id=int(scene.camera_ids[index]),
            time=float(0.0 if camera.times is None else camera.times),
            split=scene.splits[index],
            source=scene.source_files[index],
            mse=mse(prediction, target),
            ssim=ssim(prediction, target),
            lpips={net: distance(prediction, target) for net, distance in nets.items()},
            render_seconds=seconds,
            num_rays=prediction.shape[0] * prediction.shape[1],
            mse_by_region=region_errors(prediction, target, batch.get("dynamic_mask")) | regions,
            extra={name: value for name, value in found.items() if not isinstance(value, RegionError)},
        )

    def _score_poses(self) -> dict[str, TrajectoryErrors]:
        """Compare the model's camera poses, and those before, with the dataset's where both exist."""
        estimated = self.method.estimated_poses()
        dataset = self.datamanager.train_dataset
        true = scene_of(dataset.metadata).true_poses
        if estimated is None or true is None or len(true) < 2:
            return {}
        before = torch.eye(4, dtype=true.dtype).repeat(len(true), 1, 1)
        before[:, :3] = dataset.cameras.camera_to_worlds.cpu().to(true)
        # Between two training frames there may be one that is held out.
        gaps = torch.diff(torch.as_tensor(dataset.cameras.times).flatten().cpu().double())
        in_a_row = (gaps > 0) & (gaps < 1.5 * gaps[gaps > 0].median()) if bool((gaps > 0).any()) else None
        return {
            "pose": trajectory_errors(estimated.detach().cpu(), true, in_a_row=in_a_row),
            "pose_before": trajectory_errors(before, true, in_a_row=in_a_row),
        }

    def _score_masks(self) -> dict[str, float] | None:
        """Compare the model's masks of training images with true ones where both exist."""
        masks = self.method.estimated_masks()
        dataset = self.datamanager.train_dataset
        source = scene_of(dataset.metadata).priors
        if masks is None or "dynamic_mask" not in source.truths:
            return None
        regions, contours = [], []
        for i, mask in enumerate(masks):
            if source.has_true_mask(i):
                estimated = mask.cpu().numpy()
                true = mask_to(source.true_mask(i), estimated.shape[::-1])
                regions.append(region_similarity(estimated, true))
                contours.append(contour_accuracy(estimated, true))
        return mask_scores(regions, contours) if regions else None

    def _clock(self) -> float:
        if torch.device(self.device).type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def _relative(self, path: Path) -> str:
        return Path(os.path.relpath(path, self.datamanager.get_datapath())).as_posix()


def _save_pair(path: Path, target: Tensor, prediction: Tensor) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pair = torch.cat((quantize(target), prediction), dim=1).mul(255.0).round().byte()
    Image.fromarray(np.ascontiguousarray(pair.cpu().numpy())).save(path)
