"""Blending as one differentiable step: sort, pack, blend; and back.

The kernels are in binning.py, blend_forward.py and blend_backward.py; here their arrays are laid out and cut
into pieces for the pool.
"""

import functools
import itertools
import math
import weakref
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dyn3d_ns.kernels import pool
from dyn3d_ns.kernels.buffers import Lease
from dyn3d_ns.kernels.once import once
from dyn3d_ns.rendering import binning, blend_backward, blend_forward
from dyn3d_ns.rendering.autograd import flat, made, pieces_for

# Channel counts that kernels are compiled for; others are padded to the next one.
_COMPILED_CHANNELS = (1, 3, 4, 6, 8, 12, 16, 24, 33)
MAX_CHANNELS = 32
_ALL, _NONE = np.zeros(0, np.int32), np.zeros(0, np.float32)


class AbsGradTarget:
    """The tensor that receives `absgrad` after the backward, and where its rows lie in [C, N] if it is
    packed."""

    def __init__(self, tensor: Tensor, index: tuple[Tensor, Tensor] | None = None):
        self._tensor = weakref.ref(tensor)
        self._index = index

    def put(self, absgrad: Tensor) -> None:
        """Store sums of absolute gradients [C, N, 2] as the tensor's ``absgrad``, if it is still there."""
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

    @property
    def tiles(self) -> tuple[int, int]:
        """Tiles across and down."""
        return -(-self.width // binning.TILE), -(-self.height // binning.TILE)


@dataclass
class _Packed:
    """Visible Gaussians of all cameras by depth: see binning.py."""

    order: np.ndarray
    """camera * N + Gaussian, whole blocks of 64 a camera"""
    counts: np.ndarray
    """visible Gaussians by camera"""
    records: np.ndarray
    colors: np.ndarray
    rects: np.ndarray
    pairs: int
    """pairs of a Gaussian and a tile, at most"""
    shapes: tuple[np.ndarray, np.ndarray]
    """conics and opacities of all Gaussians, flat"""


def _pack(
    lease: Lease, settings: BlendSettings, stride: int, channels: int, means2d: Tensor, conics: Tensor,
    opacities: Tensor, colors: Tensor | None, depths: Tensor | None, sort_depths: Tensor, radii: Tensor,
) -> _Packed:  # fmt: skip
    """Sort and pack the visible Gaussians."""
    cameras, n = radii.shape[0], radii.shape[2]
    ranks = cameras * -(-n // 64) * 64
    tiles_x, tiles_y = settings.tiles
    order, scratch, histograms, records, rows, rects = lease.cut(
        (ranks, np.int32),
        (3 * ranks, np.int32),
        (cameras * binning.HISTOGRAM, np.int32),
        (ranks * binning.RECORD, np.float32),
        (ranks * stride, np.float32),
        (binning.planes(tiles_x, tiles_y) * ranks, np.int32),
    )
    histograms, counts = histograms.reshape(cameras, -1), np.zeros(cameras, dtype=np.int64)
    arrays = [flat(t) for t in (means2d, conics, opacities, radii, colors, depths)]
    bits, seen = flat(sort_depths).view(np.int32), (arrays[3], arrays[2])
    pool.run(
        lambda c: binning.sort_by_depth(c, n, bits, *seen, order, scratch, histograms, counts),
        cameras,
        "sort",
    )
    pieces = pieces_for(sum(counts.tolist()))
    covered = np.zeros(pieces, dtype=np.float64)
    pool.run(
        lambda p: binning.pack(
            p, pieces, n, tiles_x, tiles_y, channels, stride, settings.expected_depth, order, counts,
            *arrays, records, rows, rects, covered,
        ),
        pieces,
        "pack",
    )  # fmt: skip
    pairs = int(sum(covered.tolist()) * 1.0001) + 1
    return _Packed(order, counts, records, rows, rects, pairs, (arrays[1], arrays[2]))


@functools.lru_cache(maxsize=16)
def _pixel_offsets(width: int, channels: int) -> np.ndarray:
    """Return where the 16 pixels of a block lie in a row-major image of `channels`, then in a plane."""
    plane = np.arange(4)[:, None] * width + np.arange(4)
    return np.concatenate([(plane * channels).reshape(-1), plane.reshape(-1)]).astype(np.int32)


@dataclass
class _Recorded:
    """What the forward keeps for the backward: see blend_forward.py."""

    chunk_ranks: np.ndarray
    chunk_words: np.ndarray
    chunk_next: np.ndarray
    tile_entries: np.ndarray


def _record(lease: Lease, record: bool, tiles: int, pairs: int, workers: int) -> _Recorded:
    """Make room for all chunks that can come to be, or for one a worker. Pages not written cost nothing."""
    # a tile may have one that is not full, and takes one more to find that there is nothing left
    chunks = pairs // blend_forward.CHUNK + 2 * tiles if record else workers
    kept = tiles if record else 0
    return _Recorded(
        *lease.cut(
            (chunks * blend_forward.CHUNK, np.int32),
            (16 * chunks if record else 0, np.int64),
            (chunks if record else 0, np.int32),
            (kept * blend_forward.TILE_ENTRIES, np.int64),
        )
    )


class Blend(torch.autograd.Function):
    """Projected Gaussians [C, N, …] to images [C, H, W, X] and alphas [C, H, W, 1].

    `depths`, if given, is one more channel after the colours.
    """

    @staticmethod
    def forward(
        ctx: Any, means2d: Tensor, conics: Tensor, opacities: Tensor, colors: Tensor | None,
        depths: Tensor | None, backgrounds: Tensor | None, sort_depths: Tensor, radii: Tensor,
        tile_mask: Tensor | None, settings: BlendSettings,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """Blend front to back, and keep what was blended where a backward is to come."""
        s = settings
        lease, cameras = Lease(), means2d.shape[0]
        channels = (0 if colors is None else colors.shape[-1]) + (0 if depths is None else 1)
        stride = next(c for c in _COMPILED_CHANNELS if c >= channels + s.expected_depth)
        packed = _pack(
            lease, s, stride, channels, means2d, conics, opacities, colors, depths, sort_depths, radii
        )
        tiles_x, tiles_y = s.tiles
        tiles = cameras * tiles_x * tiles_y
        numbered = cameras * binning.numbered_tiles(tiles_x, tiles_y)
        workers = max(1, min(pool.get_num_threads(), tiles))
        image, image_array = made(cameras, s.height, s.width, channels)
        alphas, alpha_array = made(cameras, s.height, s.width, 1)
        rests, rest_array = made(*alphas.shape) if ctx.needs_input_grad[5] else (None, _NONE)
        kept = _record(lease, s.record, numbered, packed.pairs, workers)
        listed = len(packed.order) // cameras + 64
        sums, scratch, masks, group = lease.cut(
            (cameras * s.height * s.width if s.expected_depth else 0, np.float32),
            (workers * 256 * (2 + stride), np.float32),
            (workers * blend_forward.CHUNK, np.int32),
            (workers * 2 * listed, np.int32),
        )
        scratch, masks = scratch.reshape(workers, -1), masks.reshape(workers, -1)
        group = group.reshape(workers, 2, listed)
        counter, tag = np.zeros(2, dtype=np.int64), (0,) * stride
        behind, pixels = flat(backgrounds), _pixel_offsets(s.width, channels)
        drawn = _ALL if tile_mask is None else tile_mask.numpy().astype(np.int32).ravel()
        out = image_array, alpha_array, rest_array, sums

        def work(worker: int) -> None:
            blend_forward.blend_forward(
                tag, worker, counter, s.record, s.width, s.height, tiles_x, tiles_y, channels,
                s.expected_depth, packed.records, packed.colors, packed.rects, packed.counts,
                drawn, behind, blend_forward.BLOCK_OFFSETS, pixels, *out,
                kept.chunk_ranks, kept.chunk_words, kept.chunk_next, kept.tile_entries,
                scratch[worker], masks[worker], *group[worker],
            )  # fmt: skip

        pool.run(work, workers, "blend")
        if s.record:
            ctx.lease, ctx.packed, ctx.kept, ctx.settings, ctx.stride = lease, packed, kept, s, stride
            ctx.rests, ctx.sums, ctx.pixels, ctx.behind, ctx.image = rests, sums, pixels, behind, image_array
            ctx.save_for_backward(conics, opacities, colors, depths, backgrounds, image)
            ctx.set_materialize_grads(False)
        return image, alphas

    @staticmethod
    @once
    def backward(ctx: Any, v_image: Tensor | None, v_alphas: Tensor | None) -> tuple[Tensor | None, ...]:
        """Blend back to front, and add what each tile says of a Gaussian."""
        conics, opacities, colors, depths, backgrounds, image = ctx.saved_tensors
        s, packed = ctx.settings, ctx.packed
        cameras, n = conics.shape[:2]
        channels, width = image.shape[-1], blend_backward.accumulator_width(ctx.stride)
        if v_image is None:
            v_image = torch.zeros_like(image)
        lease = Lease()
        accumulators, touched = _accumulate(ctx, lease, v_image, v_alphas, image.shape)
        shapes = [(cameras, n, 2), (cameras, n, 2) if s.absgrad is not None else None, (cameras, n, 3)]
        shapes += [None if t is None else t.shape for t in (opacities, colors, depths)]
        out, (v_means2d, v_abs, v_conics, v_opacities, v_colors, v_depths) = _zeros(shapes)
        pieces = pieces_for(sum(packed.counts.tolist()))
        buffers = lease.empty((pieces, 32 * width))
        pool.run(
            lambda p: blend_backward.collect(
                p, pieces, width, channels, packed.order, packed.counts, *packed.shapes, accumulators,
                touched, buffers[p], *out,
            ),
            pieces,
            "collect",
        )  # fmt: skip
        lease.release()
        if s.absgrad is not None:
            s.absgrad.put(v_abs)
        v_backgrounds = (ctx.rests * v_image).sum(dim=(1, 2)) if ctx.needs_input_grad[5] else None
        return v_means2d, v_conics, v_opacities, v_colors, v_depths, v_backgrounds, None, None, None, None


def _zeros(shapes: list[tuple[int, ...] | None]) -> tuple[list[np.ndarray], list[Tensor | None]]:
    """Make zeros in one block, as flat arrays and as tensors: each by itself takes as long as a small kernel.

    Where a shape is None the array is empty and the tensor None.
    """
    sizes = (0 if shape is None else math.prod(shape) for shape in shapes)
    ends = list(itertools.accumulate(sizes, initial=0))
    block = np.zeros(ends[-1], np.float32)
    flat_ones = [block[start:stop] for start, stop in itertools.pairwise(ends)]
    pairs = zip(flat_ones, shapes, strict=True)
    return flat_ones, [None if shape is None else torch.from_numpy(x.reshape(shape)) for x, shape in pairs]


def _accumulate(
    ctx: Any,
    lease: Lease,
    v_image: Tensor,
    v_alphas: Tensor | None,
    shape: tuple[int, ...],
) -> tuple[np.ndarray, np.ndarray]:
    """Run the backward blend; return each worker's sums [workers, ranks * width], and which 16 ranks have
    any."""
    s, packed, kept, tag = ctx.settings, ctx.packed, ctx.kept, (0,) * ctx.stride
    workers = max(1, min(pool.get_num_threads(), len(kept.tile_entries) // blend_forward.TILE_ENTRIES))
    bounds, absgrad = np.empty(workers + 1, dtype=np.int64), s.absgrad is not None
    longest = blend_forward.CHUNK * blend_backward.cut_runs(kept.tile_entries, bounds)
    floats, integers = blend_backward.scratch_sizes(longest, ctx.stride, absgrad)
    float_scratch, integer_scratch = lease.cut((workers * floats, np.float32), (workers * integers, np.int32))
    float_scratch, integer_scratch = float_scratch.reshape(workers, -1), integer_scratch.reshape(workers, -1)
    width = blend_backward.accumulator_width(ctx.stride)
    accumulators = lease.cleared((workers, len(packed.order) * width))
    touched = lease.cleared((workers, len(packed.order) // 16), np.int32)
    arrays = [ctx.image, ctx.sums, flat(v_image), flat(v_alphas)]

    def work(worker: int) -> None:
        blend_backward.blend_backward(
            tag, bounds[worker], bounds[worker + 1], s.width, s.height, shape[0], s.tiles[0],
            shape[-1], s.expected_depth, absgrad, longest, packed.records, packed.colors,
            kept.chunk_ranks, kept.chunk_words, kept.chunk_next, kept.tile_entries,
            ctx.behind, blend_forward.BLOCK_OFFSETS, ctx.pixels, *arrays, accumulators[worker],
            touched[worker], float_scratch[worker], integer_scratch[worker],
        )  # fmt: skip

    try:
        pool.run(work, workers, "blend backward")
    except BaseException:
        lease.drop()  # the accumulators may hold anything
        raise
    return accumulators, touched
