"""`dyn3d bench stream`: streaming methods and their parts side by side, beside published figures."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from dyn3d_ns.cli.errors import CommandError, require_writable

if TYPE_CHECKING:
    from dyn3d_ns.engine.pipeline import DynamicPipeline
    from dyn3d_ns.models.stream.published import Published

Row = Literal["ours", "frozen", "anew", "everything", "no-gate", "no-grid", "no-new", "grid"]
TITLES: dict[Row, str] = {
    "anew": "every frame trained anew (frames {frames})",
    "ours": "{method}",
    "no-gate": "… without the gate: everything may change",
    "no-grid": "… without the motion grid",
    "no-new": "… without new Gaussians",
    "everything": "fine-tuning everything, as many steps",
    "grid": "{grid}",
    "frozen": "frame 0, frozen",
}
"""What each row is called, in the order of the table."""
RULE = (
    "Bytes are those of all files of the stream after frame 0 (deltas and keyframes), divided by the frames "
    "after frame 0; in brackets with frame 0, divided by all frames. kB are 1000 bytes. Seconds are of the "
    "frames after frame 0: of the clock, and of all processors together. PSNR and SSIM are means over the "
    "frames after frame 0 of the held-out camera, whose reference is the decoded video in 8 bits."
)


@dataclass
class RowResult:
    """What became of one row."""

    row: Row
    title: str
    psnr: list[float] = field(default_factory=list)
    """Of each frame of the held-out camera; frame 0 first, where it was trained."""
    ssim: list[float] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)
    """Bytes, seconds and frames a second."""


@dataclass(kw_only=True)
class BenchStream:
    """Train and evaluate streaming methods, whole and without their parts, and print one table a scene.

    Each row is a training of the whole recording, as long as `ns-train` takes with its preset; anew takes
    that of frame 0 once for each of --anew-frames, and frozen shares the training of ours. Fewer --rows, and
    --frame-end, save time. Run it again to go on where it stopped: rows that are done are not done again.
    """

    scenes: Annotated[
        tuple[Path, ...],
        tyro.conf.Positional,
        tyro.conf.arg(metavar="SCENE [SCENE ...]", help_behavior_hint="(required)"),
    ]
    """Recordings that n3dv-data reads, at least one."""
    output: Path = Path("bench-stream")
    """Folder for report.md, report.json, decoded frames and trainings."""
    rows: tuple[Row, ...] = ("anew", "ours", "no-gate", "no-grid", "no-new", "everything", "grid", "frozen")
    """Rows of the table. anew: some frames, each trained from nothing. ours: --method as it is. no-gate:
    everything may change, not only where the images do. no-grid: without the motion grid. no-new: without new
    Gaussians. everything: without gate, grid and ties to the frame before, as many steps. grid:
    --grid-method. frozen: frame 0 shown at all times."""
    method: str = "dyn3d-stream-splat-fast"
    """Preset of the Gaussians."""
    grid_method: str = "dyn3d-streamrf-fast"
    """Preset of the grid."""
    frame_end: int | None = None
    """Frame after the last; the whole recording if not given."""
    scale: float = 1.0
    """Size of the images over that of the frames."""
    anew_frames: int = 4
    """Frames, evenly spread, of the row that is trained anew."""

    def run(self) -> None:
        """Run all rows and write the report.

        Raises:
            CommandError: a scene or method is not there.
        """
        if not self.scenes:
            raise CommandError(
                "give at least one recording, such as `dyn3d bench stream recordings/table`: a folder that "
                "n3dv-data reads"
            )
        require_writable(self.output, "--output")
        from dyn3d_ns.io.atomic import write_json, write_text

        parts, content = [], {}
        for scene in self.scenes:
            results: list[RowResult] = []
            for row in self.rows:
                print(f"{scene.name}: {row}", flush=True)
                results.append(self._row(scene, row))
                text = "\n\n".join([*parts, table(scene.name, results)])
                content[scene.name] = [asdict(result) for result in results]
                write_text(self.output / "report.md", text + "\n\n" + published_tables() + "\n")
                write_json(self.output / "report.json", content)
            parts.append(table(scene.name, results))
        print((self.output / "report.md").read_text(encoding="utf-8"))

    def _row(self, scene: Path, row: Row) -> RowResult:
        frames = self._anew(scene) if row == "anew" else []
        title = TITLES[row].format(
            method=self.method, grid=self.grid_method, frames=", ".join(str(i) for i in frames)
        )
        kept = self.output / "rows" / scene.name / f"{row}.json"
        if kept.is_file():
            return RowResult(**json.loads(kept.read_text(encoding="utf-8")))
        result = RowResult(row, title)
        if row == "anew":
            runs = [self._trained(scene, row, (i, i + 1)) for i in frames]
            measured = [measure(run) for run in runs]
            result.psnr = [found["per_frame"][0]["psnr"] for found in measured]
            result.ssim = [found["per_frame"][0]["ssim"] for found in measured]
            for name in ("bytes_per_frame", "seconds_per_frame", "cpu_seconds_per_frame"):
                later = name.replace("per_frame", "per_later_frame")
                result.figures[later] = sum(found[name] for found in measured) / len(measured)
            result.figures["bytes_per_frame"] = result.figures["bytes_per_later_frame"]
        else:
            found = measure(self._trained(scene, "ours" if row == "frozen" else row), frozen=row == "frozen")
            result.psnr = [frame["psnr"] for frame in found["per_frame"]]
            result.ssim = [frame["ssim"] for frame in found["per_frame"]]
            result.figures = {k: v for k, v in found.items() if "per_" in k and isinstance(v, float)}
            result.figures["frames_per_second"] = found["frames_per_second"]
            if row == "frozen":
                result.figures = {"frames_per_second": found["frames_per_second"]}
        from dyn3d_ns.io.atomic import write_json

        write_json(kept, asdict(result))
        return result

    def _anew(self, scene: Path) -> list[int]:
        """Return the frames that are trained anew."""
        from dyn3d_ns.io.recordings.opening import open_recording

        count = self.frame_end or open_recording(scene).num_frames
        number = min(self.anew_frames, count - 1)
        return [round((k + 1) * (count - 1) / number) for k in range(number)]

    def _trained(self, scene: Path, row: Row, frames: tuple[int, int] | None = None) -> Path:
        """Train a row, or go on with it, and return its config.yml."""
        from nerfstudio.configs.method_configs import all_methods
        from nerfstudio.scripts.train import train_loop

        name = self.grid_method if row == "grid" else self.method
        if name not in all_methods:
            raise CommandError(f"there is no method {name!r}; `ns-train --help` lists them")
        config = copy.deepcopy(all_methods[name])
        CHANGES.get(row, lambda _: None)(config.pipeline.model)  # type: ignore[attr-defined]
        parser = config.pipeline.datamanager.dataparser  # type: ignore[attr-defined]
        config.data = config.pipeline.datamanager.data = parser.data = scene.resolve()  # type: ignore
        parser.scale, parser.cache_dir = self.scale, (self.output / "decoded").resolve()
        parser.frame_end = self.frame_end
        if frames is not None:
            parser.frame_start, parser.frame_end = frames
        config.output_dir, config.experiment_name = (self.output / "trainings").resolve(), scene.name
        config.timestamp = row if frames is None else f"{row}-{frames[0]:04d}"
        config.vis, config.cpu_alternative = "tensorboard", ""  # type: ignore[attr-defined]
        saved, done = config.get_base_dir() / "config.yml", config.get_base_dir() / "done"
        if done.is_file():
            return saved
        config.save_config()
        if any(config.get_checkpoint_dir().glob("step-*.ckpt")):
            config.load_dir = config.get_checkpoint_dir()
        train_loop(0, 1, config)
        done.touch()
        return saved


def _everything(model: Any) -> None:
    model.encoder.gate, model.cell_sizes = False, ()
    model.encoder.fit.rigid_weight = model.encoder.fit.rest_weight = 0.0


def _no_gate(model: Any) -> None:
    model.encoder.gate = False


def _no_grid(model: Any) -> None:
    model.cell_sizes = ()


def _no_new(model: Any) -> None:
    model.encoder.fit.renewed = 0


CHANGES: dict[Row, Callable[[Any], None]] = {
    "everything": _everything,
    "no-gate": _no_gate,
    "no-grid": _no_grid,
    "no-new": _no_new,
}
"""What a row changes of the preset."""


def measure(config: Path, frozen: bool = False) -> dict[str, Any]:
    """Return what `ns-eval` reports of a training, with frame 0 at all times if ``frozen``."""
    from typing import cast

    from nerfstudio.utils.eval_utils import eval_setup

    _, found, _, _ = eval_setup(config)
    pipeline = cast("DynamicPipeline", found)
    if frozen:
        times = pipeline.datamanager.eval_dataset.cameras.times
        assert times is not None
        times.zero_()
    return pipeline.get_average_eval_image_metrics()


def table(scene: str, results: Sequence[RowResult]) -> str:
    """Return a scene's table as Markdown."""
    lines = [
        f"## {scene}",
        "",
        "| | PSNR | first ten | last ten | SSIM | kB a frame | CPU-s a frame | s a frame | frames/s |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    order = list(TITLES)
    for result in sorted(results, key=lambda r: order.index(r.row)):
        anew = result.row == "anew"
        psnr, ssim = (values if anew else values[1:] for values in (result.psnr, result.ssim))
        ends = (psnr[:10], psnr[-10:]) if not anew and len(psnr) >= 20 else ([], [])
        f = result.figures
        size = ""
        if "bytes_per_later_frame" in f:
            size = f"{f['bytes_per_later_frame'] / 1000:.1f} ({f['bytes_per_frame'] / 1000:.1f})"
        cells = [
            result.title,
            *(_mean(values, 2) for values in (psnr, *ends)),
            _mean(ssim, 4),
            size,
            *(_number(f.get(k), 2) for k in ("cpu_seconds_per_later_frame", "seconds_per_later_frame")),
            _number(f.get("frames_per_second"), 1),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", RULE])


def published_tables() -> str:
    """Return the published figures as Markdown."""
    from dyn3d_ns.models.stream.published import MEET_ROOM, N3DV

    return "\n\n".join(
        [
            "## Published, copied and not measured here",
            _published("N3DV, mean of six scenes", N3DV),
            _published("Meet Room", MEET_ROOM),
        ]
    )


def _published(title: str, rows: Sequence[Published]) -> str:
    lines = [f"| {title} | PSNR | MB a frame | s a frame | frames/s | source |", "|---|---|---|---|---|---|"]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def _mean(values: Sequence[float], digits: int) -> str:
    return f"{sum(values) / len(values):.{digits}f}" if values else ""


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"
