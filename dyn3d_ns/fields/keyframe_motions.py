"""The keyframe network: K motions of time, shared by everything in the scene, and how they go on.

Each motion turns about a pivot and shifts, ``x(t) = R(r(t)) (x - p) + p + d(t)``, where the rotation vector
``r`` and the shift ``d`` are combinations of a :class:`TimeBasis`; so are L latent motions, numbers by which
what the motion carries bends before. Points mix the motions with weights, as in skinning, and bend by
coefficients of their own. This costs one small product and one pass over the points at each time, where a
deformation network costs an MLP over every point.

After the observed time the motions are read from a table of frames, a forecast, along Hermite's cubics.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from dyn3d_ns.fields.motion_table import ROW, mean_square, motion_rows, motion_table
from dyn3d_ns.fields.time_basis import TimeBasis
from dyn3d_ns.geometry.rotations import (
    normalize_quat,
    quat_conjugate,
    quat_multiply,
    sine_defect_sq,
    skew,
    versine_sq,
)
from dyn3d_ns.timeline import TIME_EPS


class RigidPoses(NamedTuple):
    """Rigid motions at one time: ``x(t) = rotations @ x + translations``."""

    quats: Float[Tensor, "K 4"]
    """Rotations as quaternions in wxyz order, continuous in time from the identity."""
    rotations: Float[Tensor, "K 3 3"]
    translations: Float[Tensor, "K 3"]


def left_jacobian(r: Float[Tensor, "*B 3"]) -> Float[Tensor, "*B 3 3"]:
    """Return the matrix that turns the rate of a rotation vector into the angular velocity, ``w = J(r)
    dr/dt``."""
    angle_sq = r.square().sum(-1)[..., None, None]
    k = skew(r)
    return (
        torch.eye(3, dtype=r.dtype, device=r.device)
        + versine_sq(angle_sq) * k
        + sine_defect_sq(angle_sq) * (k @ k)
    )


class KeyframeMotions(nn.Module):
    """K motions over the observed time and after it; the first one is rest, and stays it."""

    def __init__(
        self, basis: TimeBasis, pivots: Float[Tensor, "K 3"], latents: int = 0, dt: float = 1.0
    ) -> None:
        """Start every motion at rest.

        Args:
            basis: Functions of time that vanish at the canonical time ``basis.t_ref``.
            pivots: Points that the motions turn about, world units; the first belongs to the motion that is
                rest.
            latents: Latent motions of each motion, an even number.
            dt: Time from one frame of a forecast to the next.
        """
        super().__init__()
        if latents % 2:
            raise ValueError(f"{latents} latent motions were asked for; their number must be even")
        self.basis, self.latents, self.dt = basis, latents, dt
        self.register_buffer("pivots", pivots.clone())
        self.coefficients = nn.Parameter(torch.zeros(basis.size, pivots.shape[0] - 1, 6 + latents))
        self.register_buffer("future", torch.zeros(0, pivots.shape[0], 7 + latents))
        self.register_buffer("future_errors", torch.zeros(0, pivots.shape[0]))
        grid = np.linspace(basis.t_min, basis.t_max, 4 * max(basis.keyframes, 2) + 1)[:-1] + 1e-6
        self.register_buffer("jerk_basis", basis(grid, derivative=3) * basis.scale**3, persistent=False)
        self._cache: dict[tuple[float, int], Tensor] = {}

    pivots: Tensor
    jerk_basis: Tensor
    future: Tensor
    """Quaternions (wxyz), translations and latent motions at the last observed time and each frame after it,
    [F, K, 7 + L]; no frames where nothing was foretold: then all is held as it last was."""

    future_errors: Tensor
    """Expected root mean square error of what each motion carries at those frames, world units, [F, K]."""

    @property
    def num_motions(self) -> int:
        """Count the motions, rest included."""
        return self.pivots.shape[0]

    def _weights(self, t: float, derivative: int) -> Float[Tensor, "J"]:
        key = (t, derivative)
        kept = self._cache.get(key)
        if kept is None or kept.device != self.pivots.device or kept.dtype != self.pivots.dtype:
            if len(self._cache) > 4096:
                self._cache.clear()
            kept = self._cache[key] = self.basis(t, derivative)[0].to(self.pivots)
        return kept

    def values(self, t: float, derivative: int) -> Float[Tensor, "K 6+L"]:
        """Evaluate the shift, the rotation vector and the latent motions of every motion at an observed time,
        or a derivative."""
        moving = torch.tensordot(self._weights(t, derivative), self.coefficients, dims=1)
        return torch.cat([moving.new_zeros(1, moving.shape[1]), moving])

    def table(self, t: float) -> Float[Tensor, "K 16+L"]:
        """Evaluate every motion at the time ``t``: the rows of :func:`~dyn3d_ns.fields.motion_table`."""
        if t > self.basis.t_max + TIME_EPS and len(self.future) > 1:
            quats, rest = self._foretold(t)[0].split([4, 3 + self.latents], dim=1)
            return motion_rows(normalize_quat(quats), rest[:, :3], rest[:, 3:])
        weights = self._weights(min(max(t, self.basis.t_min), self.basis.t_max), 0)
        return motion_table(weights, self.coefficients, self.pivots)

    def _foretold(self, t: float) -> tuple[Float[Tensor, "K 7+L"], Float[Tensor, "K 7+L"]]:
        """Return the forecast at a time and its rate, along Hermite's cubic; held beyond its last frame."""
        frames, last = self.future, len(self.future) - 1
        place = (t - self.basis.t_max) / self.dt
        i = min(int(place), last - 1)
        u = min(place - i, 1.0)
        before, after = frames[max(i - 1, 0)], frames[min(i + 2, last)]
        start, end = frames[i], frames[i + 1]
        # The rate at the last observed time is the recording's own.
        first = self._pose_rate(self.basis.t_max) * self.dt if i == 0 else 0.5 * (end - before)
        second = 0.5 * (after - start) if i + 1 < last else torch.zeros_like(end)
        value = (
            (1 + u * u * (2 * u - 3)) * start
            + u * u * (3 - 2 * u) * end
            + u * (u - 1) ** 2 * first
            + u * u * (u - 1) * second
        )
        rate = 6 * u * (u - 1) * (start - end) + (u - 1) * (3 * u - 1) * first + u * (3 * u - 2) * second
        return value, torch.zeros_like(rate) if place >= last else rate / self.dt

    def _pose_rate(self, t: float) -> Float[Tensor, "K 7+L"]:
        """Return the rate of quaternions, translations and latent motions at an observed time."""
        rates = self.table_rates(t)
        return torch.cat([rates[:, 12:ROW], rates[:, 9:12], rates[:, ROW:]], dim=1)

    def forward(self, t: float) -> RigidPoses:
        """Evaluate the rigid part of every motion at the time ``t``."""
        table = self.table(t)
        return RigidPoses(table[:, 12:ROW], table[:, :9].unflatten(1, (3, 3)), table[:, 9:12])

    def twists(self, t: float) -> Float[Tensor, "K 6"]:
        """Differentiate the rigid motions: the twist ``(u, w)`` of each about the world's origin, per unit of
        time."""
        if t > self.basis.t_max + TIME_EPS:
            if len(self.future) < 2:
                return self.pivots.new_zeros(self.num_motions, 6)
            value, rate = self._foretold(t)
            length = value[:, :4].norm(dim=1, keepdim=True)
            w = 2 * quat_multiply(rate[:, :4] / length, quat_conjugate(value[:, :4] / length))[:, 1:]
            return torch.cat([rate[:, 4:7] - torch.linalg.cross(w, value[:, 4:7]), w], dim=1)
        t = max(t, self.basis.t_min)
        values, rates = self.values(t, 0), self.values(t, 1)
        w = (left_jacobian(values[:, 3:6]) @ rates[:, 3:6].unsqueeze(-1)).squeeze(-1)
        return torch.cat([rates[:, :3] - torch.linalg.cross(w, self.pivots + values[:, :3]), w], dim=-1)

    def table_rates(self, t: float) -> Float[Tensor, "K 16+L"]:
        """Differentiate :meth:`table` by time."""
        table, twists = self.table(t), self.twists(t)
        if t > self.basis.t_max + TIME_EPS:
            latents = (
                self._foretold(t)[1][:, 7:] if len(self.future) > 1 else torch.zeros_like(table[:, ROW:])
            )
        else:
            latents = self.values(max(t, self.basis.t_min), 1)[:, 6:]
        turning = skew(twists[:, 3:]) @ table[:, :9].unflatten(1, (3, 3))
        shift = twists[:, :3] + torch.linalg.cross(twists[:, 3:], table[:, 9:12])
        spin = torch.cat([twists.new_zeros(len(twists), 1), 0.5 * twists[:, 3:]], dim=1)
        return torch.cat([turning.flatten(1), shift, quat_multiply(spin, table[:, 12:ROW]), latents], dim=1)

    @torch.no_grad()
    def go_on(
        self,
        quats: Float[Tensor, "F K 4"],
        translations: Float[Tensor, "F K 3"],
        latents: Float[Tensor, "F K L"],
        errors: Float[Tensor, "F K"] | None = None,
    ) -> None:
        """Set how the motions go on after the observed time, frame by frame, ``dt`` apart.

        Args:
            quats: Rotations (wxyz), the first of the last observed time, all of length one; their signs are
                chosen here. Rest is one of the motions.
            translations: Shifts of ``x -> R x + t``, world units.
            latents: Latent motions.
            errors: Expected root mean square error of what each motion carries, world units; None where that
                is not known.
        """
        quats = quats.clone()
        before = self.table(self.basis.t_max)[:, 12:ROW]
        for i in range(len(quats)):
            quats[i] *= torch.where((quats[i] * before).sum(1, keepdim=True) < 0, -1.0, 1.0)
            before = quats[i]
        self.future = torch.cat([quats, translations, latents], dim=2).to(self.pivots)
        unknown = self.pivots.new_zeros(self.future.shape[:2])
        self.future_errors = unknown if errors is None else errors.to(self.pivots)

    def errors(self, t: float) -> Float[Tensor, "K"]:
        """Return how far what each motion carries is expected to be off at a time, world units (root mean
        square): 0 at observed times, and as at the last frame of the forecast beyond it."""
        if t <= self.basis.t_max + TIME_EPS or len(self.future_errors) < 2:  # noqa: PLR2004
            return self.pivots.new_zeros(self.num_motions)
        last = len(self.future_errors) - 1
        place = min((t - self.basis.t_max) / self.dt, float(last))
        i = min(int(place), last - 1)
        return torch.lerp(self.future_errors[i], self.future_errors[i + 1], place - i)

    def jerk(self, weight: float = 1.0) -> Float[Tensor, ""]:
        """Return the weighted mean square of the rigid motions' third derivative, half of the observed time
        the unit."""
        return mean_square(self.jerk_basis, self.coefficients[..., :6], weight)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Take as many frames of the future as come."""
        for name in ("future", "future_errors"):
            rows = state_dict.get(f"{prefix}{name}")
            if rows is not None:
                setattr(self, name, self.pivots.new_zeros(rows.shape))
        super()._load_from_state_dict(state_dict, prefix, *args)
