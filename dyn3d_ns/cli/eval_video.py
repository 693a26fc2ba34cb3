"""`dyn3d eval-video`: compare a processed clip with ground truth in Sintel's layout."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from dyn3d_ns.cli.errors import CommandError, require_output_file

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(kw_only=True)
class EvalVideo:
    """Compare cameras, depth, flow and masks of a processed clip with ground truth."""

    source: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OUT")]
    """Folder that `dyn3d process` made."""
    gt: Path
    """Ground truth like Sintel's: a folder with `training/`, or with camdata_left/, depth/, flow/ inside."""
    sequence: str | None = None
    """Name of the sequence; may be left out if there is one only."""
    output: Path | None = None
    """File for the errors (JSON)."""

    def run(self) -> None:
        """Compare, print a table and write the file."""
        from rich.console import Console

        from dyn3d_ns.io.atomic import write_json
        from dyn3d_ns.io.clip.workspace import Workspace
        from dyn3d_ns.io.ground_truth import SintelTruth
        from dyn3d_ns.video.evaluation import evaluate

        if self.output is not None:
            require_output_file(self.output, ".json")
        if not self.source.is_dir():
            raise CommandError(f"{self.source} is not a folder; give one that `dyn3d process` made")
        truth = SintelTruth.open(self.gt, self.sequence)
        results = evaluate(Workspace(self.source), truth)
        Console().print(video_table(results))
        for missing in results["missing"]:
            print(f"not compared: {missing}")
        if self.output is not None:
            report = {"source": str(self.source), "ground_truth": str(truth.root), "results": flat(results)}
            write_json(self.output, report)
            print(f"Written to {self.output}")


def flat(results: dict[str, Any]) -> dict[str, Any]:
    """Return the figures of :func:`~dyn3d_ns.video.evaluation.evaluate` as `ns-eval` names those of a scene.

    Errors of cameras stand as `pose_ate` and so on, the overlap of each frame's masks under `per_frame`.
    """
    from dyn3d_ns.metrics.evaluation import eval_results

    masks = dict(results.get("masks") or {})
    overlaps = masks.pop("j_per_frame", None)
    figures = {
        "frames": results["frames"],
        "pose": results.get("cameras") or {},
        "flow": results.get("flow") or {},
        "masks": masks,
        "depth": results.get("depth") or {},
        "missing": results["missing"],
    }
    return eval_results(figures, None if overlaps is None else [{"j": value} for value in overlaps])


def video_table(results: dict[str, Any]) -> Table:
    """Return what :func:`~dyn3d_ns.video.evaluation.evaluate` found as a table."""
    from rich.table import Table

    table = Table(title=f"{results['frames']} frames against ground truth", title_justify="left")
    table.add_column("")
    table.add_column("value", justify="right")
    for name, value in _rows(results):
        if value is None:
            table.add_section()
            table.add_row(f"[bold]{name}[/bold]", "")
        else:
            table.add_row(f"  {name}", value)
    return table


def _rows(results: dict[str, Any]) -> list[tuple[str, str | None]]:
    rows: list[tuple[str, str | None]] = []
    cameras = results.get("cameras")
    if cameras:
        rows.append(("Cameras", None))
        relative = cameras["ate_percent"]
        part = "" if relative is None else f" ({relative:.2f} % of the path)"
        rows.append(("ATE", f"{cameras['ate']:.5f}{part}"))
        rows.append(("RPE translation", f"{cameras['rpe_translation']:.5f}"))
        rows.append(("RPE rotation", f"{cameras['rpe_rotation_degrees']:.4f} deg"))
        rows.append(("focal error", f"{cameras['focal_error_percent']:.2f} %"))
    for group, values in (results.get("flow") or {}).items():
        rows += [] if rows and rows[-1][0].startswith("EPE") else [("Flow", None)]
        rows.append(
            (f"EPE {group}", f"{values['epe']:.3f} px ({values['percent_above_3px']:.1f} % above 3 px)")
        )
    masks = results.get("masks")
    if masks:
        rows.append(("Masks", None))
        rows += [("J (mean)", f"{masks['j_mean']:.3f}"), ("F (mean)", f"{masks['f_mean']:.3f}")]
        if masks["id_stability"] is not None:
            rows.append(("stable ids", f"{100 * masks['id_stability']:.1f} %"))
    for alignment, groups in (results.get("depth") or {}).items():
        title = "scale and shift in disparity" if alignment == "disparity" else "scale only"
        rows.append((f"Depth, {title}", None))
        for group, values in groups.items():
            found = f"Abs Rel {values['abs_rel']:.4f}, below 1.25: {100 * values['delta_125']:.1f} %"
            rows.append((group, found))
    return rows
