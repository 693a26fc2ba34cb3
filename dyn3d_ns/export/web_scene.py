"""Gaussians and their motion as the page takes them: the motion of a trained scene, or frame by frame."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64

from dyn3d_ns.export.keys import extent_of
from dyn3d_ns.export.web_changes import Changes
from dyn3d_ns.export.web_columns import Columns, morton_order, near_upright, product
from dyn3d_ns.fields.keyframe_motions import KeyframeMotions
from dyn3d_ns.fields.motion_table import ROW
from dyn3d_ns.gaussians.carried import CarriedScene
from dyn3d_ns.gaussians.skinning import BEND
from dyn3d_ns.io.splats import BEYOND, SplatSequence
from dyn3d_ns.timeline import Timeline

SAMPLES = 64
"""Intervals, at least, in which the motions of the observed time are written."""
FINE = 5e-4
"""Largest error of what a latent motion adds to a place, in extents of the scene (the diagonal of the box of
all but the outermost hundredth)."""
TURN = 1e-2
"""Largest error of what a latent motion adds to a quaternion of length one."""
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
        each = 3 + self.coefficients + self.motion.get("waves", 0)
        mixed = 0 if self.motion.get("bodies") else -(-self.motion.get("motions", 0) // 4)
        bent = 2 * self.motion.get("latents", 0)
        return max(self.moving * (each + mixed + bent), (self.count - self.moving) * each)


@torch.no_grad()
def pack_carried(scene: CarriedScene, timeline: Timeline) -> PackedScene:
    """Write the canonical Gaussians once, and the motions that they follow as functions of time.

    Args:
        scene: It is written in the world of training.
        timeline: Of the recording.
    """
    params = {name: value.detach().cpu().numpy() for name, value in scene.params.items()}
    codes, count = scene.codes().cpu().numpy(), len(scene)
    resting = scene.resting.cpu().numpy() if len(scene.resting) == count else np.zeros(count, bool)
    order, moving = _order(params["means"], ~resting & (codes[:, 0] != 1))
    columns, chosen = Columns(), order[:moving]
    lengths = np.maximum(np.linalg.norm(params["quats"], axis=1, keepdims=True), 1e-30)
    upright, axes, turns = near_upright(params["quats"] / lengths)
    scales = np.take_along_axis(params["scales"], axes, 1)
    opacities = scene.opacities.cpu().numpy()
    _add_shapes(columns, params["means"][order], upright[order], scales[order], opacities[order])
    _add_colors(columns, scene.colors.cpu().numpy()[order])
    waves = 0 if scene.waves is None else len(scene.waves.phases)
    if waves:
        columns.add("changes", params["color_changes"][order].reshape(count, -1), 8)
    used, bodies = _add_codes(columns, codes[chosen])
    places, quats = np.split(params["bends"][chosen, :, : BEND - 1].astype(np.float64), [3], axis=2)
    quats = product(quats / lengths[chosen, None], turns[chosen, None])
    end = timeline.frame_times[-1] + BEYOND * (timeline.frame_times[-1] - timeline.frame_times[0])
    fine = FINE * extent_of(params["means"])
    latents = _add_motions(columns, scene.motions, used, (places, quats), (fine, TURN), end)
    motion = {
        "kind": "carried",
        "motions": len(used),
        "bodies": bodies,
        "latents": latents,
        "waves": waves,
        "turnColors": scene.turn_colors,
        "duration": timeline.duration,
        "from": scene.motions.basis.t_min,
        "to": scene.motions.basis.t_max,
    }
    return PackedScene(
        count, moving, 1 + params["features_rest"].shape[1], motion, timeline.seconds(end), columns
    )


def _add_codes(columns: Columns, codes: Float[np.ndarray, "M K"]) -> tuple[Int64[np.ndarray, "U"], bool]:
    """Add which motions the moving Gaussians follow: the number of one, where each follows one alone.

    Returns:
        The motions that are used, and whether each Gaussian follows one.
    """
    if not ((codes == 0) | (codes == 1)).all():
        columns.add("weights", codes, 12, bounds=(0.0, 1.0))
        return np.arange(codes.shape[1]), False
    used, number = np.unique(codes.argmax(1), return_inverse=True)
    columns.add_within("bodies", number[:, None], 0.5)
    return used, True


def _add_motions(
    columns: Columns, motions: KeyframeMotions, used: Int64[np.ndarray, "U"],
    bends: tuple[Float[np.ndarray, "M L 3"], Float[np.ndarray, "M L 4"]], bounds: tuple[float, float],
    end: float,
) -> int:  # fmt: skip
    """Add the motions with their rates at some times, and how each latent motion bends Gaussians.

    Args:
        columns: Columns to add to.
        motions: All motions.
        used: Those that are written.
        bends: What latent motions add to places and to quaternions.
        bounds: Allowed errors of these two.
        end: Last time that is shown.

    Returns:
        The number of latent motions that bend anything by more than the bounds; others are left out.
    """
    times = _times(motions, end)
    table, rates = (
        np.stack([at(float(t)).double().cpu().numpy()[used] for t in times])
        for at in (motions.table, motions.table_rates)
    )
    largest = np.abs(table[..., ROW:]).max((0, 1), initial=1e-30)
    bent = [largest[:, None] * values for values in bends]
    kept = np.flatnonzero(
        np.any([(np.abs(b) > bound).any((0, 2)) for b, bound in zip(bent, bounds, strict=True)], 0)
    )
    for name, values, bound in zip(("bend", "turn"), bent, bounds, strict=True):
        for i, j in enumerate(kept):
            columns.add_within(f"{name}{i}", values[:, j], bound)
    # Quaternions, shifts, latent motions; a motion after the other, so that rows differ little from the last.
    chosen = np.concatenate([np.arange(12, ROW), np.arange(9, 12), ROW + kept])
    units = np.concatenate([np.ones(7), largest[kept]])
    for name, values, bits in (("motions", table, 24), ("rates", rates, 16)):
        rows = (values[..., chosen] / units).swapaxes(0, 1)
        columns.add(name, rows.reshape(-1, len(units)), bits, along=True)
    columns.add_floats("times", times[:, None])
    return len(kept)


def _times(motions: KeyframeMotions, end: float) -> Float[np.ndarray, "S"]:
    """Return times between which the motions are cubics or nearly: the knots of their splines and times
    between these, then the frames of the forecast."""
    basis, keyframes = motions.basis, max(motions.basis.keyframes, 1)
    observed = np.linspace(basis.t_min, basis.t_max, keyframes * -(-SAMPLES // keyframes) + 1)
    ahead = min(len(motions.future) - 1, math.ceil((end - basis.t_max) / motions.dt - 1e-6))
    return np.concatenate([observed, basis.t_max + motions.dt * np.arange(1, ahead + 1)])


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
    _add_shapes(columns, first.means[order], upright[order], scales[order], first.opacities[order])
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


def _add_shapes(
    columns: Columns, means: Float[np.ndarray, "N 3"], quats: Float[np.ndarray, "N 4"],
    log_scales: Float[np.ndarray, "N 3"], opacities: Float[np.ndarray, "N"],
) -> None:  # fmt: skip
    """Add where Gaussians are, and how they look without their colour; axes are those named anew."""
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
