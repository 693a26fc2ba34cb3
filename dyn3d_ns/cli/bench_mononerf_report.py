"""The report of `dyn3d bench mononerf`, as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from dyn3d_ns.models.mononerf.published import PROTOCOL_A, SCENES

Row = Literal["both", "each", "unguided", "unseen", "adapt", "scratch"]
ROWS: tuple[Row, ...] = ("both", "each", "unguided", "unseen", "adapt", "scratch")


@dataclass
class RowResult:
    """What became of one row."""

    row: Row
    title: str
    scenes: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By scene: figures by split of `ns-eval`, `fixed` (protocol A), `flow`."""
    seconds: dict[str, float] = field(default_factory=dict)
    """By scene: of the clock, of the training that it comes from."""


RULE = (
    "PSNR in dB, pooled over the pixels of all images; SSIM: mean over images; moving: over what moves. "
    "The views are not trained on: all cameras at trained times without the training views (protocol B "
    "without those), and in the row that is fitted to some frames all cameras at the other times. Static "
    "alone: the static part of the same training. Nearest: the picture at the nearest time that was fitted. "
    "Flow: median error to the next frame, over what moves, in pixels. Minutes are of the clock, of the "
    "training that the row comes from; where it has several scenes, they share them."
)
_HEADINGS = (
    "", "PSNR", "SSIM", "moving", "static alone, moving", "nearest, moving", "training views", "… moving",
    "flow", "minutes",
)  # fmt: skip


def report(results: Sequence[RowResult], method: str) -> str:
    """Return a table a scene, what protocol A gives, and the published figures."""
    names = list(dict.fromkeys(name for result in results for name in result.scenes))
    parts = [f"# {method}", *(scene_table(name, results) for name in names), RULE]
    return "\n\n".join([*parts, protocol_a(results, names), published_table(results, method)]) + "\n"


def scene_table(scene: str, results: Sequence[RowResult]) -> str:
    """Return the rows of one scene."""
    lines = [f"## {scene}", "", _line(_HEADINGS), "|" + "---|" * len(_HEADINGS)]
    for result in results:
        if scene not in result.scenes:
            continue
        found = result.scenes[scene]
        views = found.get("unseen" if result.row == "unseen" else "interp", {})
        trained = found.get("train", {})
        numbers = [
            (views.get("psnr"), 2),
            (views.get("ssim"), 4),
            (views.get("dynamic_psnr"), 2),
            (views.get("static_alone_dynamic_psnr"), 2),
            (views.get("nearest_dynamic_psnr"), 2),
            (trained.get("psnr"), 2),
            (trained.get("dynamic_psnr"), 2),
            (found["flow"].get("median"), 2),
            (result.seconds[scene] / 60, 1),
        ]
        lines.append(_line([result.title, *(_number(*pair) for pair in numbers)]))
    return "\n".join(lines)


def protocol_a(results: Sequence[RowResult], names: Sequence[str]) -> str:
    """Return what the first camera shows at all times, as a mean over images."""
    lines = ["## Protocol A: the first camera at all times", ""]
    with_lpips = any("lpips" in found["fixed"] for result in results for found in result.scenes.values())
    headings = ["", "scene", "PSNR", "SSIM", *(["LPIPS"] if with_lpips else []), "images"]
    lines += [_line(headings), "|" + "---|" * len(headings)]
    for result in results:
        for name in names:
            if name in result.scenes and result.row in ("both", "each"):
                a = result.scenes[name]["fixed"]
                lpips = [_number(a.get("lpips"), 3)] if with_lpips else []
                cells = [_number(a.get("psnr"), 2), _number(a.get("ssim"), 4), *lpips, str(a["images"])]
                lines.append(_line([result.title, name, *cells]))
    return "\n".join(lines)


def published_table(results: Sequence[RowResult], method: str) -> str:
    """Return the published figures of protocol A, and ours where the scenes are called alike."""
    headings = ["PSNR / LPIPS", *SCENES, "mean", "source"]
    lines = ["## Published, copied and not measured here (protocol A)", "", _line(headings)]
    lines.append("|" + "---|" * len(headings))
    for row in PROTOCOL_A:
        cells = [f"{p:.2f} / {q:.3f}" for p, q in zip(row.psnr, row.lpips, strict=True)]
        mean = f"{row.psnr_mean:.2f} / {row.lpips_mean:.3f}"
        lines.append(_line([f"{row.method}, published", *cells, mean, row.source]))
    for result in results:
        ours = {name: found["fixed"] for name, found in result.scenes.items() if name in SCENES}
        if ours and result.row in ("both", "each"):
            cells = [_pair(ours[name]) if name in ours else "" for name in SCENES]
            lines.append(_line([f"{method}, {result.title}", *cells, "", "measured here"]))
    return "\n".join(lines)


def _pair(found: dict[str, float]) -> str:
    psnr = _number(found.get("psnr"), 2)
    return f"{psnr} / {found['lpips']:.3f}" if "lpips" in found else psnr


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"
