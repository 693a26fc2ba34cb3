"""A scene out of a file: Gaussians at the times that it holds, and between them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import normalize

from dyn3d_ns.gaussians.gaussians import Gaussians
from dyn3d_ns.gaussians.scene import GaussianScene
from dyn3d_ns.geometry.world import World
from dyn3d_ns.io.ply import logit
from dyn3d_ns.io.splat_files.table import SplatFile
from dyn3d_ns.io.splats import Splats
from dyn3d_ns.timeline import TIME_EPS

_SMALLEST = 1e-12
"""Least standard deviation, whose logarithm is kept."""
_NEARLY_ONE = 0.9995
"""Cosine above which two rotations are mixed in a straight line."""


class ImportedScene(GaussianScene):
    """Gaussians at some times; between two of them values are mixed, before and after them they stay.

    ``params`` are those of the first time. What changes is kept for the Gaussians that it changes for: for
    each of them ``rows_of(name)`` [M] says which, ``track_of(name)`` [T, M, …] what they are.
    """

    times: Float[Tensor, "T"]
    """Normalised, rising."""
    held: Bool[Tensor, ""]
    """Whether each instant is shown until the next one, since rows are not the same Gaussian over time."""

    def __init__(self, params: dict[str, Float[Tensor, "N *D"]], times: list[float], held: bool) -> None:
        """Take the parameters of the first time; nothing changes until :meth:`follow` says so."""
        super().__init__(params)
        self.register_buffer("times", torch.tensor(times, dtype=torch.float64))
        self.register_buffer("held", torch.tensor(held))
        for name, values in params.items():
            self.register_buffer(f"{name}_rows", torch.zeros(0, dtype=torch.int64))
            self.register_buffer(f"{name}_track", torch.zeros(len(times), 0, *values.shape[1:]))

    @classmethod
    def empty(cls, sh_degree: int) -> ImportedScene:
        """Return a scene of no Gaussian that a checkpoint fills."""
        widths = {"means": 3, "scales": 3, "quats": 4, "opacities": 1, "features_dc": 3}
        params = {name: torch.zeros(0, width) for name, width in widths.items()}
        params["features_rest"] = torch.zeros(0, (sh_degree + 1) ** 2 - 1, 3)
        return cls(params, [0.0], False)

    def follow(self, name: str, rows: Tensor, track: Float[Tensor, "T M *D"]) -> None:
        """Let some Gaussians' values of one kind be these at the times."""
        self.register_buffer(f"{name}_rows", rows)
        self.register_buffer(f"{name}_track", track)

    def rows_of(self, name: str) -> Tensor:
        """Return which Gaussians change in one kind of value."""
        return self.get_buffer(f"{name}_rows")

    def track_of(self, name: str) -> Float[Tensor, "T M *D"]:
        """Return the values of those over time."""
        return self.get_buffer(f"{name}_track")

    @property
    def changing(self) -> Bool[Tensor, "N"]:
        """Which Gaussians move, turn, or look different over time."""
        changes = torch.zeros(len(self), dtype=torch.bool, device=self.params["means"].device)
        for name in self.params:
            changes[self.rows_of(name)] = True
        return changes

    def at(self, t: float) -> Gaussians:
        """Return the scene at a normalised time."""
        i, part = self._place(t)
        rest = self._value("features_rest", i, part)
        gaussians = Gaussians(
            self._value("means", i, part),
            self._value("quats", i, part, slerp),
            self._value("scales", i, part).exp(),
            torch.sigmoid(self._value("opacities", i, part, _mix_logits)).squeeze(1),
            torch.cat([self._value("features_dc", i, part)[:, None], rest], dim=1),
            self._velocities(t, i),
            self.changing if len(self.times) > 1 else None,
        )
        return gaussians

    def _place(self, t: float) -> tuple[int, float]:
        """Return the last instant at or before a time, and the part of the way to the next one."""
        times = self.times.cpu().numpy()
        i = int(np.searchsorted(times, t + TIME_EPS, side="right")) - 1
        if i < 0:
            return 0, 0.0
        if i + 1 >= len(times) or bool(self.held) or abs(t - times[i]) <= TIME_EPS:
            return i, 0.0
        return i, float((t - times[i]) / (times[i + 1] - times[i]))

    def _value(
        self, name: str, i: int, part: float, mix: Callable[[Tensor, Tensor, float], Tensor] = torch.lerp
    ) -> Tensor:
        base, rows, track = self.params[name], self.rows_of(name), self.track_of(name)
        if not len(rows):
            return base
        now = mix(track[i], track[i + 1], part) if part else track[i]
        return now if len(rows) == len(base) else base.index_copy(0, rows, now)

    def _velocities(self, t: float, i: int) -> Float[Tensor, "N 3"] | None:
        """Return the speed of the way on which each Gaussian is; at the last instant, of that to it."""
        count = len(self.times)
        if count < 2 or bool(self.held):
            return None
        velocities = torch.zeros_like(self.params["means"])
        rows, track = self.rows_of("means"), self.track_of("means")
        first, last = float(self.times[0]), float(self.times[-1])
        if len(rows) and first - TIME_EPS <= t <= last + TIME_EPS:
            i = min(i, count - 2)
            velocities[rows] = (track[i + 1] - track[i]) / float(self.times[i + 1] - self.times[i])
        return velocities

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Take as many times, and Gaussians that change, as come."""
        for name, buffer in list(self.named_buffers(recurse=False)):
            comes = state_dict.get(f"{prefix}{name}")
            if comes is not None and comes.dim() == buffer.dim() and comes.shape[2:] == buffer.shape[2:]:
                self.register_buffer(name, torch.zeros_like(comes, device=buffer.device))
        super()._load_from_state_dict(state_dict, prefix, *args)


def slerp(a: Float[Tensor, "M 4"], b: Float[Tensor, "M 4"], part: float) -> Float[Tensor, "M 4"]:
    """Turn the short way from one rotation to another, unit quaternions, at an even rate."""
    cosine = (a * b).sum(-1, keepdim=True)
    b, cosine = torch.where(cosine < 0, -b, b), cosine.abs()
    angle = torch.arccos(cosine.clamp(max=_NEARLY_ONE))
    turned = (((1 - part) * angle).sin() * a + (part * angle).sin() * b) / angle.sin()
    return normalize(torch.where(cosine > _NEARLY_ONE, torch.lerp(a, b, part), turned), dim=-1)


def _mix_logits(a: Tensor, b: Tensor, part: float) -> Tensor:
    """Mix opacities, not their logits."""
    return torch.logit(torch.lerp(torch.sigmoid(a), torch.sigmoid(b), part), eps=1e-7)


def scene_of_file(file: SplatFile, world: World) -> ImportedScene:
    """Make a scene of what a file holds, in the world of training."""
    sequence = file.sequence
    first = sequence.at(0)
    base = _values(first, world, None)
    held = not file.same_rows
    seconds = np.asarray(sequence.seconds)
    times = (seconds - seconds[0]) / max(float(seconds[-1] - seconds[0]), 1e-12)
    scene = ImportedScene({name: torch.from_numpy(v) for name, v in base.items()}, times.tolist(), held)
    changes = {name: np.zeros(len(first), bool) for name in base}
    for splats in sequence.instants[1:]:
        for name, values in _values(splats, world, base["quats"]).items():
            changes[name] |= (values != base[name]).reshape(len(first), -1).any(1)
    rows = {name: np.flatnonzero(changed) for name, changed in changes.items()}
    tracks = {
        name: np.empty((len(times), len(rows[name]), *base[name].shape[1:]), np.float32) for name in base
    }
    quats = None
    for i, splats in enumerate(sequence.instants):
        values = _values(splats, world, quats)
        quats = values["quats"]
        for name, found in values.items():
            tracks[name][i] = found[rows[name]]
    for name, track in tracks.items():
        scene.follow(name, torch.from_numpy(rows[name]), torch.from_numpy(track))
    return scene


def _values(splats: Splats, world: World, near: Float[np.ndarray, "N 4"] | None) -> dict[str, np.ndarray]:
    """Return Gaussians as scenes hold them; of the two quaternions of a rotation the one near another."""
    quats = splats.quats
    if near is not None:
        quats = np.where((quats * near).sum(1, keepdims=True) < 0, -quats, quats)
    scales = np.log(np.maximum(splats.scales * np.float32(world.scale), _SMALLEST))
    return {
        "means": world.points(splats.means.astype(np.float64)).astype(np.float32),
        "scales": scales.astype(np.float32),
        "quats": quats,
        "opacities": logit(splats.opacities).astype(np.float32)[:, None],
        "features_dc": splats.sh[:, 0],
        "features_rest": splats.sh[:, 1:],
    }
