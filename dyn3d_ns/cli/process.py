"""`dyn3d process`: from a video, or a folder of frames, to what the methods train on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from dyn3d_ns.cli.errors import CommandError, require_writable
from dyn3d_ns.io.clip.workspace import Workspace
from dyn3d_ns.io.shell import shell_word
from dyn3d_ns.video.pipeline import PipelineSettings, build_stages


@dataclass(kw_only=True)
class Process(PipelineSettings):
    """Turn a video into frames, flow, tracks, masks, cameras, depth and a 4-D point cloud.

    Run it again to go on where it stopped: what is done and still holds is kept. `OUT/manifest.json` tells
    what ran. Then: `ns-train dyn3d-velocity-fast dynamicverse-data --data OUT`, or `dyn3d view OUT`.

    A sequence of a dataset goes by name: `davis:ROOT/NAME` or `sintel:ROOT/NAME` (`sintel:ROOT/clean/NAME`
    for the other pass). Its OUT may be left out: it is `ROOT/dyn3d/480p/NAME` or `ROOT/dyn3d/final/NAME`,
    where `davis-data` and `sintel-data` look for it.
    """

    source: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="SOURCE")]
    """A video file, a folder of images in the order of their names, davis:ROOT/NAME or sintel:ROOT/NAME."""
    out: Annotated[Path | None, tyro.conf.Positional, tyro.conf.arg(metavar="[OUT]")] = None
    """The folder that is written; for a sequence of DAVIS or Sintel it may be left out."""
    stages: str = "all"
    """Which stages to run, separated by commas; the results of the others must be there."""
    redo: str = ""
    """Stages to run even if they are done, separated by commas."""

    def run(self) -> None:
        """Run the stages and print what became of them.

        Raises:
            CommandError: a stage failed or could not run.
            SystemExit: Ctrl-C (status 130) or SIGTERM (143) stopped it.
        """
        from dyn3d_ns.engine.interrupt import exit_code, sigterm_as_exception
        from dyn3d_ns.video.report import ConsoleReport
        from dyn3d_ns.video.runner import Runner

        names = None if self.stages == "all" else _names(self.stages)
        source, out, option = self._places()
        stages = build_stages(source, self, names)
        redo = _names(self.redo)
        unknown = [name for name in redo if name not in {stage.name for stage in stages}]
        if unknown:
            raise CommandError(f"--redo names {', '.join(unknown)}, which is not among the stages to run")
        if out.is_file():
            raise CommandError(f"OUT must be a folder, but {out} is a file")
        require_writable(out, option)
        report = ConsoleReport()
        try:
            with sigterm_as_exception():
                run = Runner(Workspace(out), stages, report).run(redo)
        except KeyboardInterrupt as stop:
            report.console.print("stopped; run the same command again to go on where it stopped")
            raise SystemExit(exit_code(stop)) from None
        report.summary(run, out)
        if run.failed:
            bad = ", ".join(o.stage for o in run.outcomes if o.state in ("failed", "left out"))
            raise CommandError(f"{bad} could not be done (see above); all other results stay in {out}")

    def _places(self) -> tuple[Path, Path, str]:
        """Return what is read, what is written, and how messages name the latter."""
        from dyn3d_ns.io.sequences import PREFIXES, named_sequence

        sequence = named_sequence(self.source)
        source = Path(self.source) if sequence is None else sequence.folder
        if self.out is not None:
            return source, self.out, "OUT"
        if sequence is None:
            raise CommandError(
                f"OUT is missing: `dyn3d process {shell_word(self.source)} OUT` names the folder to write; "
                f"only sequences of a dataset ({', '.join(PREFIXES)}) have a place of their own"
            )
        return source, sequence.clip, "OUT, and that to the dataparser with --clip"


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]
