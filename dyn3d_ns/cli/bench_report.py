"""Tables of `dyn3d bench das3r`: our figures beside the published ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from dyn3d_ns.models.das3r.published import MASK_J, MEAN_PSNR, POSES, PSNR, SEQUENCES, SOURCE

POSE_KEYS = ("pose_ate", "pose_rpe_translation", "pose_rpe_rotation_degrees")


@dataclass
class SequenceResult:
    """What became of one sequence."""

    source: str
    """As it was given."""
    name: str
    """Name of the sequence."""
    dataset: str = ""
    """"DAVIS" or "Sintel" for a sequence of DAS3R's tables, else empty."""
    config: str = ""
    """config.yml of the training."""
    figures: dict[str, Any] = field(default_factory=dict)
    """What `ns-eval` reports, without the single frames."""
    frames: int = 0
    """Frames that masks were compared in."""
    steps: int = 0
    """Steps that it was trained for."""
    error: str = ""
    """Why there are none."""

    @property
    def by_true_masks(self) -> bool:
        """Whether the static pixels are those of the ground truth, as in the published figures."""
        return self.figures.get("regions_by") in ("ground truth", "annotations")


def report(results: Sequence[SequenceResult], method: str) -> str:
    """Return all tables as Markdown."""
    ran = [r for r in results if not r.error]
    parts = [f"# {method} in DAS3R's tables"]
    parts.append(
        f"Columns marked *published* are those of {SOURCE}, copied, not measured here. Empty: not run. "
        "Our means are over the sequences that were run, and say how many; the row below them has the same "
        "mean of the published figures."
    )
    parts += [_psnr_table(dataset, ran, method) for dataset in SEQUENCES]
    parts += [_mask_table(ran, method), _pose_table(ran, method), _own_table(ran), _failed(results)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _psnr_table(dataset: str, ran: Sequence[SequenceResult], method: str) -> str:
    ours = {r.name: r for r in ran if r.dataset == dataset and "static_psnr_das3r" in r.figures}
    published, names = PSNR[dataset], SEQUENCES[dataset]
    rows = []
    for k, name in enumerate(names):
        found = ours.get(name)
        own = ""
        if found is not None:
            own = _number(found.figures["static_psnr_das3r"]) + ("" if found.by_true_masks else " (1)")
        rows.append([name, *(_number(values[k]) for values in published.values()), own])
    chosen = [k for k, name in enumerate(names) if name in ours]
    mixed = "" if all(r.by_true_masks for r in ours.values()) else " (1)"
    counted = f" ({len(chosen)} of {len(names)}){mixed}"
    mean = _mean([ours[names[k]].figures["static_psnr_das3r"] for k in chosen])
    rows.append(["mean", *(_number(MEAN_PSNR[dataset][m]) for m in published), mean and mean + counted])
    if chosen:
        same = [_mean([values[k] for k in chosen]) for values in published.values()]
        rows.append([f"mean of the {len(chosen)} run here", *same, mean + mixed])
    header = ["sequence", *(f"{name}, published" for name in published), method]
    text = f"## Static PSNR, {dataset} (dB)\n\n" + _table(header, rows)
    if mixed:
        text += (
            "\n\n(1) Static pixels by estimated masks, since there are no true ones: not to be compared with "
            "the published figures."
        )
    return text


def _mask_table(ran: Sequence[SequenceResult], method: str) -> str:
    def own(dataset: str) -> str:
        # As published: the mean over all frames of all sequences.
        found = [r for r in ran if r.dataset == dataset and "masks_j_mean" in r.figures]
        frames = sum(r.frames for r in found)
        if not frames:
            return ""
        j = sum(100 * r.figures["masks_j_mean"] * r.frames for r in found) / frames
        return f"{j:.1f} ({len(found)} of {len(SEQUENCES[dataset])})"

    published = list(MASK_J["DAVIS"])
    rows = [[d, *(f"{MASK_J[d][m]:.1f}" for m in published), own(d)] for d in MASK_J]
    header = ["dataset", *(f"{name}, published" for name in published), method]
    return "## Masks, J mean (%)\n\n" + _table(header, rows)


def _pose_table(ran: Sequence[SequenceResult], method: str) -> str:
    found = [r for r in ran if r.dataset == "Sintel" and all(key in r.figures for key in POSE_KEYS)]
    labels = ("ATE", "RPE translation", "RPE rotation (degrees)")
    rows = []
    for k, (label, key) in enumerate(zip(labels, POSE_KEYS, strict=True)):
        mean = _mean([r.figures[key] for r in found], 3)
        counted = f"{mean} ({len(found)} of {len(SEQUENCES['Sintel'])})" if mean else ""
        rows.append([label, *(f"{values[k]:.3f}" for values in POSES["Sintel"].values()), counted])
    header = ["", *(f"{name}, published" for name in POSES["Sintel"]), method]
    return "## Camera poses, Sintel\n\n" + _table(header, rows)


def _own_table(ran: Sequence[SequenceResult]) -> str:
    """Return every sequence with what its figures rest on."""
    if not ran:
        return ""

    def cell(key: str, digits: int = 2, factor: float = 1) -> Callable[[SequenceResult], str]:
        return lambda r: _number(factor * r.figures[key], digits) if r.figures.get(key) is not None else ""

    def masks(r: SequenceResult) -> str:
        refined = ", refined" if r.figures.get("masks_refined") else ""
        return f"{r.figures.get('mask_source', 'unknown')}{refined}"

    columns: dict[str, Callable[[SequenceResult], str]] = {
        "sequence": lambda r: r.name,
        "PSNR as published": cell("static_psnr_das3r"),
        "PSNR, static pixels only": cell("static_psnr"),
        "SSIM": cell("static_ssim", 3),
        "against clean plates": cell("clean_psnr"),
        "mask J": cell("masks_j_mean", 1, 100),
        "ATE": cell("pose_ate", 4),
        "masks": masks,
        "cameras": lambda r: str(r.figures.get("camera_source", "unknown")),
        "static pixels by": lambda r: str(r.figures.get("regions_by", "unknown")),
        "steps": lambda r: str(r.steps),
        "steps on evaluation poses": lambda r: str(r.figures.get("eval_pose_refine_steps", 0)),
    }
    rows = [[value(r) for value in columns.values()] for r in ran]
    note = (
        "PSNR as published averages the error over all pixels, those of movers counted as right; over static "
        "pixels only is the stricter figure."
    )
    return "## What ran here\n\n" + _table(list(columns), rows) + "\n\n" + note


def _failed(results: Sequence[SequenceResult]) -> str:
    lines = [f"- {r.name} ({r.source}): {r.error}" for r in results if r.error]
    return "\n".join(["## Failed", "", *lines]) if lines else ""


def _number(value: float, digits: int = 2) -> str:
    return f"{value:.{digits}f}"


def _mean(values: Sequence[float], digits: int = 2) -> str:
    return _number(sum(values) / len(values), digits) if values else ""


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
