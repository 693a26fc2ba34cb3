"""`dyn3d eval-motion`: compare a scene's learned velocity with its true motion."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dyn3d_ns.cli.errors import CommandError, require_output_file

if TYPE_CHECKING:
    from rich.table import Table

_PARTS = {
    "observed": "Observed times",
    "future": "Future times",
    "future_first_half": "its first half",
}


@dataclass(kw_only=True)
class EvalMotion:
    """Compare the learned velocity with the true motion at points on true surfaces."""

    load_config: Path
    """config.yml of a training."""
    gt: Path
    """motion.json of a ground_truth folder; depth/, object_id/ and *_vertices.npz must lie beside it."""
    output: Path | None = None
    """File for the errors (JSON)."""
    time_unit: float = 1.0
    """Length of the whole normalised time in the unit of motion.json's times."""

    def run(self) -> None:
        """Load the scene, print a table and write the file."""
        from rich.console import Console

        from dyn3d_ns.cli.rig import load_method, telling_what_lacks
        from dyn3d_ns.io.atomic import write_json
        from dyn3d_ns.io.motion_truth import load_motion_ground_truth, sample_surfaces
        from dyn3d_ns.metrics.motion import motion_error

        if not self.time_unit > 0:
            raise CommandError(f"--time-unit must be positive, got {self.time_unit}")
        if self.output is not None:
            require_output_file(self.output, ".json")
        truth = load_motion_ground_truth(self.gt, self.time_unit)
        samples = sample_surfaces(truth)
        model = load_method(self.load_config)
        with telling_what_lacks(self.load_config):
            errors = motion_error(model.velocity_at, truth, samples, model.timeline.t_obs, model.world)
        Console().print(motion_table(errors))
        if self.output is not None:
            content = {"config": str(self.load_config), "ground_truth": str(self.gt), "results": errors}
            write_json(self.output, content)
            print(f"Written to {self.output}")


def motion_table(errors: dict[str, Any]) -> Table:
    """Return what :func:`~dyn3d_ns.metrics.motion.motion_error` found as a table.

    Errors of what moves are relative to its own mean speed. Of what rests, the mean speed is measured against
    that of all that moves, the 99th percentile and the largest against the scene's top speed.
    """
    from rich.table import Table

    table = Table(
        title="End-point error of the velocity (units of the data per unit of time)\n"
        f"top: the highest true speed, {errors['top_speed']:.4f}",
        title_justify="left",
    )
    table.add_column("")
    for heading in ("points", "true\nspeed", "error", "relative", "p99 /\ntop", "max /\ntop"):
        table.add_column(heading, justify="right")
    for part, title in _PARTS.items():
        result = errors[part]
        table.add_section()
        table.add_row(f"[bold]{title}[/bold]")
        if result is None:
            table.add_row("  nothing that moves is seen")
            continue
        rows = {"all that moves": result["moving"], "all that rests": result["static"], **result["objects"]}
        for name, values in rows.items():
            if values is not None:
                table.add_row(f"  {name}", *_cells(values))
    return table


def _cells(values: dict[str, float]) -> tuple[str, ...]:
    points = f"{values['points']:.0f}"
    if "epe" in values:
        relative = f"{100 * values['relative_epe']:.2f} %"
        return points, f"{values['speed']:.4f}", f"{values['epe']:.4f}", relative, "", ""
    shares = (f"{100 * values[key]:.2f} %" for key in ("relative_speed", "p99_of_top", "max_of_top"))
    return points, f"{0:.4f}", f"{values['speed']:.4f}", *shares
