"""`dyn3d segment`: sort a trained scene's matter by how it moves, and write masks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dyn3d_ns.cli.errors import CommandError, require_writable

if TYPE_CHECKING:
    import numpy as np

    from dyn3d_ns.geometry.world import World


@dataclass(kw_only=True)
class Segment:
    """Find the parts of a dyn3d-velocity-planes scene that move rigidly, without labels, and write masks."""

    load_config: Path
    """config.yml of a training of dyn3d-velocity-planes."""
    output_dir: Path
    """Folder for the masks: one palette PNG a view and time, 0 where there is nothing."""
    slots: int = 8
    """Most parts to look for."""
    steps: int = 1000
    """Training steps of the network that sorts."""
    every: int = 1
    """Write every n-th evaluation image."""
    threshold: float = 0.5
    """Accumulation from which on a pixel belongs to a part."""
    segm_data: Path | None = None
    """A data_segm folder (or one like ground_truth with object ids) to compare the masks with."""
    seed: int = 0
    """Seed of the network and of the points."""

    def run(self) -> None:
        """Train the slots, keep them in the checkpoint for the viewer, and write masks."""
        if self.slots < 2 or self.steps < 1 or self.every < 1:
            raise CommandError("--slots must be at least 2, --steps and --every at least 1")
        require_writable(self.output_dir, "--output-dir")
        from dyn3d_ns.cli.planes import load_planes

        config, pipeline = load_planes(self.load_config, "--load-config")
        truth = self._truth(pipeline.model.world)
        self._train(config, pipeline.model)
        scores = self._write_masks(pipeline, truth)
        if scores:
            print(f"mean IoU over {len(scores)} images with labels: {sum(scores) / len(scores):.3f}")
        print(f"Masks in {self.output_dir}; ns-viewer and ns-render now have the output 'segment'")

    def _train(self, config: Any, model: Any) -> None:
        import torch
        from rich.progress import Progress

        from dyn3d_ns.cli.planes import PREFIX, read_checkpoint
        from dyn3d_ns.engine.checkpoint import save_checkpoint
        from dyn3d_ns.models.planes.segments import train_slots

        state, path = read_checkpoint(config, self.load_config)
        require_writable(path.parent, "--load-config, that of a copy of the training")
        torch.manual_seed(self.seed)
        generator = torch.Generator().manual_seed(self.seed)
        with Progress(transient=True) as progress:
            task = progress.add_task("Sorting matter by motion", total=self.steps)
            try:
                network = train_slots(
                    model.scene,
                    self.slots,
                    self.steps,
                    generator,
                    report=lambda step, loss: progress.update(task, completed=step + 1),
                )
            except ValueError as error:
                raise CommandError(str(error)) from error
        model.scene.slots = network
        kept = {k: v for k, v in state["pipeline"].items() if not k.startswith(PREFIX + "slots.")}
        named = {f"{PREFIX}slots.{k}": v.cpu() for k, v in network.state_dict().items()}
        save_checkpoint(state | {"pipeline": kept | named}, path.parent, state["step"], False)

    def _truth(self, world: World) -> dict[tuple[int, ...], np.ndarray]:
        """Read label maps by rounded pose (in the world of training) and time, if any were given."""
        if self.segm_data is None:
            return {}
        from dyn3d_ns.io.segmentation import pose_key, read_segmentation

        return {
            pose_key(world.poses(frame.camera_to_world[None])[0], frame.time): frame.labels()
            for frame in read_segmentation(self.segm_data)
        }

    def _write_masks(self, pipeline: Any, truth: dict[tuple[int, ...], np.ndarray]) -> list[float]:
        import numpy as np
        from rich.progress import track

        from dyn3d_ns.io.atomic import atomic_path
        from dyn3d_ns.io.segmentation import palette_image, pose_key
        from dyn3d_ns.metrics.segmentation import matched_iou

        datamanager, scores = pipeline.datamanager, []
        frames = datamanager.fixed_indices_eval_dataloader
        for i in track(range(0, len(frames), self.every), "Writing masks", transient=True):
            camera, _ = frames[i]
            shares, accumulation = pipeline.model.segment(camera)
            labels = (shares.argmax(-1) + 1) * (accumulation[..., 0] >= self.threshold)
            mask = labels.cpu().numpy().astype(np.uint8)
            name = datamanager.eval_dataset.image_filenames[i].stem
            with atomic_path(self.output_dir / f"{name}.png") as path:
                palette_image(mask).save(path, format="PNG")
            pose = np.vstack([camera.camera_to_worlds[0].cpu().double().numpy(), [0, 0, 0, 1]])
            known = truth.get(pose_key(pose, float(camera.times)))
            if known is not None and known.shape == mask.shape:
                scores.append(matched_iou(mask, known))
        return scores
