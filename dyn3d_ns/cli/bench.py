"""`dyn3d bench`: run sequences end to end and put the figures beside published ones."""

from __future__ import annotations

import json
import math
import traceback
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from dyn3d_ns.cli.bench_mononerf import BenchMononerf
from dyn3d_ns.cli.bench_stream import BenchStream
from dyn3d_ns.cli.errors import CommandError, require_writable

if TYPE_CHECKING:
    from dyn3d_ns.cli.bench_report import SequenceResult


@dataclass(kw_only=True)
class BenchDas3r:
    """Process, train and evaluate sequences, and print DAS3R's tables with our column beside.

    Run it again to go on where it stopped: what is done is not done again. A sequence that fails is reported,
    and the others go on; the exit status is then 2.
    """

    sequences: Annotated[
        tuple[str, ...],
        tyro.conf.Positional,
        tyro.conf.arg(metavar="SEQUENCES", help_behavior_hint="(required)"),
    ]
    """What `dyn3d process` takes, or folders that it made; the last part of each is its name, and a name of
    DAS3R's tables puts it into them."""
    output: Path = Path("bench")
    """Folder for report.json, report.md, clips and trainings."""
    method: str | None = None
    """Preset to train: dyn3d-das3r on a machine with CUDA, dyn3d-das3r-fast without, if not given."""
    steps: int | None = None
    """Steps to train; those of the preset if not given."""

    def run(self) -> None:
        """Run all sequences and write the reports.

        Raises:
            CommandError: the arguments are wrong, or a sequence failed.
            SystemExit: Ctrl-C (status 130) or SIGTERM (143) stopped it.
        """
        names = sequence_names(self.sequences)
        if self.steps is not None and self.steps < 1:
            raise CommandError(f"--steps must be at least 1, got {self.steps}")
        require_writable(self.output, "--output")
        from dyn3d_ns.cli.bench_report import report
        from dyn3d_ns.cli.das3r import default_method, method_config, telling_how_to_go_on
        from dyn3d_ns.io.atomic import write_json, write_text

        method = self.method or default_method()
        method_config(method)
        results: list[SequenceResult] = []
        with telling_how_to_go_on("what is done is kept"):
            for source, name in zip(self.sequences, names, strict=True):
                print(f"{name}: {len(results) + 1} of {len(names)}", flush=True)
                results.append(self._attempt(source, name, method))
                # After each, so that a long run can be looked at before its end.
                text = report(results, method)
                write_text(self.output / "report.md", text)
                content = {"method": method, "sequences": [asdict(result) for result in results]}
                write_json(self.output / "report.json", content)
        print(text)
        print(f"Written to {self.output / 'report.md'} and report.json")
        failed = [result.name for result in results if result.error]
        if failed:
            raise CommandError(f"{len(failed)} of {len(results)} sequences failed: {', '.join(failed)}")

    def _attempt(self, source: str, name: str, method: str) -> SequenceResult:
        from dyn3d_ns.cli.bench_report import SequenceResult
        from dyn3d_ns.plain_errors import explanation, traceback_wanted

        result = SequenceResult(source, name, dataset_of(source, name))
        try:
            self._measure(result, method)
        except Exception as error:
            if traceback_wanted():
                traceback.print_exc()
            result.error = explanation(error) or f"{type(error).__name__}: {error}"
            print(f"{name} failed: {result.error}", flush=True)
        return result

    def _measure(self, result: SequenceResult, method: str) -> None:
        """Fill in the figures: those of an earlier run where the training is the same."""
        from dyn3d_ns.cli.das3r import load_scene, parser_of, train
        from dyn3d_ns.io.atomic import write_json

        parser = parser_of(result.source, self.output / "clips" / result.name)
        config = train(parser, self.output / "trainings" / result.name, method, self.steps)
        result.config = str(config)
        kept = config.parent / "figures.json"
        if kept.is_file():
            known = json.loads(kept.read_text(encoding="utf-8"))
            result.figures, result.frames, result.steps = (known[k] for k in ("figures", "frames", "steps"))
            return
        scene = load_scene(config, "test")
        result.figures = plain_figures(scene.pipeline.get_average_eval_image_metrics())
        result.frames, result.steps = len(scene.model.views.times), scene.step
        write_json(kept, {"figures": result.figures, "frames": result.frames, "steps": result.steps})


@dataclass
class Bench:
    """Run methods end to end and put the figures beside published ones."""

    what: (
        Annotated[BenchDas3r, tyro.conf.subcommand("das3r")]
        | Annotated[BenchStream, tyro.conf.subcommand("stream")]
        | Annotated[BenchMononerf, tyro.conf.subcommand("mononerf")]
    )

    def run(self) -> None:
        """Run the benchmark."""
        self.what.run()


def sequence_names(sequences: tuple[str, ...]) -> list[str]:
    """Return the name of each sequence: the last part of its path, without a video's suffix.

    Raises:
        CommandError: there is none, or two have the same name.
    """
    if not sequences:
        raise CommandError("give at least one sequence: a video, a folder of frames or a processed clip")
    names = [Path(source.rstrip("/")).stem for source in sequences]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise CommandError(f"two sequences are called {', '.join(twice)}; rename a folder, or run them apart")
    return names


def dataset_of(source: str, name: str) -> str:
    """Return whose tables a sequence stands in: by its prefix, else by its name; empty for none."""
    from dyn3d_ns.models.das3r.published import SEQUENCES

    prefix = source.partition(":")[0].lower()
    for dataset, names in SEQUENCES.items():
        if prefix in ("davis", "sintel") and prefix != dataset.lower():
            continue
        if name in names:
            return dataset
    return ""


def plain_figures(results: Mapping[str, Any]) -> dict[str, Any]:
    """Return what JSON can hold of an evaluation's results, without the single frames."""

    def plain(value: Any) -> bool:
        finite = isinstance(value, int | float) and math.isfinite(value)
        return finite or isinstance(value, str)

    return {key: value for key, value in results.items() if plain(value)}
