"""The kernels as two differentiable steps: projection, and blending (with the colours from harmonics
between).

`means2d` is the tensor between the two, so it keeps its gradient when a strategy asks for it.
"""

import weakref
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dyn3d_ns.rendering import binning, blend_backward, blend_forward, harmonics, pool, projection

_NONE = np.zeros(0, dtype=np.float32)
# Channel counts that kernels are compiled for; others are padded to the next one.
_COMPILED_CHANNELS = (1, 3, 4, 6, 8, 12, 16, 24, 32)
MAX_CHANNELS = _COMPILED_CHANNELS[-1]
# Below this many Gaussians a second thread costs more than it brings.
_MIN_PIECE = 2048


def _flat(tensor: Tensor | None) -> np.ndarray:
    """View a tensor as a flat float32 array; None becomes an empty one."""
    if tensor is None:
        return _NONE
    return tensor.detach().contiguous().view(-1).numpy()


def _pieces(count: int) -> int:
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
    def forward(ctx, means, quats, scales, covars, extents, viewmats, Ks, settings: ProjectionSettings):
        n, cameras = means.shape[0], viewmats.shape[0]
        means2d, depths = torch.empty(cameras, n, 2), torch.empty(cameras, n)
        conics, radii = torch.empty(cameras, n, 3), torch.empty(cameras, 2, n)
        compensations = torch.empty(cameras, n) if settings.compensate else None
        inputs = [_flat(t) for t in (means, quats, scales, covars)]
        views = [_flat(t) for t in (viewmats, Ks)]
        outputs = [_flat(t) for t in (means2d, depths, conics, radii, compensations)]
        s, pieces, extent_array = settings, _pieces(n * cameras), _flat(extents)

        def work(piece: int) -> None:
            projection.project_forward(
                piece, pieces, n, cameras, s.model, s.rule, float(s.width), float(s.height),
                float(s.near_plane), float(s.far_plane), float(s.radius_clip), float(s.eps2d),
                *inputs, extent_array, *views, *outputs,
            )  # fmt: skip

        pool.run(work, pieces, "project")
        ctx.save_for_backward(means, quats, scales, covars, viewmats, Ks, radii, conics)
        ctx.settings = settings
        ctx.mark_non_differentiable(radii)
        ctx.set_materialize_grads(False)
        return means2d, depths, conics, compensations, radii

    @staticmethod
    def backward(ctx, v_means2d, v_depths, v_conics, v_compensations, _v_radii):
        means, quats, scales, covars, viewmats, Ks, radii, conics = ctx.saved_tensors
        n, cameras = means.shape[0], viewmats.shape[0]
        s = ctx.settings
        grads = [torch.empty_like(t, memory_format=torch.contiguous_format) if t is not None else None
                 for t in (means, quats, scales, covars)]  # fmt: skip
        pieces = _pieces(n * cameras)
        v_views = np.zeros((pieces, cameras, 12) if ctx.needs_input_grad[5] else (0,), dtype=np.float64)
        arrays = [_flat(t) for t in (means, quats, scales, covars, viewmats, Ks, radii, conics)]
        incoming = [
            _flat(torch.zeros(cameras, n, 2) if v_means2d is None else v_means2d),
            _flat(torch.zeros(cameras, n) if v_depths is None else v_depths),
            _flat(torch.zeros(cameras, n, 3) if v_conics is None else v_conics),
            _flat(v_compensations),
        ]
        outgoing = [_flat(t) for t in grads] + [v_views.reshape(-1)]

        def work(piece: int) -> None:
            projection.project_backward(
                piece, pieces, n, cameras, s.model, float(s.width), float(s.height), float(s.eps2d),
                *arrays, *incoming, *outgoing,
            )  # fmt: skip

        pool.run(work, pieces, "project backward")
        v_viewmats = None
        if ctx.needs_input_grad[5]:
            total = torch.from_numpy(v_views.sum(axis=0)).to(viewmats.dtype)
            v_viewmats = torch.zeros_like(viewmats)
            v_viewmats[:, :3, :3] = total[:, :9].view(cameras, 3, 3)
            v_viewmats[:, :3, 3] = total[:, 9:]
        if s.sparse_grad:
            seen = (radii[:, 0] > 0).any(dim=0).nonzero()[:, 0]
            grads = [g if g is None else torch.sparse_coo_tensor(seen[None], g[seen], g.shape) for g in grads]
        return *grads, None, v_viewmats, None, None


class HarmonicColors(torch.autograd.Function):
    """SH coefficients [(C,) N, K, 3] and camera centres [C, 3] to colours [C, N, 3], as gsplat clamps
    them."""

    @staticmethod
    def forward(ctx, means, coefficients, centers, radii, degree: int):
        n, cameras = means.shape[0], centers.shape[0]
        colors = torch.zeros(cameras, n, 3)
        arrays = [_flat(t) for t in (means, coefficients, centers, radii, colors)]
        pieces, each, shared = _pieces(n * cameras), coefficients.shape[-2], coefficients.dim() == 3

        def work(piece: int) -> None:
            harmonics.colors_forward(piece, pieces, n, cameras, degree, each, shared, *arrays)

        pool.run(work, pieces, "harmonics")
        ctx.save_for_backward(means, coefficients, centers, radii, colors)
        ctx.degree = degree
        return colors

    @staticmethod
    def backward(ctx, v_colors):
        means, coefficients, centers, radii, colors = ctx.saved_tensors
        n, cameras = means.shape[0], centers.shape[0]
        v_coefficients = torch.zeros_like(coefficients, memory_format=torch.contiguous_format)
        v_means = torch.zeros_like(means, memory_format=torch.contiguous_format)
        pieces, each, shared = _pieces(n * cameras), coefficients.shape[-2], coefficients.dim() == 3
        v_centers = np.zeros((pieces, cameras, 3) if ctx.needs_input_grad[2] else (0,), dtype=np.float64)
        arrays = [
            _flat(t) for t in (means, coefficients, centers, radii, colors, v_colors, v_coefficients, v_means)
        ]

        def work(piece: int) -> None:
            harmonics.colors_backward(
                piece, pieces, n, cameras, ctx.degree, each, shared, *arrays, v_centers.reshape(-1)
            )

        pool.run(work, pieces, "harmonics backward")
        to_centers = torch.from_numpy(v_centers.sum(axis=0)).to(centers.dtype) if v_centers.size else None
        return v_means, v_coefficients, to_centers, None, None


class AbsGradTarget:
    """The tensor that receives `absgrad` after the backward, and where its rows lie in [C, N] if it is
    packed."""

    def __init__(self, tensor: Tensor, index: tuple[Tensor, Tensor] | None = None):
        self._tensor = weakref.ref(tensor)
        self._index = index

    def put(self, absgrad: Tensor) -> None:
        tensor = self._tensor()
        if tensor is not None:
            tensor.absgrad = absgrad if self._index is None else absgrad[self._index]  # type: ignore[attr-defined]


@dataclass(frozen=True)
class BlendSettings:
    """What the blend needs beside tensors."""

    width: int
    height: int
    expected_depth: bool
    record: bool
    absgrad: AbsGradTarget | None = None


@dataclass
class _Bins:
    """Tile lists of all cameras: see binning.py."""

    order: np.ndarray
    records: np.ndarray
    colors: np.ndarray
    offsets: np.ndarray
    pairs: np.ndarray
    tiles_x: int
    tiles_y: int


def _sort(n: int, cameras: int, depths: Tensor, radii: Tensor, opacities: Tensor) -> np.ndarray:
    order = np.empty((cameras, n), dtype=np.int32)
    scratch = np.empty((cameras, 3, n), dtype=np.int32)
    counts = np.zeros(cameras, dtype=np.int64)
    bits, arrays = _flat(depths).view(np.int32), [_flat(radii), _flat(opacities)]
    pool.run(lambda c: binning.sort_by_depth(c, n, bits, *arrays, order, scratch, counts), cameras, "sort")
    return np.concatenate([order[c, : counts[c]] for c in range(cameras)])


def _bin(settings: BlendSettings, stride: int, channels: int, tensors: dict[str, Tensor | None]) -> _Bins:
    radii = tensors["radii"]
    assert radii is not None
    cameras, n = radii.shape[0], radii.shape[2]
    tiles_x, tiles_y = -(-settings.width // binning.TILE), -(-settings.height // binning.TILE)
    order = _sort(n, cameras, *(tensors[k] for k in ("sort_depths", "radii", "opacities")))  # type: ignore[arg-type]
    m, pieces = len(order), _pieces(len(order))
    records = np.empty(m * binning.RECORD, dtype=np.float32)
    colors = (
        np.empty(m * stride, dtype=np.float32)
        if stride == channels
        else np.zeros(m * stride, dtype=np.float32)
    )
    rects = np.empty(4 * m, dtype=np.int32)
    counts = np.zeros((pieces, cameras * tiles_x * tiles_y), dtype=np.int64)
    arrays = [_flat(tensors[k]) for k in ("means2d", "conics", "opacities", "radii", "colors", "depths")]
    pool.run(
        lambda p: binning.pack(
            p, pieces, n, tiles_x, tiles_y, channels, stride, order, *arrays, records, colors, rects, counts
        ),
        pieces,
        "bin",
    )
    offsets = np.empty(cameras * tiles_x * tiles_y + 1, dtype=np.int64)
    pairs = np.empty(binning.offsets_from_counts(counts, offsets), dtype=np.int32)
    pool.run(
        lambda p: binning.fill(p, pieces, n, tiles_x, tiles_y, order, rects, counts, pairs), pieces, "bin"
    )
    return _Bins(order, records, colors, offsets, pairs, tiles_x, tiles_y)


class Blend(torch.autograd.Function):
    """Projected Gaussians [C, N, …] to images [C, H, W, X] and alphas [C, H, W, 1].

    `depths`, if given, is one more channel after the colours.
    """

    @staticmethod
    def forward(ctx, means2d, conics, opacities, colors, depths, backgrounds, sort_depths, radii, settings):
        s: BlendSettings = settings
        cameras = means2d.shape[0]
        channels = (0 if colors is None else colors.shape[-1]) + (0 if depths is None else 1)
        stride = next(c for c in _COMPILED_CHANNELS if c >= channels)
        tensors = {
            "means2d": means2d, "conics": conics, "opacities": opacities, "colors": colors, "depths": depths,
            "sort_depths": sort_depths, "radii": radii,
        }  # fmt: skip
        bins = _bin(s, stride, channels, tensors)
        tiles = len(bins.offsets) - 1
        image, rests = (
            torch.empty(cameras, s.height, s.width, channels),
            torch.empty(cameras, s.height, s.width, 1),
        )
        words = np.empty(
            16 * (len(bins.pairs) // blend_forward.CHUNK + tiles + 1) if s.record else 0, np.int64
        )
        costs = np.zeros((tiles if s.record else 0, 2), dtype=np.int64)
        counter, out, tag = np.zeros(1, dtype=np.int64), (_flat(image), _flat(rests)), (0,) * stride
        behind = _flat(backgrounds)

        def work(_piece: int) -> None:
            scratch = np.empty(256 * (2 + stride), dtype=np.float32)
            masks = np.empty(blend_forward.CHUNK, dtype=np.int32)
            blend_forward.blend_forward(
                tag, counter, cameras, s.width, s.height, bins.tiles_x, bins.tiles_y, channels,
                s.expected_depth, bins.records, bins.colors, bins.pairs, bins.offsets,
                behind, blend_forward.BLOCK_OFFSETS,
                *out, words, costs, scratch, masks,
            )  # fmt: skip

        pool.run(work, min(pool.get_num_threads(), tiles), "blend")
        alphas = 1.0 - rests
        if s.record:
            ctx.rests = rests
            ctx.bins, ctx.words, ctx.costs, ctx.settings, ctx.stride = bins, words, costs, s, stride
            ctx.save_for_backward(conics, opacities, colors, depths, backgrounds, image, alphas)
        return image, alphas

    @staticmethod
    def backward(ctx, v_image, v_alphas):
        conics, opacities, colors, depths, backgrounds, image, alphas = ctx.saved_tensors
        s, bins = ctx.settings, ctx.bins
        cameras, n = conics.shape[:2]
        accumulators = _accumulate(ctx, v_image, v_alphas, backgrounds, image, alphas)
        v_means2d, v_conics, v_opacities = (
            torch.zeros(cameras, n, 2),
            torch.zeros(cameras, n, 3),
            torch.zeros(cameras, n),
        )
        v_abs = torch.zeros(cameras, n, 2) if s.absgrad is not None else None
        v_colors = None if colors is None else torch.zeros(cameras, n, colors.shape[-1])
        v_depths = None if depths is None else torch.zeros(cameras, n)
        out = [_flat(t) for t in (v_means2d, v_abs, v_conics, v_opacities, v_colors, v_depths)]
        inputs = (_flat(conics), _flat(opacities))
        pieces, width = _pieces(len(bins.order)), blend_backward.accumulator_width(ctx.stride)
        channels = image.shape[-1]
        pool.run(
            lambda p: blend_backward.collect(
                p, pieces, n, width, channels, bins.order, *inputs, accumulators, *out
            ),
            pieces,
            "collect",
        )
        if s.absgrad is not None:
            s.absgrad.put(v_abs)
        v_backgrounds = (ctx.rests * v_image).sum(dim=(1, 2)) if ctx.needs_input_grad[5] else None
        return v_means2d, v_conics, v_opacities, v_colors, v_depths, v_backgrounds, None, None, None


def _runs(costs: np.ndarray, workers: int) -> np.ndarray:
    """Cut the tiles into contiguous runs of equal cost; return their bounds."""
    total = np.concatenate([[0], np.cumsum(costs)])
    inner = np.searchsorted(total, total[-1] * np.arange(1, workers) / workers)
    return np.concatenate([[0], inner, [len(costs)]])


def _accumulate(ctx, v_image: Tensor, v_alphas: Tensor, backgrounds, image, alphas) -> np.ndarray:
    """Run the backward blend; return each worker's sums [workers, ranks * width]."""
    s, bins, words, costs, stride = ctx.settings, ctx.bins, ctx.words, ctx.costs, ctx.stride
    channels, tiles = image.shape[-1], len(costs)
    workers = min(pool.get_num_threads(), tiles)
    bounds = _runs(costs[:, 0], workers)
    chunks = costs[:, 1] // 16 - (bins.offsets[:-1] // blend_forward.CHUNK + np.arange(tiles))
    longest = blend_forward.CHUNK * max(1, int(chunks.max(initial=0)))
    width = blend_backward.accumulator_width(stride)
    accumulators = np.zeros((workers, len(bins.order) * width), dtype=np.float32)
    arrays = [_flat(t) for t in (image, alphas, v_image, v_alphas)]
    behind, tag = _flat(backgrounds), (0,) * stride

    def work(worker: int) -> None:
        steps = np.empty((4 if s.absgrad is not None else 2) * longest * 16, dtype=np.float32)
        blend_backward.blend_backward(
            tag, bounds[worker], bounds[worker + 1], s.width, s.height, bins.tiles_x, bins.tiles_y, channels,
            s.expected_depth, s.absgrad is not None,
            bins.records, bins.colors, bins.pairs, bins.offsets, behind, blend_forward.BLOCK_OFFSETS,
            words, costs, *arrays, accumulators[worker], steps,
            np.empty(longest, dtype=np.int32), np.empty(2 * longest, dtype=np.float32),
            np.zeros(32 * (stride + 1), dtype=np.float32), np.zeros(256 + 16 * width, dtype=np.float32),
        )  # fmt: skip

    pool.run(work, workers, "blend backward")
    return accumulators
