"""Collect the scores of single frames and sum them up by split and by file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import fmean, median, stdev
from typing import Any, NamedTuple

from jaxtyping import Bool, Float
from torch import Tensor

from dyn3d_ns.metrics.image import pooled_psnr, psnr_of_mse


class RegionError(NamedTuple):
    """Error of a part of an image."""

    mse: float
    pixels: int


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
    mse_by_region: dict[str, RegionError] = field(default_factory=dict)
    """Errors of what is `static` and what is `dynamic` where a mask tells, if it has a pixel at all."""
    extra: dict[str, float] = field(default_factory=dict)
    """What the model measured itself, by name."""

    @property
    def psnr(self) -> float:
        """PSNR of this frame in dB."""
        return psnr_of_mse(self.mse)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        values = asdict(self)
        lpips, regions, extra = (values.pop(name) for name in ("lpips", "mse_by_region", "extra"))
        return {
            **values,
            "psnr": self.psnr,
            **{_lpips_key(net): v for net, v in lpips.items()},
            **{f"{name}_psnr": psnr_of_mse(error.mse) for name, error in regions.items()},
            **extra,
        }


def region_errors(
    prediction: Float[Tensor, "H W 3"],
    target: Float[Tensor, "H W 3"],
    dynamic_mask: Bool[Tensor, "H W 1"] | None,
) -> dict[str, RegionError]:
    """Return the mean squared errors of what stands still and of what moves; nothing without a mask."""
    if dynamic_mask is None:
        return {}
    errors = (prediction - target).double().square().mean(-1)
    moves = dynamic_mask[..., 0].to(errors.device)
    regions = {"static": errors[~moves], "dynamic": errors[moves]}
    return {
        name: RegionError(float(found.mean()), len(found)) for name, found in regions.items() if len(found)
    }


def masked_error(
    prediction: Float[Tensor, "H W 3"], target: Float[Tensor, "H W 3"], mask: Bool[Tensor, "H W 1"] | None
) -> dict[str, RegionError]:
    """Return the mean squared error where a mask of the dataset says that the image counts, as `masked`."""
    if mask is None or not bool(mask.any()):
        return {}
    errors = (prediction - target).double().square().mean(-1)[mask[..., 0].to(prediction.device)]
    return {"masked": RegionError(float(errors.mean()), len(errors))}


def pooled_region_psnr(scores: Sequence[FrameScore], region: str) -> float | None:
    """Return the PSNR of a region over the pixels of all images, None where none has it."""
    errors = [s.mse_by_region[region] for s in scores if region in s.mse_by_region]
    pixels = sum(error.pixels for error in errors)
    return psnr_of_mse(sum(e.mse * e.pixels for e in errors) / pixels) if pixels else None


def summarize(scores: Sequence[FrameScore], with_std: bool) -> dict[str, Any]:
    """Return the metrics of a whole evaluation.

    Nerfstudio's own keys (`psnr`, `ssim`, `fps`, `num_rays_per_sec`, each with `_std` if asked for) are
    means over all images. Per split, and per source file where there are several, follow `<name>_psnr`
    (pooled over the group), `<name>_psnr_mean` (mean over its images), `<name>_ssim`, `<name>_lpips`,
    `<name>_static_psnr` and `<name>_dynamic_psnr` (pooled over the pixels, where masks are known), the
    model's own metrics as `<name>_<metric>`, and `<name>_images`.
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
    # The first image of a process may take a hundred times as long: kernels are compiled and loaded then.
    result["frames_per_second"] = 1.0 / median(s.render_seconds for s in scores)
    return result


def eval_results(
    figures: Mapping[str, Any], per_frame: Sequence[Mapping[str, Any]] | None = None
) -> dict[str, Any]:
    """Return what stands under `results` in the report of an evaluation, of a scene or of a processed clip.

    Args:
        figures: Numbers by name. A dictionary among them is a group, whose names get the group's in front:
            ``{"pose": {"ate": 0.1}}`` becomes `pose_ate`. What is None is left out.
        per_frame: Figures of single frames in order, which stay together under `per_frame`.
    """
    results = dict(_flat(figures, ""))
    return results if per_frame is None else {**results, "per_frame": [dict(frame) for frame in per_frame]}


def _flat(figures: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in figures.items():
        key = prefix + name.replace(" ", "_")
        if isinstance(value, Mapping):
            yield from _flat(value, f"{key}_")
        elif value is not None:
            yield key, value


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
    for region in _names(s.mse_by_region for s in members):
        summary[f"{name}_{region}_psnr"] = pooled_region_psnr(members, region)
    for metric in _names(s.extra for s in members):
        summary[f"{name}_{metric}"] = fmean(s.extra[metric] for s in members if metric in s.extra)
    summary[f"{name}_images"] = len(members)
    return summary


def _names(found: Iterable[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for names in found for name in names))


def _lpips_key(backbone: str) -> str:
    """Name Nerfstudio's AlexNet variant `lpips` as it does, and the papers' VGG variant `lpips_vgg`."""
    return "lpips" if backbone == "alex" else f"lpips_{backbone}"
