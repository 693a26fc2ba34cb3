"""Gradients of the blend, tile by tile, from the bits that the forward recorded.

A block replays its list front to back, keeping each step's alpha and transmittance, then walks it back to
front. With B the colour (dotted with the pixel's gradient) of what lies behind, a step needs d = g - B, where
g is its own colour dotted with the gradient: the gradient of alpha is T d and B becomes B + alpha d. No
division, and no cancellation for what lies deep.

Expected depth E passes to a step its own depth minus E: taken as that difference, never as two products whose
rounding a small alpha would blow up, and with the rounding of E put right by the weighted mean of the
differences.

Sums over the 16 pixels are not taken step by step: 16 steps are transposed so that a lane is a step, and the
moments {1, x, y, xx, xy, yy} of the factors and the colour sums are small matrix products. They add up in
rows of the tile's own list, which stay in the cache, and then go to the worker's accumulator. Each worker has
a fixed run of tiles, and the workers' sums are added in a fixed order, so repeats are bitwise equal."""

import math

import numpy as np

from dyn3d_ns.kernels.jit import inline, kernel
from dyn3d_ns.kernels.types import F32, I32, I64, Lanes, Mask, Word
from dyn3d_ns.kernels.vector import LANES, first_lanes, fma, lowest_bit, select, splat, vabs
from dyn3d_ns.kernels.vector_channels import (
    channels_dot,
    channels_fma_planes,
    channels_load,
    channels_store,
    channels_zero,
)
from dyn3d_ns.kernels.vector_memory import gather_at, load, scatter_at, spread, store, transpose
from dyn3d_ns.rendering.binning import RECORD, TILE, tile_place
from dyn3d_ns.rendering.blend_forward import (
    CHUNK,
    MAX_ALPHA,
    MIN_TRANSMITTANCE,
    TILE_ENTRIES,
    alpha_of,
    exponent,
    passed,
    prefetch_tile,
)

_TILE_COST = 64
"""What a tile costs beside its steps, in steps."""
_LATE = 2000
"""Steps that the calling thread does while the others are being woken."""

DEPTH_ROWS = 3
"""Behind the channels, alpha and the background: gradient, mean and rest of the mean of an expected depth."""

MOMENTS = 8
"""Accumulator entries before the colours: the six moments and the two absolute sums of absgrad."""


def accumulator_width(channels: int) -> int:
    """Return the floats an accumulator row has: moments and colours, in whole vectors."""
    return -(-(MOMENTS + channels) // LANES) * LANES


def scratch_sizes(longest: int, channels: int, absgrad: bool) -> tuple[int, int]:
    """Return the floats and the integers of scratch a worker needs for tile lists of up to `longest`
    ranks."""
    width, planes = accumulator_width(channels), 4 if absgrad else 2
    grads = LANES * (2 * channels + 2 + DEPTH_ROWS)
    floats = (planes * LANES + 2 + width) * longest + grads + 256 + LANES * width
    return floats, 2 * longest + longest // CHUNK


@inline
def _cost(tile_entries: I64, tile: int) -> Word:
    steps = tile_entries[TILE_ENTRIES * tile + 2]
    return steps + _TILE_COST if steps > 0 else np.int64(0)


@kernel
def cut_runs(tile_entries: I64, bounds: I64) -> int:
    """Cut the tiles into runs that end at about the same time, one between two bounds, the first for the
    calling thread; return the most chunks a tile has, at least 1."""
    tiles, workers = len(tile_entries) // TILE_ENTRIES, len(bounds) - 1
    total, longest = 0, 1
    for tile in range(tiles):
        longest = max(longest, tile_entries[TILE_ENTRIES * tile + 1])
        total += _cost(tile_entries, tile)
    bounds[0] = 0
    worker, done = 1, 0
    for tile in range(tiles):
        while worker < workers and done * workers >= total * worker + _LATE * (workers - worker):
            bounds[worker] = tile
            worker += 1
        done += _cost(tile_entries, tile)
    bounds[worker:] = tiles
    return longest


@kernel
def blend_backward(
    tag: tuple[int, ...], first_tile: int, last_tile: int, width: int, height: int, cameras: int,
    tiles_x: int, channels: int, expected: bool, absgrad: bool, longest: int, records: F32, colors: F32,
    chunk_ranks: I32, chunk_words: I64, chunk_next: I32, tile_entries: I64, backgrounds: F32, constants: F32,
    pixels: I32, image: F32, sums: F32, v_image: F32, v_alphas: F32, accumulator: F32, touched: I32,
    floats: F32, integers: I32,
) -> None:  # fmt: skip
    """Add the gradients of the tiles first_tile … last_tile - 1 to this worker's accumulator [ranks, width],
    and note in `touched` [ranks / 16] where.

    `v_alphas` may be empty. `floats` and `integers` are scratch (see `scratch_sizes`); `longest` bounds the
    ranks of a tile's list."""
    stride, row = len(tag), LANES * ((MOMENTS + len(tag) + LANES - 1) // LANES)
    planes = 4 if absgrad else 2
    a, b = planes * LANES * longest, (planes * LANES + 2) * longest
    steps, step_offsets, local = floats[:a], floats[a:b], floats[b : b + row * longest]
    c = b + row * longest + LANES * (2 * stride + 2 + DEPTH_ROWS)
    grads, buffer = floats[b + row * longest : c], floats[c:]
    floats[b:] = 0.0  # what no step fills must be zero
    ranks, step_places, chunks = integers[:longest], integers[longest : 2 * longest], integers[2 * longest :]
    numbered = len(tile_entries) // TILE_ENTRIES // cameras
    columns, rows = load(constants, 0), load(constants, LANES)
    for tile in range(first_tile, last_tile):
        if tile_entries[TILE_ENTRIES * tile + 2] == 0:
            continue
        camera = tile // numbered
        tile_x, tile_y = tile_place(tile % numbered, tiles_x)
        x0, y0 = tile_x * TILE, tile_y * TILE
        pixel = (camera * height + y0) * width + x0
        prefetch_tile(v_image, pixel, min(height - y0, TILE), width, channels)
        listed = _list_ranks(tile, tile_entries, chunk_ranks, chunk_next, ranks, chunks)
        for block in range(16):
            bx, by = x0 + (block & 3) * 4, y0 + (block >> 2) * 4
            px, py = columns + (np.float32(bx) + 0.5), rows + (np.float32(by) + 0.5)
            inside = (columns + np.float32(bx) < width) & (rows + np.float32(by) < height)
            count = _replay(
                listed, block, ranks, chunks, chunk_words, records, px, py, np.float32(bx) + 2.0,
                np.float32(by) + 2.0, select(inside, splat(1.0), splat(0.0)), steps, step_places,
                step_offsets,
            )  # fmt: skip
            if count > 0:
                pixel = (camera * height + by) * width + bx
                _load_gradients(
                    stride, camera, pixel, inside, channels, expected, pixels,
                    image, sums, v_image, v_alphas, backgrounds, grads,
                )  # fmt: skip
                if expected:
                    _refine_mean(stride, channels, count, colors, grads, steps, ranks, step_places)
                _walk_back(
                    tag, count, channels, expected, absgrad, records, colors, px, py, grads, steps, ranks,
                    step_places,
                )  # fmt: skip
                _reduce(tag, count, absgrad, grads, steps, step_places, step_offsets, local, buffer)
        _flush(listed, row, ranks, chunks, chunk_words, local, accumulator, touched)


@inline
def _list_ranks(
    tile: int, tile_entries: I64, chunk_ranks: I32, chunk_next: I32, ranks: I32, chunks: I32,
) -> int:  # fmt: skip
    """Copy the chunks of a tile into one list; return how many there are."""
    chunk, listed = tile_entries[TILE_ENTRIES * tile], tile_entries[TILE_ENTRIES * tile + 1]
    for i in range(listed):
        chunks[i] = chunk
        for k in range(CHUNK):
            ranks[CHUNK * i + k] = chunk_ranks[CHUNK * chunk + k]
        if i + 1 < listed:
            chunk = chunk_next[chunk]
    return listed


@inline
def _replay(
    listed: int, block: int, ranks: I32, chunks: I32, chunk_words: I64, records: F32, px: Lanes, py: Lanes,
    center_x: float, center_y: float, open_t: Lanes, steps: F32, step_places: I32, step_offsets: F32,
) -> Word:  # fmt: skip
    """Run the block front to back: store alpha, transmittance, place in the list and offset from the mean of
    each step."""
    plane = LANES * len(step_places)
    count = np.int64(0)
    for i in range(listed):
        word = chunk_words[16 * np.int64(chunks[i]) + block]
        while word != 0:
            place = CHUNK * i + lowest_bit(word)
            r = np.int64(ranks[np.uint64(place)])
            word &= word - 1
            o = RECORD * r
            alpha = alpha_of(exponent(records, o, px, py))
            rest = passed(open_t, alpha)
            ok = rest > MIN_TRANSMITTANCE
            store(steps, LANES * count, select(ok, alpha, splat(0.0)))
            store(steps, LANES * count + plane, open_t)
            open_t = select(ok, rest, splat(0.0))
            step_places[np.uint64(count)] = place
            step_offsets[np.uint64(count)] = np.float32(center_x) - records[np.uint64(o)]
            step_offsets[np.uint64(len(step_places) + count)] = (
                np.float32(center_y) - records[np.uint64(o + 1)]
            )
            count += 1
    return count


@inline
def _load_gradients(
    stride: int, camera: int, pixel: int, inside: Mask, channels: int, expected: bool, pixels: I32,
    image: F32, sums: F32, v_image: F32, v_alphas: F32, backgrounds: F32, grads: F32,
) -> None:  # fmt: skip
    """Lay out the pixel gradients of a block: a vector a channel, of alpha, of the background behind all,
    then DEPTH_ROWS, and once more the channels, without that of an expected depth.
    """
    behind, v_alpha = splat(0.0), splat(0.0)
    own = LANES * (stride + 2 + DEPTH_ROWS)
    if len(v_alphas) > 0:
        v_alpha = gather_at(v_alphas, pixel, pixels, LANES, 1, inside)
    for d in range(channels):
        value = gather_at(v_image, pixel * channels + d, pixels, 0, 1, inside)
        if expected and d == channels - 1:
            weight = gather_at(sums, pixel, pixels, LANES, 1, inside)
            value = select(weight > 0.0, value / weight, splat(0.0))
            store(grads, LANES * (stride + 2), value)
            store(grads, LANES * (stride + 3), gather_at(image, pixel * channels + d, pixels, 0, 1, inside))
        else:
            if expected:
                store(grads, own + LANES * d, value)
            if len(backgrounds) > 0:
                behind = fma(value, spread(backgrounds, camera * channels + d), behind)
        store(grads, LANES * d, value)
    store(grads, LANES * stride, v_alpha)
    store(grads, LANES * stride + LANES, behind)


@inline
def _refine_mean(
    stride: int, channels: int, count: int, colors: F32, grads: F32, steps: F32, ranks: I32, step_places: I32,
) -> None:  # fmt: skip
    """Store what rounding left out of the expected depth: the weighted mean of the differences to it."""
    plane, depth = LANES * len(step_places), load(grads, LANES * (stride + 3))
    total, weights = splat(0.0), splat(1e-30)
    for k in range(count):
        r = np.int64(ranks[np.uint64(step_places[np.uint64(k)])])
        weight = load(steps, LANES * k) * load(steps, LANES * k + plane)
        weights = weights + weight
        total = fma(weight, spread(colors, stride * r + channels - 1) - depth, total)
    store(grads, LANES * (stride + 4), total / weights)


@inline
def _walk_back(
    tag: tuple[int, ...], count: int, channels: int, expected: bool, absgrad: bool, records: F32, colors: F32,
    px: Lanes, py: Lanes, grads: F32, steps: F32, ranks: I32, step_places: I32,
) -> None:  # fmt: skip
    """Replace each step's alpha and transmittance by the factors of its shape and of its colour gradient."""
    stride, plane = len(tag), LANES * len(step_places)
    v = channels_load(tag, grads, LANES * (stride + 2 + DEPTH_ROWS) if expected else 0)
    depth = LANES * (stride + 2)
    v_depth, mean, rest = load(grads, depth), load(grads, depth + LANES), load(grads, depth + 2 * LANES)
    v_alpha, behind = load(grads, LANES * stride), load(grads, LANES * stride + LANES)
    for k in range(count - 1, -1, -1):
        r = np.int64(ranks[np.uint64(step_places[np.uint64(k)])])
        alpha, transmittance = load(steps, LANES * k), load(steps, LANES * k + plane)
        own = channels_dot(v, colors, stride * r, v_alpha)
        if expected:
            own = fma(v_depth, spread(colors, stride * r + channels - 1) - mean - rest, own)
        d = own - behind
        behind = fma(1.0 - alpha, behind, alpha * own)
        weight = alpha * transmittance
        factor = select(alpha < MAX_ALPHA, weight * d, splat(0.0))
        store(steps, LANES * k, factor)
        store(steps, LANES * k + plane, weight)
        if absgrad:
            o = RECORD * r
            dx, dy = px - spread(records, o), py - spread(records, o + 1)
            b = spread(records, o + 3)
            slope_x = fma(2.0 * spread(records, o + 2), dx, b * dy)
            slope_y = fma(2.0 * spread(records, o + 4), dy, b * dx)
            store(steps, LANES * k + 2 * plane, vabs(factor * slope_x))
            store(steps, LANES * k + 3 * plane, vabs(factor * slope_y))


@inline
def _moments(buffer: F32, x: Lanes, y: Lanes) -> None:
    """Write the six moments about the mean of 16 steps from their transposed factors in buffer[:256].

    Columns are summed with the offsets -1.5, -0.5, 0.5, 1.5 from the block's centre, rows likewise, and the
    centre's offset (x, y) from each mean is put in at the end.
    """
    m, mx, my, mxx, mxy, myy = splat(0.0), splat(0.0), splat(0.0), splat(0.0), splat(0.0), splat(0.0)
    for row in range(4):
        o = 64 * row
        v = row - 1.5
        h0, h1, h2, h3 = load(buffer, o), load(buffer, o + 16), load(buffer, o + 32), load(buffer, o + 48)
        outer, inner = h0 + h3, h1 + h2
        r0 = outer + inner
        r1 = fma(h3 - h0, 1.5, 0.5 * (h2 - h1))
        m, mx, mxx = m + r0, mx + r1, mxx + fma(outer, 2.25, 0.25 * inner)
        my, mxy, myy = fma(r0, v, my), fma(r1, v, mxy), fma(r0, v * v, myy)
    sx, sy = fma(m, x, mx), fma(m, y, my)
    store(buffer, 256, m)
    store(buffer, 272, sx)
    store(buffer, 288, sy)
    store(buffer, 304, fma(x, mx + sx, mxx))
    store(buffer, 320, fma(y, mx, fma(x, sy, mxy)))
    store(buffer, 336, fma(y, my + sy, myy))


@inline
def _sum_rows(buffer: F32) -> Lanes:
    total = load(buffer, 0)
    for p in range(1, LANES):
        total = total + load(buffer, LANES * p)
    return total


@inline
def _reduce(
    tag: tuple[int, ...], count: int, absgrad: bool, grads: F32, steps: F32, step_places: I32,
    step_offsets: F32, local: F32, buffer: F32,
) -> None:  # fmt: skip
    """Sum the factors over pixels for 16 steps at a time and add them to the rows of their places in the
    list.

    Of the rows of `buffer` from 256 on, those that no step fills stay zero.
    """
    stride, plane = len(tag), LANES * len(step_places)
    width = LANES * ((MOMENTS + stride + LANES - 1) // LANES)
    for k in range(count, (count + LANES - 1) // LANES * LANES):
        store(steps, LANES * k, splat(0.0))
        store(steps, LANES * k + plane, splat(0.0))
    for start in range(0, count, LANES):
        transpose(steps, LANES * start, buffer, 0)
        _moments(buffer, load(step_offsets, start), load(step_offsets, len(step_places) + start))
        if absgrad:
            transpose(steps, LANES * start + 2 * plane, buffer, 0)
            store(buffer, 352, _sum_rows(buffer))
            transpose(steps, LANES * start + 3 * plane, buffer, 0)
            store(buffer, 368, _sum_rows(buffer))
        transpose(steps, LANES * start + plane, buffer, 0)
        sums = channels_zero(tag)
        for p in range(LANES):
            sums = channels_fma_planes(sums, load(buffer, LANES * p), grads, p)
        channels_store(sums, buffer, 256 + LANES * MOMENTS)
        for part in range(width // LANES):
            transpose(buffer, 256 + 256 * part, buffer, 0)
            for i in range(min(LANES, count - start)):
                o = width * np.int64(step_places[np.uint64(start + i)]) + LANES * part
                store(local, o, load(local, o) + load(buffer, LANES * i))


@inline
def _flush(
    listed: int, width: int, ranks: I32, chunks: I32, chunk_words: I64, local: F32, accumulator: F32,
    touched: I32,
) -> None:  # fmt: skip
    """Add the tile's rows to the accumulator rows of their ranks, and clear them."""
    for i in range(listed):
        word = np.int64(0)
        for block in range(16):
            word |= chunk_words[16 * np.int64(chunks[i]) + block]
        while word != 0:
            place = CHUNK * i + lowest_bit(word)
            word &= word - 1
            rank = np.int64(ranks[np.uint64(place)])
            touched[np.uint64(rank // LANES)] = 1
            to = width * rank
            for part in range(0, width, LANES):
                store(
                    accumulator, to + part, load(accumulator, to + part) + load(local, width * place + part)
                )
                store(local, width * place + part, splat(0.0))


@kernel
def collect(
    piece: int, pieces: int, width: int, channels: int, order: I32, counts: I64, conics: F32, opacities: F32,
    accumulators: F32, touched: I32, buffer: F32, v_means2d: F32, v_abs: F32, v_conics: F32, v_opacities: F32,
    v_colors: F32, v_depths: F32,
) -> None:  # fmt: skip
    """Add up the workers' accumulators [workers, ranks * width], turn moments into gradients by Gaussian, and
    clear the accumulators.

    Where `touched` [workers, ranks / 16] says that nothing was added the gradients stay as they are, zeros;
    it is cleared too. `buffer` is scratch of 2 * 16 * width floats.
    """
    cameras = len(counts)
    row = len(order) // cameras
    for camera in range(cameras):
        blocks = (counts[camera] + LANES - 1) // LANES
        for block in range(blocks * piece // pieces, blocks * (piece + 1) // pieces):
            i = camera * row + block * LANES
            if not _take_touched(i // LANES, touched):
                continue
            size = min(LANES, counts[camera] - block * LANES)
            _sum_workers(i, size, width, accumulators, buffer)
            _write_gradients(
                i, first_lanes(size), 16 * width, channels, order, conics, opacities, buffer,
                v_means2d, v_abs, v_conics, v_opacities, v_colors, v_depths,
            )  # fmt: skip


@inline
def _take_touched(block: int, touched: I32) -> bool:
    """Tell whether some worker has added to these 16 ranks, and forget it."""
    found = False
    for worker in range(touched.shape[0]):
        found |= touched[worker, block] != 0
        touched[worker, block] = 0
    return found


@inline
def _sum_workers(i: int, size: int, width: int, accumulators: F32, buffer: F32) -> None:
    """Sum rows i … i + size - 1 over the workers, clear them, and leave a vector an entry at buffer[16
    width:]."""
    for part in range(0, width, LANES):
        for k in range(size):
            o = width * (i + k) + part
            total = load(accumulators[0], o)
            store(accumulators[0], o, splat(0.0))
            for worker in range(1, accumulators.shape[0]):
                total = total + load(accumulators[worker], o)
                store(accumulators[worker], o, splat(0.0))
            store(buffer, LANES * k, total)
        transpose(buffer, 0, buffer, LANES * (width + part))


@inline
def _write_gradients(
    i: int, lanes: Mask, o: int, channels: int, order: I32, conics: F32, opacities: F32, buffer: F32,
    v_means2d: F32, v_abs: F32, v_conics: F32, v_opacities: F32, v_colors: F32, v_depths: F32,
) -> None:  # fmt: skip
    """Write the gradients of 16 ranks from their sums at buffer[o:], one vector an entry."""
    a = gather_at(conics, 0, order, i, 3, lanes)
    b = gather_at(conics, 1, order, i, 3, lanes)
    c = gather_at(conics, 2, order, i, 3, lanes)
    x, y = load(buffer, o + 16), load(buffer, o + 32)
    opacity = select(lanes, gather_at(opacities, 0, order, i, 1, lanes), splat(1.0))
    scatter_at(v_opacities, 0, order, i, 1, lanes, load(buffer, o) / opacity)
    scatter_at(v_means2d, 0, order, i, 2, lanes, a * x + b * y)
    scatter_at(v_means2d, 1, order, i, 2, lanes, b * x + c * y)
    scatter_at(v_conics, 0, order, i, 3, lanes, -0.5 * load(buffer, o + 48))
    scatter_at(v_conics, 1, order, i, 3, lanes, -load(buffer, o + 64))
    scatter_at(v_conics, 2, order, i, 3, lanes, -0.5 * load(buffer, o + 80))
    if len(v_abs) > 0:
        ln2 = math.log(2.0)  # the records' exponents are powers of two
        scatter_at(v_abs, 0, order, i, 2, lanes, ln2 * load(buffer, o + 96))
        scatter_at(v_abs, 1, order, i, 2, lanes, ln2 * load(buffer, o + 112))
    colored = channels - (1 if len(v_depths) > 0 else 0)
    for d in range(colored):
        scatter_at(v_colors, d, order, i, colored, lanes, load(buffer, o + LANES * (MOMENTS + d)))
    if colored < channels:
        scatter_at(v_depths, 0, order, i, 1, lanes, load(buffer, o + LANES * (MOMENTS + colored)))
