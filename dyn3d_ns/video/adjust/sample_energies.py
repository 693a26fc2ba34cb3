"""The terms of the energy that run over many samples, as tensors whose gradients kernels found on the way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float64, Int, Int64
from torch import Tensor

from dyn3d_ns.video.adjust.energies import NEAREST


@dataclass(frozen=True)
class Seen:
    """Where points were seen, and what that weighs."""

    frames: Int64[np.ndarray, "S"]
    points: Int64[np.ndarray, "S"]
    pixels: Float64[np.ndarray, "S 2"]
    weights: Float64[np.ndarray, "S"]
    """Of the errors in pixels: all together count as the mean over frames of the mean within each."""
    log_depth: Float64[np.ndarray, "S"]
    """Logarithm of the depth under the sample; NaN where it is not known or does not count."""
    depth_weight: float
    """Of each absolute difference from it."""


def seen_by(
    frames: Int[Tensor, "S"],
    points: Int[Tensor, "S"],
    pixels: Float[Tensor, "S 2"],
    weight: float,
    depth: Float[Tensor, "S"] | None = None,
    depth_weight: float = 0.0,
) -> Seen:
    """Weigh samples: `weight` is that of the reprojection error, `depth_weight` of the mean difference of log
    depth where it is known (positive)."""
    ids = frames.numpy().astype(np.int64)
    number = np.bincount(ids)
    log_depth, known = np.full(len(ids), np.nan), np.zeros(len(ids), bool)
    if depth is not None and depth_weight:
        known = depth.numpy() > 0
        log_depth[known] = np.log(np.maximum(depth.numpy()[known], NEAREST))
    return Seen(
        ids,
        points.numpy().astype(np.int64),
        pixels.double().numpy(),
        weight / (number[ids] * max(np.count_nonzero(number), 1)),
        log_depth,
        depth_weight / max(np.count_nonzero(known), 1),
    )


def reprojection_and_depth(
    points: Float[Tensor, "N 3"],
    rotations: Float[Tensor, "F 3 3"],
    centers: Float[Tensor, "F 3"],
    focal: Float[Tensor, "F 2"],
    middle: Float[Tensor, "F 2"],
    seen: Seen,
) -> Float[Tensor, ""]:
    """Return the weighted reprojection errors and differences of log depth of samples.

    Args:
        points: places in the world.
        rotations: camera to world.
        centers: of the cameras.
        focal: focal lengths in pixels.
        middle: principal points; they get no gradient.
        seen: the samples.
    """
    return _Reprojection.apply(points, rotations, centers, focal, middle, seen)  # type: ignore[return-value]


def motion_terms(
    points: Float[Tensor, "S 3"],
    pairs: Int[Tensor, "P 2"],
    quads: Int[Tensor, "L 4"],
    step_weight: float,
    change_weight: float,
) -> Float[Tensor, ""]:
    """Return the weighted means of steps' lengths and of changes of distance, see :mod:`.energies`."""
    return _Motion.apply(points, pairs, quads, step_weight, change_weight)  # type: ignore[return-value]


class _Reprojection(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:  # type: ignore[override]
        from dyn3d_ns.video.adjust.energy_kernels import reprojection

        *tensors, seen = inputs
        arrays = [_array(tensor) for tensor in tensors]
        slopes = [np.zeros_like(array) for array in arrays[:4]]
        total = reprojection(
            *arrays, seen.frames, seen.points, seen.pixels, seen.weights, seen.log_depth,
            seen.depth_weight, NEAREST, *slopes,
        )  # fmt: skip
        ctx.slopes = [torch.from_numpy(slope).to(t) for slope, t in zip(slopes, tensors[:4], strict=True)]
        return tensors[0].new_tensor(total)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:  # type: ignore[override]
        return *(gradient * slope for slope in ctx.slopes), None, None


class _Motion(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:  # type: ignore[override]
        from dyn3d_ns.video.adjust.energy_kernels import steps_and_changes

        points, pairs, quads, step_weight, change_weight = inputs
        array = _array(points)
        slope = np.zeros_like(array)
        total = steps_and_changes(
            array, pairs.numpy(), step_weight / max(len(pairs), 1), quads.numpy(),
            change_weight / max(len(quads), 1), slope,
        )  # fmt: skip
        ctx.slope = torch.from_numpy(slope).to(points)
        return points.new_tensor(total)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:  # type: ignore[override]
        return gradient * ctx.slope, None, None, None, None


def _array(tensor: Tensor) -> Float64[np.ndarray, "..."]:
    return np.ascontiguousarray(tensor.detach().double().numpy())
