"""Collect the scores of single frames and sum them up by split and by file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, stdev
from typing import Any

from dyn3d_ns.metrics.image import pooled_psnr, psnr_of_mse


@dataclass(frozen=True)
class FrameScore:
    """Scores of one rendered evaluation frame."""

    file: str
    camera_id: int
    time: float
    split: str
    source: str
    mse: float
    ssim: float
    lpips: dict[str, float]
    """LPIPS by backbone, for those whose weights are on disk."""
    render_seconds: float
    num_rays: int

    @property
    def psnr(self) -> float:
        """PSNR of this frame in dB."""
        return psnr_of_mse(self.mse)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        values = asdict(self)
        lpips = values.pop("lpips")
        return {**values, "psnr": self.psnr, **{_lpips_key(net): v for net, v in lpips.items()}}


def summarize(scores: Sequence[FrameScore], with_std: bool) -> dict[str, Any]:
    """Return the metrics of a whole evaluation.

    Nerfstudio's own keys (`psnr`, `ssim`, `fps`, `num_rays_per_sec`, each with `_std` if asked for) are
    means over all images. Per split, and per source file where there are several, follow `<name>_psnr`
    (pooled over the group), `<name>_psnr_mean` (mean over its images), `<name>_ssim`, `<name>_lpips`
    and `<name>_images`.
    """
    if not scores:
        raise ValueError("no evaluation frame was scored")
    columns: dict[str, list[float]] = {
        "psnr": [s.psnr for s in scores],
        "ssim": [s.ssim for s in scores],
        "num_rays_per_sec": [s.num_rays / s.render_seconds for s in scores],
        "fps": [1.0 / s.render_seconds for s in scores],
    }
    for net in scores[0].lpips:
        columns[_lpips_key(net)] = [s.lpips[net] for s in scores]
    result: dict[str, Any] = {}
    for key, values in columns.items():
        result[key] = fmean(values)
        if with_std:
            result[f"{key}_std"] = stdev(values) if len(values) > 1 else 0.0
    for name, members in _groups(scores).items():
        result.update(_group_summary(name, members))
    result["frames_per_second"] = len(scores) / sum(s.render_seconds for s in scores)
    return result


def _groups(scores: Sequence[FrameScore]) -> dict[str, list[FrameScore]]:
    groups: dict[str, list[FrameScore]] = {}
    for s in scores:
        groups.setdefault(s.split, []).append(s)
    sources = dict.fromkeys(s.source for s in scores)
    if len(sources) > 1:
        for source in sources:
            # A file that is called like a split holds that split as far as the split is concerned.
            groups.setdefault(source, [s for s in scores if s.source == source])
    return groups


def _group_summary(name: str, members: Sequence[FrameScore]) -> dict[str, Any]:
    summary: dict[str, Any] = {
        f"{name}_psnr": pooled_psnr(s.mse for s in members),
        f"{name}_psnr_mean": fmean(s.psnr for s in members),
        f"{name}_ssim": fmean(s.ssim for s in members),
    }
    for net in members[0].lpips:
        summary[f"{name}_{_lpips_key(net)}"] = fmean(s.lpips[net] for s in members)
    summary[f"{name}_images"] = len(members)
    return summary


def _lpips_key(backbone: str) -> str:
    """Name Nerfstudio's AlexNet variant `lpips` as it does, and the papers' VGG variant `lpips_vgg`."""
    return "lpips" if backbone == "alex" else f"lpips_{backbone}"
