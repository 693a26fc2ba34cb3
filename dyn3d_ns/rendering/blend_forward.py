"""Front-to-back alpha blending of a tile, 16 pixels at a time.

A vector is one 4 x 4 block of pixels, with transmittance and colours in registers. A tile takes its list in
chunks of 64: all 16 blocks of the tile are tested against the ellipse at once, the answers become one 64-bit
word a block, and each block walks the bits of its word. A chunk is only looked at while some pixel is still
open, and a finished pixel has live transmittance 0, so nothing else needs a mask.
"""

import numpy as np

from dyn3d_ns.rendering.binning import LOG2_255, MARGIN, RECORD, TILE
from dyn3d_ns.rendering.jit import inline, kernel
from dyn3d_ns.rendering.vector import (
    LANES,
    bit_columns,
    bits,
    channels_fma,
    channels_load,
    channels_store,
    exp2,
    fma,
    load,
    lowest_bit,
    popcount,
    select,
    splat,
    spread,
    store,
    take,
    vmax,
    vmin,
)

CHUNK = 64
MAX_ALPHA = 0.999
MIN_TRANSMITTANCE = 1e-4

BLOCK_OFFSETS = np.array([[i % 4 for i in range(16)], [i // 4 for i in range(16)]], dtype=np.float32).reshape(
    -1
)
"""Column (first 16) and row (last 16) of each lane in its block, and of each block in its tile."""


@inline
def exponent(records, o, px, py):
    """Return log2 of the opacity times the Gaussian at pixel centres (px, py)."""
    dx, dy = px - spread(records, o), py - spread(records, o + 1)
    t = fma(spread(records, o + 3), dy, spread(records, o + 2) * dx)
    return fma(-(spread(records, o + 4) * dy), dy, fma(-t, dx, spread(records, o + 5)))


@inline
def alpha_of(power):
    """Return min(0.999, 2**power), or 0 where that is below 1/255."""
    return select(power >= -LOG2_255, vmin(exp2(power), MAX_ALPHA), splat(0.0))


@inline
def touched_blocks(records, o, left, right, top, bottom):
    """Return which of 16 boxes hold a pixel centre that may reach alpha 1/255.

    The smallest exponent over a box lies at its centre-nearest column or row (or is 0 inside), clamped to the
    box.
    """
    x, y = spread(records, o), spread(records, o + 1)
    a, b, c = spread(records, o + 2), spread(records, o + 3), spread(records, o + 4)
    lx, hx, ly, hy = left - x, right - x, top - y, bottom - y
    near_x, near_y = vmax(lx, vmin(hx, 0.0)), vmax(ly, vmin(hy, 0.0))
    dy = vmax(ly, vmin(hy, spread(records, o + 6) * near_x))
    dx = vmax(lx, vmin(hx, spread(records, o + 7) * near_y))
    column = fma(near_x, fma(a, near_x, b * dy), c * dy * dy)
    row = fma(near_y, fma(c, near_y, b * dx), a * dx * dx)
    return vmin(column, row) <= spread(records, o + 5) + (LOG2_255 + MARGIN)


@kernel
def blend_forward(
    tag, counter, cameras, width, height, tiles_x, tiles_y, channels, depth_mode,
    records, colors, pairs, offsets, backgrounds, constants,
    image, rests, words, costs, scratch, masks,
):  # fmt: skip
    """Blend tiles until `counter` has handed out all of them.

    `tag` has as many entries as a colour row has floats (>= channels). `words`, if not empty, records for the
    backward which bits each block walked: 16 words a chunk. `rests` receives what the last Gaussian lets
    through. `scratch` holds the state of 16 blocks.
    """
    width_of_state = (2 + len(tag)) * LANES
    tiles = tiles_x * tiles_y
    columns, rows = load(constants, 0), load(constants, LANES)
    while True:
        tile = take(counter)
        if tile >= cameras * tiles:
            break
        camera, local = tile // tiles, tile % tiles
        x0, y0 = (local % tiles_x) * TILE, (local // tiles_x) * TILE
        live = _open_tile(x0, y0, width, height, columns, rows, width_of_state, scratch)
        left, top = columns * 4.0 + (x0 + 0.5), rows * 4.0 + (y0 + 0.5)
        right, bottom = left + 3.0, top + 3.0
        first, last = offsets[tile], offsets[tile + 1]
        chunk_place = 16 * (first // CHUNK + tile)
        cost = 0
        for start in range(first, last, CHUNK):
            if live == 0:
                break
            count = min(CHUNK, last - start)
            for k in range(count):
                hit = touched_blocks(records, RECORD * np.int64(pairs[start + k]), left, right, top, bottom)
                masks[k] = bits(hit)
            for k in range(count, CHUNK):
                masks[k] = 0
            for block in range(16):
                word = np.int64(0)
                walked = word
                if live >> block & 1:
                    word = bit_columns(masks, 0, block) | bit_columns(masks, 16, block) << 16
                    word |= bit_columns(masks, 32, block) << 32 | bit_columns(masks, 48, block) << 48
                    walked = word
                    if word != 0:
                        state = block * width_of_state
                        px = columns + (x0 + (block & 3) * 4 + 0.5)
                        py = rows + (y0 + (block >> 2) * 4 + 0.5)
                        open_t, final_t = load(scratch, state), load(scratch, state + LANES)
                        acc = channels_load(tag, scratch, state + 2 * LANES)
                        while word != 0:
                            r = np.int64(pairs[start + lowest_bit(word)])
                            word &= word - 1
                            alpha = alpha_of(exponent(records, RECORD * r, px, py))
                            weight = open_t * alpha
                            rest = open_t - weight
                            ok = rest > MIN_TRANSMITTANCE
                            final_t = select(ok, rest, final_t)
                            open_t = select(ok, rest, splat(0.0))
                            acc = channels_fma(acc, select(ok, weight, splat(0.0)), colors, len(tag) * r)
                            if bits(ok) == 0:
                                live &= ~(np.int64(1) << block)
                                break
                        walked &= ~word
                        store(scratch, state, open_t)
                        store(scratch, state + LANES, final_t)
                        channels_store(acc, scratch, state + 2 * LANES)
                if len(words) > 0:
                    words[chunk_place + block] = walked
                    cost += popcount(walked)
            chunk_place += 16
        if len(costs) > 0:
            costs[tile, 0], costs[tile, 1] = cost, chunk_place
        _write_tile(
            camera,
            x0,
            y0,
            width,
            height,
            channels,
            depth_mode,
            width_of_state,
            scratch,
            backgrounds,
            image,
            rests,
        )


@inline
def _open_tile(x0, y0, width, height, columns, rows, width_of_state, scratch):
    """Reset the state of the 16 blocks; return the bits of those inside the image."""
    live = 0
    for block in range(16):
        state = block * width_of_state
        bx, by = x0 + (block & 3) * 4, y0 + (block >> 2) * 4
        for i in range(2 * LANES, width_of_state):
            scratch[state + i] = 0.0
        inside = (columns + bx < width) & (rows + by < height)
        store(scratch, state, select(inside, splat(1.0), splat(0.0)))
        store(scratch, state + LANES, splat(1.0))
        if bits(inside) != 0:
            live |= 1 << block
    return live


@inline
def _write_tile(
    camera, x0, y0, width, height, channels, depth_mode, width_of_state, scratch, backgrounds, image, rests
):
    """Copy the 16 blocks to the image, add the background, and turn depth into expected depth if asked."""
    for block in range(16):
        state = block * width_of_state
        bx, by = x0 + (block & 3) * 4, y0 + (block >> 2) * 4
        for lane in range(LANES):
            x, y = bx + (lane & 3), by + (lane >> 2)
            if x < width and y < height:
                pixel = (camera * height + y) * width + x
                rest = scratch[state + LANES + lane]
                rests[pixel] = rest
                for d in range(channels):
                    value = scratch[state + (2 + d) * LANES + lane]
                    if len(backgrounds) > 0:
                        value += rest * backgrounds[camera * channels + d]
                    if depth_mode and d == channels - 1:
                        value /= max(np.float32(1.0) - rest, np.float32(1e-10))
                    image[pixel * channels + d] = value
