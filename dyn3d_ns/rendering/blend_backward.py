"""Gradients of the blend, tile by tile, from the bits that the forward recorded.

A block replays its list front to back, keeping each step's alpha and transmittance, then walks it back to
front. With B the colour (dotted with the pixel's gradient) of what lies behind, a step needs d = g - B, where
g is its own colour dotted with the gradient: the gradient of alpha is T d and B becomes B + alpha d. No
division, and no cancellation for what lies deep.

Sums over the 16 pixels are not taken step by step: 16 steps are transposed so that a lane is a step, and the
moments {1, x, y, xx, xy, yy} of the factors and the colour sums are small matrix products. Each worker adds
to an accumulator of its own over a fixed run of tiles; they are added up in a fixed order, so repeats are
bitwise equal.
"""

import math

import numpy as np

from dyn3d_ns.rendering.binning import RECORD, TILE
from dyn3d_ns.rendering.blend_forward import CHUNK, MAX_ALPHA, MIN_TRANSMITTANCE, alpha_of, exponent
from dyn3d_ns.rendering.jit import inline, kernel
from dyn3d_ns.rendering.vector import (
    LANES,
    channels_dot,
    channels_fma,
    channels_load,
    channels_store,
    channels_zero,
    fma,
    load,
    lowest_bit,
    select,
    splat,
    spread,
    store,
    transpose,
    vabs,
)

MOMENTS = 8
"""Accumulator entries before the colours: the six moments and the two absolute sums of absgrad."""


def accumulator_width(channels: int) -> int:
    """Return the floats an accumulator row has: moments and colours, in whole vectors."""
    return -(-(MOMENTS + channels) // LANES) * LANES


@kernel
def blend_backward(
    tag, first_tile, last_tile, width, height, tiles_x, tiles_y, channels, depth_mode, absgrad,
    records, colors, pairs, offsets, backgrounds, constants, words, costs, image, alphas, v_image, v_alphas,
    accumulator, steps, step_ids, step_offsets, grads, buffer,
):  # fmt: skip
    """Add the gradients of the tiles first_tile … last_tile - 1 to this worker's accumulator [ranks, width].

    `steps` holds planes of one vector a step: alpha then shape factor, transmittance then weight, and with
    absgrad the two absolute factors. `buffer` holds the matrices of 16 steps; rows that stay zero must be
    zero on entry.
    """
    tiles = tiles_x * tiles_y
    columns, rows = load(constants, 0), load(constants, LANES)
    for tile in range(first_tile, last_tile):
        if costs[tile, 0] == 0:
            continue
        camera, local = tile // tiles, tile % tiles
        x0, y0 = (local % tiles_x) * TILE, (local // tiles_x) * TILE
        first = offsets[tile]
        chunk_place, chunk_end = 16 * (first // CHUNK + tile), costs[tile, 1]
        for block in range(16):
            bx, by = x0 + (block & 3) * 4, y0 + (block >> 2) * 4
            px, py = columns + (bx + 0.5), rows + (by + 0.5)
            inside = (columns + bx < width) & (rows + by < height)
            count = _replay(
                pairs, first, words, chunk_place + block, chunk_end, records, px, py, bx + 2.0, by + 2.0,
                select(inside, splat(1.0), splat(0.0)), steps, step_ids, step_offsets,
            )  # fmt: skip
            if count > 0:
                _load_gradients(
                    len(tag), camera, bx, by, width, height, channels, depth_mode,
                    image, alphas, v_image, v_alphas, backgrounds, grads,
                )  # fmt: skip
                _walk_back(tag, count, absgrad, records, colors, px, py, grads, steps, step_ids)
                _reduce(tag, count, absgrad, grads, steps, step_ids, step_offsets, accumulator, buffer)


@inline
def _replay(
    pairs,
    first,
    words,
    place,
    end,
    records,
    px,
    py,
    center_x,
    center_y,
    open_t,
    steps,
    step_ids,
    step_offsets,
):
    """Run the block front to back: store alpha, transmittance, rank and the offset from the mean of each
    step."""
    plane = LANES * len(step_ids)
    count = 0
    start = first
    while place < end:
        word = words[place]
        while word != 0:
            r = np.int64(pairs[start + lowest_bit(word)])
            word &= word - 1
            o = RECORD * r
            alpha = alpha_of(exponent(records, o, px, py))
            rest = open_t - open_t * alpha
            ok = rest > MIN_TRANSMITTANCE
            store(steps, LANES * count, select(ok, alpha, splat(0.0)))
            store(steps, LANES * count + plane, open_t)
            open_t = select(ok, rest, splat(0.0))
            step_ids[count] = r
            step_offsets[count] = np.float32(center_x) - records[o]
            step_offsets[len(step_ids) + count] = np.float32(center_y) - records[o + 1]
            count += 1
        place += 16
        start += CHUNK
    return count


@inline
def _load_gradients(
    stride,
    camera,
    bx,
    by,
    width,
    height,
    channels,
    depth_mode,
    image,
    alphas,
    v_image,
    v_alphas,
    backgrounds,
    grads,
):
    """Lay out the pixel gradients of a block: by channel, by pixel, of alpha, and of the background behind
    all.

    Expected depth E = D / A passes its gradient on to D and A.
    """
    by_pixel, of_alpha = LANES * stride, 2 * LANES * stride
    for lane in range(LANES):
        x, y = bx + (lane & 3), by + (lane >> 2)
        inside = x < width and y < height
        pixel = (camera * height + y) * width + x if inside else 0
        v_alpha = v_alphas[pixel] if inside else np.float32(0.0)
        behind = np.float32(0.0)
        for d in range(channels):
            value = v_image[pixel * channels + d] if inside else np.float32(0.0)
            if depth_mode and d == channels - 1:
                value /= max(alphas[pixel], np.float32(1e-10))
                if alphas[pixel] > 1e-10:
                    v_alpha -= value * image[pixel * channels + d]
            if len(backgrounds) > 0:
                behind += value * backgrounds[camera * channels + d]
            grads[LANES * d + lane] = value
            grads[by_pixel + stride * lane + d] = value
        grads[of_alpha + lane] = v_alpha
        grads[of_alpha + LANES + lane] = behind


@inline
def _walk_back(tag, count, absgrad, records, colors, px, py, grads, steps, step_ids):
    """Replace each step's alpha and transmittance by the factors of its shape and of its colour gradient."""
    stride, plane = len(tag), LANES * len(step_ids)
    v = channels_load(tag, grads, 0)
    v_alpha, behind = load(grads, 2 * LANES * stride), load(grads, 2 * LANES * stride + LANES)
    for k in range(count - 1, -1, -1):
        r = np.int64(step_ids[k])
        alpha, transmittance = load(steps, LANES * k), load(steps, LANES * k + plane)
        d = channels_dot(v, colors, stride * r, v_alpha) - behind
        behind = fma(alpha, d, behind)
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
def _moments(buffer, x, y):
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
def _sum_rows(buffer):
    total = load(buffer, 0)
    for p in range(1, LANES):
        total = total + load(buffer, LANES * p)
    return total


@inline
def _reduce(tag, count, absgrad, grads, steps, step_ids, step_offsets, accumulator, buffer):
    """Sum the factors over pixels for 16 steps at a time and add them to the accumulator rows of their
    ranks."""
    stride, plane = len(tag), LANES * len(step_ids)
    width = LANES * ((MOMENTS + stride + LANES - 1) // LANES)
    for k in range(count, (count + LANES - 1) // LANES * LANES):
        store(steps, LANES * k, splat(0.0))
        store(steps, LANES * k + plane, splat(0.0))
    for start in range(0, count, LANES):
        transpose(steps, LANES * start, buffer, 0)
        _moments(buffer, load(step_offsets, start), load(step_offsets, len(step_ids) + start))
        if absgrad:
            transpose(steps, LANES * start + 2 * plane, buffer, 0)
            store(buffer, 352, _sum_rows(buffer))
            transpose(steps, LANES * start + 3 * plane, buffer, 0)
            store(buffer, 368, _sum_rows(buffer))
        transpose(steps, LANES * start + plane, buffer, 0)
        sums = channels_zero(tag)
        for p in range(LANES):
            sums = channels_fma(sums, load(buffer, LANES * p), grads, LANES * stride + stride * p)
        channels_store(sums, buffer, 256 + LANES * MOMENTS)
        for part in range(width // LANES):
            transpose(buffer, 256 + 256 * part, buffer, 0)
            for i in range(min(LANES, count - start)):
                o = width * np.int64(step_ids[start + i]) + LANES * part
                store(accumulator, o, load(accumulator, o) + load(buffer, LANES * i))


@kernel
def collect(
    piece, pieces, n, width, channels, order, conics, opacities, accumulators,
    v_means2d, v_abs, v_conics, v_opacities, v_colors, v_depths,
):  # fmt: skip
    """Add up the workers' accumulators [workers, ranks * width] and turn moments into gradients by
    Gaussian."""
    m = len(order)
    workers = accumulators.shape[0]
    colored = channels - (1 if len(v_depths) > 0 else 0)
    row = np.zeros(width, dtype=np.float32)
    for r in range(m * piece // pieces, m * (piece + 1) // pieces):
        for k in range(width):
            row[k] = accumulators[0, width * r + k]
        for worker in range(1, workers):
            for k in range(width):
                row[k] += accumulators[worker, width * r + k]
        g = np.int64(order[r])
        a, b, c = conics[3 * g], conics[3 * g + 1], conics[3 * g + 2]
        v_opacities[g] = row[0] / opacities[g]
        v_means2d[2 * g] = a * row[1] + b * row[2]
        v_means2d[2 * g + 1] = b * row[1] + c * row[2]
        half = np.float32(0.5)
        v_conics[3 * g], v_conics[3 * g + 1], v_conics[3 * g + 2] = -half * row[3], -row[4], -half * row[5]
        if len(v_abs) > 0:
            ln2 = np.float32(math.log(2.0))  # the records' exponents are powers of two
            v_abs[2 * g], v_abs[2 * g + 1] = ln2 * row[6], ln2 * row[7]
        for d in range(colored):
            v_colors[colored * g + d] = row[MOMENTS + d]
        if colored < channels:
            v_depths[g] = row[MOMENTS + colored]
