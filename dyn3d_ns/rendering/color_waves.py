"""Colours that follow functions of time, put together for the rasteriser in one pass over the Gaussians.

CUDA tensors keep torch's operators.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from dyn3d_ns.rendering.jit import kernel
from dyn3d_ns.rendering.pool import pieces_of, run


@kernel
def _forward(start, stop, base, changes, rest, waves, out):
    for i in range(start, stop):
        for c in range(3):
            value = base[i, c]
            for m in range(changes.shape[1]):
                value += waves[m] * changes[i, m, c]
            out[i, 0, c] = value
        for k in range(rest.shape[1]):
            for c in range(3):
                out[i, k + 1, c] = rest[i, k, c]


@kernel
def _backward(start, stop, v_out, waves, v_base, v_changes, v_rest):
    for i in range(start, stop):
        for c in range(3):
            grad = v_out[i, 0, c]
            v_base[i, c] = grad
            for m in range(v_changes.shape[1]):
                v_changes[i, m, c] = waves[m] * grad
        for k in range(v_rest.shape[1]):
            for c in range(3):
                v_rest[i, k, c] = v_out[i, k + 1, c]


class _ColorsAt(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, base: Tensor, changes: Tensor, rest: Tensor, waves: Tensor) -> Tensor:
        ctx.waves, ctx.shapes = waves.numpy(), (base.shape, changes.shape, rest.shape)
        out = base.new_empty(len(base), rest.shape[1] + 1, 3)
        arrays = [x.numpy() for x in (base, changes, rest, waves, out)]
        bounds = pieces_of(len(base))
        run(lambda piece: _forward(bounds[piece], bounds[piece + 1], *arrays), len(bounds) - 1)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        v_out = grads[0].contiguous()
        v_base, v_changes, v_rest = (v_out.new_empty(shape) for shape in ctx.shapes)
        arrays = [v_out.numpy(), ctx.waves, v_base.numpy(), v_changes.numpy(), v_rest.numpy()]
        bounds = pieces_of(len(v_out))
        run(lambda piece: _backward(bounds[piece], bounds[piece + 1], *arrays), len(bounds) - 1)
        return v_base, v_changes, v_rest, None


def colors_at_phase(
    base: Float[Tensor, "N 3"],
    changes: Float[Tensor, "N M 3"],
    rest: Float[Tensor, "N R 3"],
    waves: Float[Tensor, "M"],
) -> Float[Tensor, "N 1+R 3"]:
    """Return SH coefficients whose base colour is ``base + sum_m waves[m] changes[:, m]``.

    Args:
        base: Coefficients of degree 0.
        changes: What M functions of time add to them.
        rest: Coefficients of the higher degrees.
        waves: Values of the functions of time.
    """
    tensors = (base, changes, rest)
    if any(x.is_cuda or x.dtype != torch.float32 for x in tensors):
        now = base + torch.einsum("m,nmc->nc", waves, changes)
        return torch.cat([now[:, None], rest], dim=1)
    return _ColorsAt.apply(*(x.contiguous() for x in tensors), waves.contiguous())  # type: ignore[no-any-return]
