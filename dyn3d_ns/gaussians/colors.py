"""Colours that follow time and turn with the matter, in one pass over the Gaussians.

CUDA tensors, and spherical harmonics of degree 2 and 3, take the same steps with torch's operators.
"""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from dyn3d_ns.geometry.harmonics import rotate_harmonics
from dyn3d_ns.geometry.rotations import quat_conjugate, quat_multiply
from dyn3d_ns.kernels.jit import inline, kernel
from dyn3d_ns.kernels.once import once
from dyn3d_ns.kernels.pool import pieces_of, run

_REST = (np.float32(1), np.float32(0), np.float32(0), np.float32(0))


MAX_KEPT_TIMES = 4096
"""Times whose cosines are kept."""


@inline
def _turned(w, x, y, z, a, b, c):
    """Rotate (a, b, c) by a quaternion of any length but zero."""
    scale = np.float32(2) / max(w * w + x * x + y * y + z * z, np.float32(1e-20))
    p, q, r = y * c - z * b, z * a - x * c, x * b - y * a
    return (
        a + scale * (w * p + y * r - z * q),
        b + scale * (w * q + z * p - x * r),
        c + scale * (w * r + x * q - y * p),
    )


@inline
def _turn(now, before, i):
    """Return the rotation that took the quaternion ``before`` to ``now``, times their lengths."""
    aw, ax, ay, az = now[i, 0], now[i, 1], now[i, 2], now[i, 3]
    bw, bx, by, bz = before[i, 0], -before[i, 1], -before[i, 2], -before[i, 3]
    return (
        aw * bw - ax * bx - ay * by - az * bz,
        aw * bx + ax * bw + ay * bz - az * by,
        aw * by - ax * bz + ay * bw + az * bx,
        aw * bz + ax * by - ay * bx + az * bw,
    )


@kernel
def _forward(start, stop, base, changes, rest, waves, now, before, out):
    turning = len(now) > 0
    for i in range(start, stop):
        w, x, y, z = _turn(now, before, i) if turning else _REST
        for c in range(3):
            value = base[i, c]
            for m in range(changes.shape[1]):
                value += waves[m] * changes[i, m, c]
            out[i, 0, c] = value
            if turning:
                # The coefficients of degree 1 are (-y, z, -x) of a vector.
                vx, vy, vz = _turned(w, x, y, z, -rest[i, 2, c], -rest[i, 0, c], rest[i, 1, c])
                out[i, 1, c], out[i, 2, c], out[i, 3, c] = -vy, vz, -vx
        if not turning:
            for k in range(rest.shape[1]):
                for c in range(3):
                    out[i, k + 1, c] = rest[i, k, c]


@kernel
def _backward(start, stop, v_out, waves, now, before, v_base, v_changes, v_rest):
    turning = len(now) > 0
    for i in range(start, stop):
        w, x, y, z = _turn(now, before, i) if turning else _REST
        for c in range(3):
            grad = v_out[i, 0, c]
            v_base[i, c] = grad
            for m in range(v_changes.shape[1]):
                v_changes[i, m, c] = waves[m] * grad
            if turning:
                vx, vy, vz = _turned(w, -x, -y, -z, -v_out[i, 3, c], -v_out[i, 1, c], v_out[i, 2, c])
                v_rest[i, 0, c], v_rest[i, 1, c], v_rest[i, 2, c] = -vy, vz, -vx
        if not turning:
            for k in range(v_rest.shape[1]):
                for c in range(3):
                    v_rest[i, k, c] = v_out[i, k + 1, c]


class _ColorsAt(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, base: Tensor, changes: Tensor, rest: Tensor, waves: Tensor, now: Tensor, before: Tensor
    ) -> Tensor:
        ctx.fixed = waves.numpy(), now.numpy(), before.numpy()
        ctx.shapes = base.shape, changes.shape, rest.shape
        out = np.empty((base.shape[0], rest.shape[1] + 1, 3), np.float32)
        arrays = [base.numpy(), changes.numpy(), rest.numpy(), *ctx.fixed, out]
        bounds = pieces_of(base.shape[0])
        run(lambda piece: _forward(bounds[piece], bounds[piece + 1], *arrays), len(bounds) - 1)
        return torch.from_numpy(out)

    @staticmethod
    @once
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None, None]:
        v_out = grads[0].contiguous()
        v_inputs = [np.empty(shape, np.float32) for shape in ctx.shapes]
        arrays = [v_out.numpy(), *ctx.fixed, *v_inputs]
        bounds = pieces_of(v_out.shape[0])
        run(lambda piece: _backward(bounds[piece], bounds[piece + 1], *arrays), len(bounds) - 1)
        return *map(torch.from_numpy, v_inputs), None, None, None  # type: ignore[return-value]


def carried_colors(
    base: Float[Tensor, "N 3"],
    changes: Float[Tensor, "N M 3"],
    rest: Float[Tensor, "N R 3"],
    waves: Float[Tensor, "M"],
    quats: tuple[Float[Tensor, "N 4"], Float[Tensor, "N 4"]] | None = None,
) -> Float[Tensor, "N 1+R 3"]:
    """Return SH coefficients that follow time and turn with the matter.

    Args:
        base: Coefficients of degree 0.
        changes: What M functions of time add to them.
        rest: Coefficients of the higher degrees.
        waves: Values of the functions of time.
        quats: Orientations now and in the canonical time (wxyz, not zero); the higher degrees follow the turn
            between them, which gets no gradient. None leaves those in the world's frame.
    """
    if quats is None or rest.shape[1] == 0:
        now = before = rest.new_zeros(0, 4)
    else:
        now, before = (q.detach() for q in quats)
    if rest.is_cuda or rest.dtype != torch.float32 or (len(now) and rest.shape[1] != 3):
        base = base + torch.einsum("m,nmc->nc", waves, changes)
        rest = rotate_harmonics(rest, quat_multiply(now, quat_conjugate(before))) if len(now) else rest
        return torch.cat([base[:, None], rest], dim=1)
    arguments = (base, changes, rest, waves, now, before)
    return _ColorsAt.apply(*(x.contiguous() for x in arguments))  # type: ignore[no-any-return]


class ColorWaves:
    """Cosines of the observed time that base colours may follow; beyond it they hold their last value."""

    def __init__(self, count: int, first: float, last: float) -> None:
        """Set ``count`` cosines up over the observed time from ``first`` to ``last``."""
        self.phases = torch.arange(1, count + 1) * torch.pi
        self.first, self.last = first, last
        self._kept: dict[float, Tensor] = {}

    def at(self, t: float, like: Tensor) -> Float[Tensor, "M"]:
        """Return the cosines at a time, on the device and of the type of another tensor."""
        kept = self._kept.get(t)
        if kept is None or kept.device != like.device:
            phase = (min(max(t, self.first), self.last) - self.first) / max(self.last - self.first, 1e-6)
            kept = torch.cos(self.phases * phase).to(like)
            if len(self._kept) < MAX_KEPT_TIMES:
                self._kept[t] = kept
        return kept
