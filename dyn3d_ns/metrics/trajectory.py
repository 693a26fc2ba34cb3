"""Errors of camera paths: absolute and relative, after alignment by a similarity; error of focal lengths."""

from __future__ import annotations

from typing import TypedDict

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dyn3d_ns.geometry.alignment import kabsch, umeyama


class TrajectoryErrors(TypedDict):
    """Errors of a camera path; lengths in the unit of the true poses."""

    ate: float
    """RMSE of the positions after alignment."""
    ate_percent: float | None
    """The same in percent of the length of the true path; None where the true camera does not move."""
    rpe_translation: float
    """RMSE of the translation between frames in a row."""
    rpe_rotation_degrees: float
    """RMSE of the rotation between frames in a row."""
    path_length: float
    scale: float
    """Factor that brought the estimated path to the true one."""


def trajectory_errors(
    estimated: Float[Tensor, "F 4 4"],
    true: Float[Tensor, "F 4 4"],
    with_scale: bool = True,
    in_a_row: Bool[Tensor, "F-1"] | None = None,
) -> TrajectoryErrors:
    """Compare camera-to-world poses after the best similarity of their positions (Umeyama).

    A path without any extent has no scale and no rotation to align by: its first poses are laid on each
    other. ``in_a_row`` says which neighbours are frames in a row, for the relative errors; None for all.

    Raises:
        ValueError: the numbers of poses differ, or there are fewer than two.
    """
    if estimated.shape != true.shape or len(true) < 2:
        raise ValueError(f"need equally many poses, at least 2; got {len(estimated)} and {len(true)}")
    estimated, true = estimated.double(), true.double()
    aligned, scale = _aligned(estimated, true, with_scale)
    length = float((true[1:, :3, 3] - true[:-1, :3, 3]).norm(dim=1).sum())
    away = (aligned[:, :3, 3] - true[:, :3, 3]).norm(dim=1)
    error = torch.linalg.inv(_steps(true)) @ _steps(aligned)
    if in_a_row is not None and bool(in_a_row.any()):
        error = error[in_a_row]
    ate = float(away.square().mean().sqrt())
    return TrajectoryErrors(
        ate=ate,
        ate_percent=100.0 * ate / length if length > 1e-9 else None,
        rpe_translation=float(error[:, :3, 3].norm(dim=1).square().mean().sqrt()),
        rpe_rotation_degrees=float(_angles(error[:, :3, :3]).square().mean().sqrt()),
        path_length=length,
        scale=scale,
    )


def _aligned(
    estimated: Float[Tensor, "F 4 4"], true: Float[Tensor, "F 4 4"], with_scale: bool
) -> tuple[Float[Tensor, "F 4 4"], float]:
    source, target = estimated[:, :3, 3], true[:, :3, 3]
    extent = min(float((source - source.mean(0)).norm()), float((target - target.mean(0)).norm()))
    if extent < 1e-9:
        return true[0] @ torch.linalg.inv(estimated[0]) @ estimated, 1.0
    fit = umeyama(source, target) if with_scale else kabsch(source, target)
    out = estimated.clone()
    out[:, :3, :3] = fit.rotation @ estimated[:, :3, :3]
    out[:, :3, 3] = fit.apply(source)
    return out, float(fit.scale)


def _steps(poses: Float[Tensor, "F 4 4"]) -> Float[Tensor, "F1 4 4"]:
    return torch.linalg.inv(poses[:-1]) @ poses[1:]


def _angles(rotations: Float[Tensor, "N 3 3"]) -> Float[Tensor, "N"]:
    """Return rotation angles in degrees, exact for small ones."""
    skew = rotations - rotations.mT
    sine = 0.5 * torch.stack((skew[:, 2, 1], skew[:, 0, 2], skew[:, 1, 0]), dim=1).norm(dim=1)
    cosine = 0.5 * (rotations.diagonal(dim1=1, dim2=2).sum(1) - 1.0)
    return torch.rad2deg(torch.atan2(sine, cosine))


def focal_error_percent(estimated: Float[Tensor, "F 3 3"], true: Float[Tensor, "F 3 3"]) -> float:
    """Return the mean absolute error of the focal lengths (x and y) in percent of the true ones."""
    found = torch.stack((estimated[:, 0, 0], estimated[:, 1, 1]))
    wanted = torch.stack((true[:, 0, 0], true[:, 1, 1]))
    return float(100.0 * ((found - wanted).abs() / wanted).mean())
