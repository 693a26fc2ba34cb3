"""Projection and spherical harmonics as differentiable steps; blending, which follows, is in blend.py.

`means2d` is the tensor between the two, so it keeps its gradient when a strategy asks for it.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dyn3d_ns.kernels import pool
from dyn3d_ns.kernels.buffers import result
from dyn3d_ns.kernels.once import once
from dyn3d_ns.rendering import harmonics, projection, projection_backward

_NONE = np.zeros(0, dtype=np.float32)
# Below this many Gaussians a second thread costs more than it brings.
_MIN_PIECE = 8192


def flat(tensor: Tensor | None) -> np.ndarray:
    """View a tensor as a flat float32 array; None becomes an empty one."""
    if tensor is None:
        return _NONE
    if tensor.requires_grad:
        tensor = tensor.detach()
    return tensor.numpy().ravel()


def made(*shape: int) -> tuple[Tensor, np.ndarray]:
    """Make a tensor of any content, and the flat array of it."""
    array, flat_array = result(*shape)
    return torch.from_numpy(array), flat_array


def _sparse_rows(tensor: Tensor, rows: Tensor) -> Tensor:
    """Return the sorted rows of a tensor as a sparse one, which torch need not check."""
    return torch.sparse_coo_tensor(
        rows[None], tensor[rows], tensor.shape, is_coalesced=True, check_invariants=False
    )


def pieces_for(count: int) -> int:
    """Return into how many pieces to cut work on that many Gaussians."""
    return max(1, min(pool.get_num_threads(), count // _MIN_PIECE))


@dataclass(frozen=True)
class ProjectionSettings:
    """What the projection needs beside tensors."""

    width: int
    height: int
    near_plane: float
    far_plane: float
    radius_clip: float
    eps2d: float
    model: int
    rule: int
    compensate: bool
    sparse_grad: bool = False


class Project(torch.autograd.Function):
    """Gaussians [N] and cameras [C] to means2d, depths, conics, compensations [C, N, …] and radii [C, 2,
    N]."""

    @staticmethod
    def forward(
        ctx: Any, means: Tensor, quats: Tensor | None, scales: Tensor | None, covars: Tensor | None,
        extents: Tensor | None, viewmats: Tensor, Ks: Tensor, settings: ProjectionSettings,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None, Tensor]:  # fmt: skip
        """Project; ``covars`` [N, 6] stand for quaternions and scales where given."""
        n, cameras = means.shape[0], viewmats.shape[0]
        inputs, views = [flat(t) for t in (means, quats, scales, covars)], [flat(viewmats), flat(Ks)]
        means2d, means2d_array = made(cameras, n, 2)
        depths, depth_array = made(cameras, n)
        conics, conic_array = made(cameras, n, 3)
        radii, radius_array = made(cameras, 2, n)
        compensations, compensation_array = made(cameras, n) if settings.compensate else (None, _NONE)
        outputs = [means2d_array, depth_array, conic_array, radius_array, compensation_array]
        s, pieces, extent_array = settings, pieces_for(n * cameras), flat(extents)

        def work(piece: int) -> None:
            projection.project_forward(
                piece, pieces, n, cameras, s.model, s.rule, float(s.width), float(s.height),
                float(s.near_plane), float(s.far_plane), float(s.radius_clip), float(s.eps2d),
                *inputs, extent_array, *views, *outputs,
            )  # fmt: skip

        pool.run(work, pieces, "project")
        ctx.save_for_backward(means, quats, scales, covars, viewmats, Ks, radii, conics)
        ctx.settings, ctx.arrays = settings, [*inputs, *views, radius_array, conic_array]
        ctx.mark_non_differentiable(radii)
        ctx.set_materialize_grads(False)
        return means2d, depths, conics, compensations, radii

    @staticmethod
    @once
    def backward(
        ctx: Any, v_means2d: Tensor | None, v_depths: Tensor | None, v_conics: Tensor | None,
        v_compensations: Tensor | None, _v_radii: Tensor | None,
    ) -> tuple[Tensor | None, ...]:  # fmt: skip
        """Return the gradients of Gaussians, as sparse rows where asked for, and of cameras."""
        means, quats, scales, covars, viewmats, Ks, radii, conics = ctx.saved_tensors
        n, cameras = means.shape[0], viewmats.shape[0]
        s = ctx.settings
        pieces = pieces_for(n * cameras)
        v_inputs = [(None, _NONE) if t is None else made(*t.shape) for t in (means, quats, scales, covars)]
        v_views = np.zeros((pieces, cameras, 12) if ctx.needs_input_grad[5] else (0,), dtype=np.float64)
        incoming = [
            np.zeros(2 * cameras * n, np.float32) if v_means2d is None else flat(v_means2d),
            flat(v_depths),
            np.zeros(3 * cameras * n, np.float32) if v_conics is None else flat(v_conics),
            flat(v_compensations),
        ]
        outgoing = [*(array for _, array in v_inputs), v_views.reshape(-1)]
        ids = np.empty((pieces, projection_backward.SPAN + 16), np.int32)

        def work(piece: int) -> None:
            projection_backward.project_backward(
                piece, pieces, n, cameras, s.model, float(s.width), float(s.height), float(s.eps2d),
                *ctx.arrays, *incoming, *outgoing, ids[piece],
            )  # fmt: skip

        pool.run(work, pieces, "project backward")
        grads: list[Tensor | None] = [v for v, _ in v_inputs]
        v_viewmats = None
        if ctx.needs_input_grad[5]:
            total = torch.from_numpy(v_views.sum(axis=0)).to(viewmats.dtype)
            v_viewmats = torch.zeros_like(viewmats)
            v_viewmats[:, :3, :3] = total[:, :9].view(cameras, 3, 3)
            v_viewmats[:, :3, 3] = total[:, 9:]
        if s.sparse_grad:
            seen = (radii[:, 0] > 0).any(dim=0).nonzero()[:, 0]
            grads = [g if g is None else _sparse_rows(g, seen) for g in grads]
        return *grads, None, v_viewmats, None, None


class HarmonicColors(torch.autograd.Function):
    """SH coefficients [(C,) N, K, 3] and camera centres [C, 3] to colours [C, N, 3], as gsplat clamps
    them."""

    @staticmethod
    def forward(
        ctx: Any, means: Tensor, coefficients: Tensor, centers: Tensor, radii: Tensor, degree: int
    ) -> Tensor:
        """Evaluate the colours of what is seen, the others are 0."""
        n, cameras = means.shape[0], centers.shape[0]
        colors, color_array = made(cameras, n, 3)
        arrays = [*map(flat, (means, coefficients, centers, radii)), color_array]
        pieces, each, shared = pieces_for(n * cameras), coefficients.shape[-2], coefficients.dim() == 3

        def work(piece: int) -> None:
            scratch = np.empty(harmonics.SCRATCH, dtype=np.float32)
            harmonics.colors_forward(piece, pieces, n, cameras, degree, each, shared, *arrays, scratch)

        pool.run(work, pieces, "harmonics")
        ctx.save_for_backward(means, coefficients, centers, radii, colors)
        ctx.degree, ctx.arrays = degree, arrays
        return colors

    @staticmethod
    @once
    def backward(ctx: Any, v_colors: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of means, coefficients and camera centres."""
        means, coefficients, centers, radii, colors = ctx.saved_tensors
        n, cameras = means.shape[0], centers.shape[0]
        v_coefficients, v_coefficient_array = made(*coefficients.shape)
        v_means, v_mean_array = made(*means.shape)
        pieces, each, shared = pieces_for(n * cameras), coefficients.shape[-2], coefficients.dim() == 3
        v_centers = np.zeros((pieces, cameras, 3) if ctx.needs_input_grad[2] else (0,), dtype=np.float64)
        arrays = [*ctx.arrays, flat(v_colors), v_coefficient_array, v_mean_array, v_centers.reshape(-1)]

        def work(piece: int) -> None:
            scratch = np.empty((2, harmonics.SCRATCH), dtype=np.float32)
            harmonics.colors_backward(
                piece, pieces, n, cameras, ctx.degree, each, shared, *arrays, scratch[0], scratch[1]
            )

        pool.run(work, pieces, "harmonics backward")
        to_centers = torch.from_numpy(v_centers.sum(axis=0)).to(centers.dtype) if v_centers.size else None
        return v_means, v_coefficients, to_centers, None, None
