"""Gaussians and their motion as the page takes them: the motion of a trained scene, or frame by frame."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64

from dyn3d_ns.export.web_changes import Changes
from dyn3d_ns.export.web_columns import Columns, morton_order, near_upright
from dyn3d_ns.fields.keyframe_motions import KeyframeMotions
from dyn3d_ns.gaussians.carried import CarriedScene, SharedMotions, StoredCodes
from dyn3d_ns.io.splats import BEYOND, SplatSequence
from dyn3d_ns.timeline import Timeline

SAMPLES = 64
"""Times, at least, at which the motions of the observed time are written with their rates."""
_QUAT_BOUNDS = (-0.54, 0.54)
"""Range of the imaginary parts of orientations whose axes were named anew: sin of half of 62.8 degrees."""


@dataclass(frozen=True)
class PackedScene:
    """A scene as the page takes it."""

    count: int
    moving: int
    """Gaussians that move; they come first."""
    coefficients: int
    """Spherical harmonics of each."""
    motion: dict[str, Any]
    """Kind of the motion, and its settings."""
    end: float
    """Last second that is shown."""
    columns: Columns

    @property
    def texels(self) -> int:
        """Entries that the larger of the page's two tables of Gaussians has."""
        weights = -(-self.motion.get("motions", 0) // 4)
        each = 3 + self.coefficients + self.motion.get("waves", 0)
        return max(self.moving * (each + weights), (self.count - self.moving) * each)


def is_carried(scene: object) -> bool:
    """Tell whether the page can compute a scene's motion itself."""
    return (
        isinstance(scene, CarriedScene)
        and isinstance(scene.code_source, StoredCodes)
        and isinstance(scene.deformation, SharedMotions)
    )


@torch.no_grad()
def pack_carried(scene: CarriedScene, timeline: Timeline) -> PackedScene:
    """Write the canonical Gaussians once, and the motions that they mix as functions of time.

    Args:
        scene: One for which :func:`is_carried` holds; it is written in the world of training.
        timeline: Of the recording.
    """
    motions = cast(SharedMotions, scene.deformation).motions
    params = {name: value.detach().cpu().numpy() for name, value in scene.params.items()}
    count = len(scene)
    resting = scene.resting.cpu().numpy() if len(scene.resting) == count else np.zeros(count, bool)
    order, moving = _order(params["means"], ~resting)
    columns = Columns()
    _add_shapes(
        columns,
        params["means"][order],
        _normalized(params["quats"][order]),
        params["scales"][order],
        scene.opacities.cpu().numpy()[order],
    )
    _add_colors(columns, scene.colors.cpu().numpy()[order])
    waves = 0 if scene.waves is None else len(scene.waves.phases)
    if waves:
        columns.add("changes", params["color_changes"][order].reshape(count, -1), 8)
    columns.add("weights", scene.codes().cpu().numpy()[order[:moving]], 12, bounds=(0.0, 1.0))
    end = timeline.frame_times[-1] + BEYOND * (timeline.frame_times[-1] - timeline.frame_times[0])
    motion = {
        "kind": "rigid",
        "motions": motions.num_motions,
        "waves": waves,
        "turnColors": scene.turn_colors,
        "from": timeline.seconds(motions.basis.t_min),
        "to": timeline.seconds(scene.t_obs),
        "step": timeline.seconds(scene.dt),
    }
    _add_motions(columns, motions, scene, timeline, end)
    return PackedScene(
        count, moving, 1 + params["features_rest"].shape[1], motion, timeline.seconds(end), columns
    )


def _add_motions(
    columns: Columns, motions: KeyframeMotions, scene: CarriedScene, timeline: Timeline, end: float
) -> None:
    """Add the motions' numbers and rates in the observed time, and the twists of each half step after it."""
    first, last = motions.basis.t_min, scene.t_obs
    observed = np.linspace(first, last, max(SAMPLES, 2 * len(timeline.observed_times)) + 1)
    values, rates = (
        np.stack([motions.values(float(t), derivative).cpu().numpy() for t in observed])
        for derivative in (0, 1)
    )
    steps = math.ceil((end - last) / scene.dt - 1e-6)
    half = [scene.velocity.twists(last + 0.5 * scene.dt * i).cpu().numpy() for i in range(2 * steps + 1)]
    columns.add_floats("pivots", motions.pivots.cpu().numpy())
    columns.add_floats("values", values.reshape(len(observed), -1))
    columns.add_floats("rates", rates.reshape(len(observed), -1) / timeline.duration)
    columns.add_floats("twists", np.stack(half).reshape(len(half), -1) / timeline.duration)


def pack_sequence(sequence: SplatSequence) -> PackedScene:
    """Write the Gaussians of the first time once, and of those that change how they are at each time.

    Args:
        sequence: Near enough to the origin for single precision.
    """
    first, times = sequence.at(0), len(sequence.seconds)
    count = len(first)
    changes = Changes(sequence)
    order, moving = _order(first.means, changes.rows)
    upright, axes, turns = near_upright(first.quats)
    scales = np.take_along_axis(np.log(np.maximum(first.scales, 1e-30)), axes, 1)
    columns = Columns()
    _add_shapes(
        columns, first.means[order], upright[order], scales[order], first.opacities[order], upright=True
    )
    _add_colors(columns, first.sh[order])
    if moving:
        chosen = order[:moving]
        changes.add_to(columns, chosen, axes[chosen], turns[chosen])
    motion = {"kind": "frames" if moving else "rest", "seconds": list(map(float, sequence.seconds))}
    end = float(sequence.seconds[-1]) if times > 1 else 0.0
    return PackedScene(count, moving, first.sh.shape[1], motion, end, columns)


def _order(
    means: Float[np.ndarray, "N 3"], moves: Bool[np.ndarray, "N"]
) -> tuple[Int64[np.ndarray, "N"], int]:
    """Return an order with what moves first, neighbours beside each other; and how many move."""
    groups = [np.flatnonzero(moves), np.flatnonzero(~moves)]
    return np.concatenate([group[morton_order(means[group])] for group in groups]), len(groups[0])


def _normalized(quats: Float[np.ndarray, "N 4"]) -> Float[np.ndarray, "N 4"]:
    return quats / np.maximum(np.linalg.norm(quats, axis=1, keepdims=True), 1e-30)


def _add_shapes(
    columns: Columns, means: Float[np.ndarray, "N 3"], quats: Float[np.ndarray, "N 4"],
    log_scales: Float[np.ndarray, "N 3"], opacities: Float[np.ndarray, "N"], upright: bool = False,
) -> None:  # fmt: skip
    """Add where Gaussians are, and how they look without their colour."""
    if not upright:
        quats, axes, _ = near_upright(quats)
        log_scales = np.take_along_axis(log_scales, axes, 1)
    columns.add("means", means, 24, along=True)
    columns.add("quats", quats[:, 1:], 12, bounds=_QUAT_BOUNDS)
    columns.add("scales", log_scales, 12)
    columns.add("opacities", opacities[:, None], 8, bounds=(0.0, 1.0))


def _add_colors(columns: Columns, colors: Float[np.ndarray, "N K 3"]) -> None:
    """Add spherical harmonics: those of degree 0 finer than the others."""
    columns.add("base", colors[:, 0], 12)
    rest = colors[:, 1:].reshape(len(colors), -1)
    if rest.shape[1]:
        largest = float(np.abs(rest).max()) if len(rest) else 1.0
        columns.add("rest", rest, 8, bounds=(-max(largest, 1e-6), max(largest, 1e-6)))
