"""Compare a velocity field with the true motion of objects, at points on their surfaces."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from dyn3d_ns.geometry.world import SAME, World
from dyn3d_ns.io.motion_truth import STILL, MotionGroundTruth, SurfaceSample
from dyn3d_ns.timeline import TIME_EPS

VelocityFunction = Callable[[Float[Tensor, "P 3"], float], Float[Tensor, "P 3"]]
"""Points (world units) and a normalised time to velocities (world units per unit of normalised time)."""


def motion_error(
    velocity_at: VelocityFunction,
    gt: MotionGroundTruth,
    samples: Sequence[SurfaceSample],
    t_obs: float,
    world: World = SAME,
) -> dict[str, Any]:
    """Return end-point errors of a velocity field, at observed times and in the future.

    Args:
        velocity_at: The field; gets float32 points and a time, in the world of training.
        gt: Which objects there are and which of them move.
        samples: Surface points with true velocities.
        t_obs: Last observed time.
        world: The data's world, of truth and result, in that of training.

    Returns:
        For `observed`, `future` and `future_first_half` (up to the middle between ``t_obs`` and the last true
        time) each: `moving` with the mean end-point error `epe` and the mean true `speed` over points of
        moving objects, and `relative_epe` = epe / speed; `static` with the mean predicted `speed` of what
        rests, `relative_speed` to the moving points' mean, and the 99th percentile and the largest of those
        speeds in shares of `top_speed`, `p99_of_top` and `max_of_top`; `objects` with the same by name. A
        part in which no point moves is None. Beside the parts `top_speed`, the largest true speed of all
        samples.
    """
    predictions = [_predict(velocity_at, s, world) for s in samples]
    top = max((float(_speeds(s.velocities).max(initial=0.0)) for s in samples), default=0.0)
    spans = {
        "observed": (-np.inf, t_obs),
        "future": (t_obs, np.inf),
        "future_first_half": (t_obs, (t_obs + float(gt.times[-1])) / 2),
    }
    result: dict[str, Any] = {"top_speed": top}
    for part, (after, until) in spans.items():
        chosen = [i for i, s in enumerate(samples) if after + TIME_EPS < s.time <= until + TIME_EPS]
        result[part] = _part_error(gt, [samples[i] for i in chosen], [predictions[i] for i in chosen], top)
    return result


def _predict(
    velocity_at: VelocityFunction, sample: SurfaceSample, world: World
) -> Float64[np.ndarray, "P 3"]:
    with torch.no_grad():
        velocities = velocity_at(torch.from_numpy(world.points(sample.points)).float(), sample.time)
    if velocities.shape != sample.points.shape:
        raise ValueError(f"velocity_at gave {tuple(velocities.shape)} for points {sample.points.shape}")
    return world.vectors_back(velocities.detach().cpu().numpy())


def _part_error(
    gt: MotionGroundTruth, samples: Sequence[SurfaceSample], predictions: Sequence[np.ndarray], top: float
) -> dict[str, Any] | None:
    if not samples:
        return None
    labels = np.concatenate([s.labels for s in samples])
    truth = np.concatenate([s.velocities for s in samples])
    predicted = np.concatenate(predictions)
    movers = [o.pass_index for o in gt.objects if o.moves]
    moving = np.isin(labels, movers)
    reference = float(_speeds(truth[moving]).mean()) if moving.any() else 0.0
    if reference <= STILL:
        return None

    def summary(mask: np.ndarray) -> dict[str, float] | None:
        return _summary(truth[mask], predicted[mask], reference, top)

    objects = {o.name: summary(labels == o.pass_index) for o in gt.objects}
    objects["background"] = summary(~np.isin(labels, [o.pass_index for o in gt.objects]))
    return {
        "moving": summary(moving),
        "static": summary(~moving),
        "objects": {name: values for name, values in objects.items() if values is not None},
    }


def _summary(
    truth: Float64[np.ndarray, "P 3"], predicted: Float64[np.ndarray, "P 3"], reference: float, top: float
) -> dict[str, float] | None:
    """Sum points up; what rests is measured by its speed relative to the moving points'."""
    if len(truth) == 0:
        return None
    speed, errors = float(_speeds(truth).mean()), _speeds(predicted - truth)
    epe = float(errors.mean())
    if speed > STILL:
        return {"epe": epe, "speed": speed, "relative_epe": epe / speed, "points": len(truth)}
    return {
        "speed": epe,
        "relative_speed": epe / reference,
        "p99_of_top": float(np.percentile(errors, 99)) / top,
        "max_of_top": float(errors.max()) / top,
        "points": len(truth),
    }


def _speeds(velocities: Float64[np.ndarray, "P 3"]) -> Float64[np.ndarray, "P"]:
    return np.linalg.norm(velocities, axis=1)
