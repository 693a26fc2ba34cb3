"""`dyn3d eval-flow`: compare the flow that a method's motion makes between frames with the dataset's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import cast

from dyn3d_ns.cli.errors import CommandError, require_output_file


@dataclass(kw_only=True)
class EvalFlow:
    """Compare the flow that the learned motion makes from each training frame to the next with the data's.

    That is the flow of the scene's files, or, where it has none, the one that was made of its images.
    """

    load_config: Path
    """config.yml of a training."""
    output: Path | None = None
    """File for the errors (JSON)."""

    def run(self) -> None:
        """Load the scenes, print a table and write the file."""
        from rich.console import Console
        from rich.table import Table

        from dyn3d_ns.cli.rig import load_pipeline
        from dyn3d_ns.data.datamanager import DynamicDataManager
        from dyn3d_ns.io.atomic import write_json
        from dyn3d_ns.models.mononerf.flow import flow_errors
        from dyn3d_ns.models.mononerf.model import MonoNerfModel

        if self.output is not None:
            require_output_file(self.output, ".json")
        pipeline = load_pipeline(self.load_config, "val")
        if not isinstance(pipeline.model, MonoNerfModel):
            raise CommandError(f"{self.load_config} is of a method that makes no flow; dyn3d-mononerf does")
        errors = flow_errors(pipeline.model, cast(DynamicDataManager, pipeline.datamanager))
        table = Table(title="End-point error of the flow to the next frame (pixels)", title_justify="left")
        for heading in ("", "pixels", "flow of the data", "median", "mean"):
            table.add_column(heading, justify="right" if heading else "left")
        for name, e in errors.items():
            cells = [f"{e[key]:.2f}" for key in ("flow_median", "median", "mean")]
            table.add_row(name, f"{e['pixels']:.0f}", *cells)
        Console().print(table)
        if self.output is not None:
            write_json(self.output, {"config": str(self.load_config), "results": errors})
            print(f"Written to {self.output}")
