"""Compare a velocity field with the ground-truth motion of rigid objects, at points on their surfaces."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from dyn3d_ns.geometry.world import SAME, World
from dyn3d_ns.io.ground_truth import STILL, MotionGroundTruth, SurfaceSample
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
        For `observed` and `future` each: `moving` with the mean end-point error `epe` and the mean true
        `speed` over points of moving objects, and `relative_epe` = epe / speed; `static` with the mean
        predicted `speed` of what rests, and `relative_speed` to the moving points' mean; `objects` with the
        same by name. A part without points is None.
    """
    predictions = [_predict(velocity_at, s, world) for s in samples]
    result: dict[str, Any] = {}
    for part in ("observed", "future"):
        chosen = [i for i, s in enumerate(samples) if (s.time > t_obs + TIME_EPS) == (part == "future")]
        result[part] = _part_error(gt, [samples[i] for i in chosen], [predictions[i] for i in chosen])
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
    gt: MotionGroundTruth, samples: Sequence[SurfaceSample], predictions: Sequence[np.ndarray]
) -> dict[str, Any] | None:
    if not samples:
        return None
    labels = np.concatenate([s.labels for s in samples])
    truth = np.concatenate([s.velocities for s in samples])
    predicted = np.concatenate(predictions)
    movers = [o.pass_index for o in gt.objects if o.moves]
    moving = np.isin(labels, movers)
    if not moving.any():
        return None
    reference = float(np.linalg.norm(truth[moving], axis=1).mean())
    objects = {o.name: _summary(truth, predicted, labels == o.pass_index, reference) for o in gt.objects}
    named = [o.pass_index for o in gt.objects]
    objects["background"] = _summary(truth, predicted, ~np.isin(labels, named), reference)
    return {
        "moving": _summary(truth, predicted, moving, reference),
        "static": _summary(truth, predicted, ~moving, reference),
        "objects": {name: values for name, values in objects.items() if values is not None},
    }


def _summary(
    truth: np.ndarray, predicted: np.ndarray, mask: np.ndarray, reference: float
) -> dict[str, float] | None:
    """Sum up the chosen points; what rests is measured by its speed relative to the moving points'."""
    if not mask.any():
        return None
    speed = float(np.linalg.norm(truth[mask], axis=1).mean())
    epe = float(np.linalg.norm(predicted[mask] - truth[mask], axis=1).mean())
    if speed > STILL:
        return {"epe": epe, "speed": speed, "relative_epe": epe / speed, "points": int(mask.sum())}
    return {"speed": epe, "relative_speed": epe / reference, "points": int(mask.sum())}
