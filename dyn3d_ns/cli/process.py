"""`dyn3d process`: from a video, or a folder of frames, to what the methods train on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from dyn3d_ns.cli.errors import CommandError, require_writable
from dyn3d_ns.io.clip.workspace import Workspace
from dyn3d_ns.video.pipeline import PipelineSettings, build_stages


@dataclass(kw_only=True)
class Process(PipelineSettings):
    """Turn a video into frames, flow, tracks, masks, cameras, depth and a 4-D point cloud.

    Run it again to go on where it stopped: what is done and still holds is kept. `OUT/manifest.json` tells
    what ran. Then: `ns-train dyn3d-velocity-fast dynamicverse-data --data OUT`, or `dyn3d view OUT`.
    """

    source: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="SOURCE")]
    """A video file, or a folder of images in the order of their names."""
    out: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OUT")]
    """The folder that is written."""
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
        stages = build_stages(self.source, self, names)
        redo = _names(self.redo)
        unknown = [name for name in redo if name not in {stage.name for stage in stages}]
        if unknown:
            raise CommandError(f"--redo names {', '.join(unknown)}, which is not among the stages to run")
        if self.out.is_file():
            raise CommandError(f"OUT must be a folder, but {self.out} is a file")
        require_writable(self.out, "OUT")
        report = ConsoleReport()
        try:
            with sigterm_as_exception():
                run = Runner(Workspace(self.out), stages, report).run(redo)
        except KeyboardInterrupt as stop:
            report.console.print("stopped; run the same command again to go on where it stopped")
            raise SystemExit(exit_code(stop)) from None
        report.summary(run, self.out)
        if run.failed:
            bad = ", ".join(o.stage for o in run.outcomes if o.state in ("failed", "left out"))
            raise CommandError(f"{bad} could not be done (see above); all other results stay in {self.out}")


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]
