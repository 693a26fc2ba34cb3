"""`dyn3d bench mononerf`: one field for several scenes and its ablations, beside published figures."""

from __future__ import annotations

import copy
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import tyro

from dyn3d_ns.cli.bench_mononerf_report import ROWS, Row, RowResult, report
from dyn3d_ns.cli.errors import CommandError, require_writable

if TYPE_CHECKING:
    from dyn3d_ns.engine.pipeline import DynamicPipeline
    from dyn3d_ns.engine.trainer import DynamicTrainerConfig


class _Run(NamedTuple):
    """One training."""

    name: str
    scenes: tuple[str, ...]
    steps: int
    guided: bool = True
    train_frames: str | None = None
    adapt_steps: int = 0
    source: _Run | None = None
    """Training whose networks it starts from."""


@dataclass(kw_only=True)
class BenchMononerf:
    """Train dyn3d-mononerf on scenes together, apart and without its parts; print one table a scene.

    Run it again to go on where it stopped: what is trained and measured is not done again. Held-out views are
    those of `multiview_GT` and the like; all trainings share what the dataparser makes of a scene.
    """

    data: Annotated[Path, tyro.conf.Positional]
    """Folder of the scenes, as dynamic-scene-data reads it."""
    scenes: tuple[str, ...]
    """Names of scenes in it, or further folders. The networks of the first are taken to the others."""
    output: Path = Path("bench-mononerf")
    """Folder for report.md, report.json and trainings."""
    only: tuple[Row, ...] = ROWS
    """Rows of the tables. both: one training on all scenes. each: a training a scene; of n scenes each gets
    an n-th of the steps, which is as many steps a scene. unguided: as both, without features of where a place
    was and will be. unseen: as both, what moves fitted to --train-frames; measured at the others. adapt: the
    training of each on the first scene, taken to each other scene in --adapt-steps steps.
    scratch: as many steps on that scene from nothing."""
    method: str = "dyn3d-mononerf-fast"
    """Preset."""
    steps: int | None = None
    """Steps of a training on all scenes; the preset's if not given."""
    adapt_steps: int = 500
    """Steps of adapt and scratch."""
    train_frames: str = "0:5"
    """Frames that what moves is fitted to in unseen: 0:5 are 0 to 4."""
    factor: int = 0
    """Images are shrunk by it; 0 as the dataparser does by default."""

    def run(self) -> None:
        """Run all rows and write the report.

        Raises:
            CommandError: the arguments are wrong.
            UserError: a scene is not there.
            SystemExit: Ctrl-C (status 130) or SIGTERM (143) stopped it.
        """
        self._check()
        from dyn3d_ns.cli.das3r import telling_how_to_go_on
        from dyn3d_ns.io.atomic import write_json, write_text

        results: list[RowResult] = []
        with telling_how_to_go_on("what is trained and measured is kept"):
            for row in self.only:
                result = self._row(row)
                if not result.scenes:
                    continue
                results.append(result)
                text = report(results, self.method)
                write_text(self.output / "report.md", text)
                content = {"method": self.method, "rows": [asdict(result) for result in results]}
                write_json(self.output / "report.json", content)
        print(text)
        print(f"Written to {self.output / 'report.md'} and report.json")

    def _check(self) -> None:
        from nerfstudio.configs.method_configs import all_methods

        from dyn3d_ns.models.mononerf.model import MonoNerfModelConfig

        wrong = {
            "give the scenes' names with --scenes": len(self.scenes) == 0,
            f"--steps must be at least 1, got {self.steps}": self.steps is not None and self.steps < 1,
            f"--adapt-steps must be at least 1, got {self.adapt_steps}": self.adapt_steps < 1,
            "adapt and scratch need a second scene": len(self.scenes) < 2
            and set(self.only) <= {"adapt", "scratch"},
            "--only needs a row": not self.only,
        }
        for message, is_wrong in wrong.items():
            if is_wrong:
                raise CommandError(message)
        config = all_methods.get(self.method)
        if config is None or not isinstance(config.pipeline.model, MonoNerfModelConfig):
            raise CommandError(
                f"--method {self.method} is none of dyn3d-mononerf's; `ns-train --help` lists them"
            )
        require_writable(self.output, "--output")

    def _row(self, row: Row) -> RowResult:
        """Train and measure what a row needs; a row without a scene has no figures."""
        result = RowResult(row, self._title(row))
        for run in self._runs(row):
            print(f"{row}: {', '.join(run.scenes)}", flush=True)
            config = self._trained(run)
            measured = _measured(config)
            seconds = json.loads((config.parent / "done").read_text(encoding="utf-8"))["seconds"]
            for scene, found in measured.items():
                result.scenes[scene], result.seconds[scene] = found, seconds
        return result

    def _title(self, row: Row) -> str:
        count, every = len(self.scenes), "all" if len(self.scenes) > 2 else "both"
        first = next(Path(scene).name for scene in self.scenes)
        return {
            "both": f"one training on {every} scenes" if count > 1 else "one training",
            "each": f"a training a scene, 1/{count} of the steps" if count > 1 else "a training a scene",
            "unguided": "… without velocity-guided features",
            "unseen": f"… fitted to frames {self.train_frames}, at the others",
            "adapt": f"networks of {first}, {self.adapt_steps} steps here",
            "scratch": f"{self.adapt_steps} steps from nothing",
        }[row]

    def _runs(self, row: Row) -> list[_Run]:
        from nerfstudio.configs.method_configs import all_methods

        steps = self.steps or all_methods[self.method].max_num_iterations
        both = _Run("both", self.scenes, steps)
        each = [_Run("each", (scene,), max(steps // len(self.scenes), 1)) for scene in self.scenes]
        others = self.scenes[1:]
        n = self.adapt_steps
        return {
            "both": [both],
            "each": each,
            "unguided": [both._replace(name="unguided", guided=False)],
            "unseen": [both._replace(name="unseen", train_frames=self.train_frames)],
            "adapt": [_Run("adapt", (s,), n, adapt_steps=n, source=each[0]) for s in others],
            "scratch": [_Run("scratch", (s,), n, adapt_steps=n) for s in others],
        }[row]

    def _trained(self, run: _Run) -> Path:
        """Train, or go on with it, and return its config.yml."""
        from nerfstudio.scripts.train import train_loop

        from dyn3d_ns.io.atomic import write_json

        source = None if run.source is None else self._trained(run.source)
        config = self._config(run)
        saved, spent = config.get_base_dir() / "config.yml", config.get_base_dir() / "seconds"
        done = config.get_base_dir() / "done"
        if done.is_file():
            return saved
        config.load_dir = None if source is None else source.parent / "nerfstudio_models"
        resumed = any(config.get_checkpoint_dir().glob("step-*.ckpt"))
        if resumed:
            config.load_dir = config.get_checkpoint_dir()
        config.save_config()
        before = json.loads(spent.read_text(encoding="utf-8")) if resumed and spent.is_file() else 0.0
        start = time.perf_counter()
        try:
            train_loop(0, 1, config)
        finally:
            seconds = before + time.perf_counter() - start
            write_json(spent, seconds)
        write_json(done, {"seconds": seconds})
        return saved

    def _config(self, run: _Run) -> DynamicTrainerConfig:
        from nerfstudio.configs.method_configs import all_methods

        config: Any = copy.deepcopy(all_methods[self.method])
        model, manager = config.pipeline.model, config.pipeline.datamanager
        parser = manager.dataparser
        config.data = manager.data = parser.data = self.data.resolve()
        parser.scenes, parser.factor, parser.train_frames = run.scenes, self.factor, run.train_frames
        model.velocity_guided, model.adapt_steps = run.guided, run.adapt_steps
        config.max_num_iterations = run.steps
        config.output_dir, config.experiment_name = (
            (self.output / "trainings").resolve(),
            "+".join(Path(scene).name for scene in run.scenes),
        )
        parts = [run.name, str(run.steps), *filter(None, [run.train_frames])]
        if run.source is not None:
            parts.append(f"from-{Path(run.source.scenes[0]).name}-{run.source.steps}")
        if self.factor:
            parts.append(f"factor-{self.factor}")
        config.timestamp = "-".join(parts).replace(":", "-")
        config.vis, config.cpu_alternative = "tensorboard", ""
        return config


def _measured(config: Path) -> dict[str, dict[str, Any]]:
    """Return the figures of a training by scene: those of an earlier run where there are any."""
    from typing import cast

    from nerfstudio.utils.eval_utils import eval_setup

    from dyn3d_ns.data.datamanager import DynamicDataManager
    from dyn3d_ns.io.atomic import write_json
    from dyn3d_ns.models.mononerf.flow import flow_errors
    from dyn3d_ns.models.mononerf.model import MonoNerfModel

    kept = config.parent / "figures.json"
    if kept.is_file():
        return json.loads(kept.read_text(encoding="utf-8"))
    _, pipeline, _, _ = eval_setup(config)
    model = pipeline.model
    assert isinstance(model, MonoNerfModel)
    metrics = cast("DynamicPipeline", pipeline).get_average_eval_image_metrics()
    flow = flow_errors(model, cast(DynamicDataManager, pipeline.datamanager))
    found = {name: {**figures_of(metrics, name), "flow": flow.get(name, {})} for name in model.scene_names}
    write_json(kept, found)
    return found


def figures_of(metrics: dict[str, Any], scene: str) -> dict[str, Any]:
    """Return the figures of one scene: those of each split, and of protocol A.

    Args:
        metrics: What an evaluation reports, with `per_frame`.
        scene: Its name.
    """
    frames = [f for f in metrics["per_frame"] if f["source"] == f"{scene}_{f['split']}"]
    splits = list(dict.fromkeys(frame["split"] for frame in frames))
    several = len({frame["source"] for frame in metrics["per_frame"]}) > 1
    found: dict[str, Any] = {}
    for split in splits:
        # Where all images have one source, the evaluation names the split alone.
        prefix = f"{scene}_{split}_" if several else f"{split}_"
        found[split] = {
            name.removeprefix(prefix): value for name, value in metrics.items() if name.startswith(prefix)
        }
    first = min((frame["camera_id"] for frame in frames), default=0)
    fixed = [frame for frame in frames if frame["camera_id"] == first]
    found["fixed"] = {
        name: sum(frame[name] for frame in fixed) / len(fixed)
        for name in ("psnr", "ssim", "lpips")
        if fixed and all(name in frame for frame in fixed)
    } | {"images": len(fixed)}
    return found
