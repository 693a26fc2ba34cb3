"""Front-to-back alpha blending of a tile, 16 pixels at a time.

A vector is one 4 x 4 block of pixels, with transmittance and colours in registers. A tile takes its Gaussians
in chunks of 64: all 16 blocks of the tile are tested against the ellipse at once, the answers become one
64-bit word a block, and each block walks the bits of its word. A chunk is only looked for while some pixel is
still open, and a finished pixel has live transmittance 0, so nothing else needs a mask."""

import numpy as np

from dyn3d_ns.kernels.jit import inline, kernel
from dyn3d_ns.kernels.types import F32, I32, I64, Lanes, Mask, Word
from dyn3d_ns.kernels.vector import (
    LANES,
    bits,
    exp2,
    fma,
    lowest_bit,
    popcount,
    select,
    splat,
    take,
    vmax,
    vmin,
)
from dyn3d_ns.kernels.vector_channels import channels_fma, channels_load, channels_store
from dyn3d_ns.kernels.vector_memory import bit_column, load, scatter_at, spread, store
from dyn3d_ns.rendering.binning import LOG2_255, MARGIN, RECORD, TILE, next_ranks, tile_rects

CHUNK = 64
MAX_ALPHA = 0.999
MIN_TRANSMITTANCE = 1e-4
TILE_ENTRIES = 3
"""What the forward records of a tile: its first chunk (-1: none), their number, and the steps of all
blocks."""

BLOCK_OFFSETS = np.array([[i % 4 for i in range(16)], [i // 4 for i in range(16)]], dtype=np.float32).reshape(
    -1
)
"""Column (first 16) and row (last 16) of each lane in its block, and of each block in its tile."""


@inline
def exponent(records: F32, o: int, px: Lanes, py: Lanes) -> Lanes:
    """Return log2 of the opacity times the Gaussian at pixel centres (px, py)."""
    dx, dy = px - spread(records, o), py - spread(records, o + 1)
    t = fma(spread(records, o + 3), dy, spread(records, o + 2) * dx)
    return fma(-(spread(records, o + 4) * dy), dy, fma(-t, dx, spread(records, o + 5)))


@inline
def alpha_of(power: Lanes) -> Lanes:
    """Return min(0.999, 2**power), or 0 where that is below 1/255."""
    return select(power >= -LOG2_255, vmin(exp2(power), MAX_ALPHA), splat(0.0))


@inline
def touched_blocks(records: F32, o: int, left: Lanes, right: Lanes, top: Lanes, bottom: Lanes) -> Mask:
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
    tag: tuple[int, ...], worker: int, counter: I64, record: bool, width: int, height: int, tiles_x: int,
    tiles_y: int, channels: int, expected: bool, records: F32, colors: F32, rects: I32, counts: I64,
    tile_mask: I32, backgrounds: F32, constants: F32, pixels: I32, image: F32, alphas: F32, rests: F32,
    sums: F32, chunk_ranks: I32, chunk_words: I64, chunk_next: I32, tile_entries: I64, scratch: F32,
    masks: I32,
) -> None:  # fmt: skip
    """Blend tiles until counter[0] has handed out all of them.

    `tag` has as many entries as a colour row has floats (more than `channels` if the depth is an expected
    one, whose ones give the weights for `sums`). With `record`, chunks are taken from counter[1] on and keep
    for the backward which ranks they hold and which bits each block walked; without, each worker has one.
    `tile_mask`, if not empty, is 0 where a tile stays empty. `rests`, if not empty, receives what the last
    Gaussian lets through. `scratch` holds the state of 16 blocks, `masks` 64 integers."""
    state = (2 + len(tag)) * LANES
    tiles, ranks = tiles_x * tiles_y, len(records) // RECORD
    row = ranks // len(counts)
    columns, rows = load(constants, 0), load(constants, LANES)
    while True:
        tile = take(counter, 0)
        if tile >= len(counts) * tiles:
            break
        camera, local = tile // tiles, tile % tiles
        tile_x, tile_y = local % tiles_x, local // tiles_x
        x0, y0 = np.float32(tile_x * TILE), np.float32(tile_y * TILE)
        live = _open_tile(x0, y0, width, height, columns, rows, state, scratch)
        if len(tile_mask) > 0 and tile_mask[tile] == 0:
            live = np.int64(0)
        plane, limit = tile_rects(tile_x, tile_y, tiles_x, ranks)
        at, word, last = camera * row, np.int64(0), camera * row + counts[camera]
        previous, chunks, steps = np.int64(-1), 0, 0
        while live != 0:
            chunk = take(counter, 1) if record else np.int64(worker)
            count, at, word = _find_chunk(
                rects, plane, limit, at, last, word, records, columns, rows, x0, y0,
                chunk_ranks, CHUNK * chunk, masks,
            )  # fmt: skip
            if count == 0:
                break
            for block in range(16):
                walked = np.int64(0)
                if live >> block & 1:
                    found = bit_column(masks, 0, block)
                    if found != 0:
                        closed, left = _blend_block(
                            tag, found, columns + (x0 + 0.5), rows + (y0 + 0.5), block, chunk_ranks,
                            CHUNK * chunk, records, colors, constants, scratch, block * state,
                        )  # fmt: skip
                        walked = found & ~left
                        if closed:
                            live &= ~(np.int64(1) << block)
                if record:
                    chunk_words[16 * chunk + block] = walked
                    steps += popcount(walked)
            if record:
                if previous < 0:
                    tile_entries[TILE_ENTRIES * tile] = chunk
                else:
                    chunk_next[previous] = chunk
                previous = chunk
                chunks += 1
        if record:
            if chunks == 0:
                tile_entries[TILE_ENTRIES * tile] = -1
            tile_entries[TILE_ENTRIES * tile + 1] = chunks
            tile_entries[TILE_ENTRIES * tile + 2] = steps
        _write_tile(
            camera, tile_x * TILE, tile_y * TILE, width, height, columns, rows, channels, expected, state,
            scratch, backgrounds, pixels, image, alphas, rests, sums,
        )  # fmt: skip


@inline
def _open_tile(
    x0: float, y0: float, width: int, height: int, columns: Lanes, rows: Lanes, state: int, scratch: F32,
) -> Word:  # fmt: skip
    """Reset the state of the 16 blocks; return the bits of those inside the image."""
    live = np.int64(0)
    zero, one = splat(0.0), splat(1.0)
    for block in range(16):
        o = block * state
        inside = (columns + (x0 + (block & 3) * 4.0) < width) & (rows + (y0 + (block >> 2) * 4.0) < height)
        store(scratch, o, select(inside, one, zero))
        store(scratch, o + LANES, one)
        for i in range(o + 2 * LANES, o + state, LANES):
            store(scratch, i, zero)
        if bits(inside) != 0:
            live |= np.int64(1) << block
    return live


@inline
def _find_chunk(
    rects: I32, plane: int, limit: int, at: int, last: int, word: int, records: F32, columns: Lanes,
    rows: Lanes, x0: float, y0: float, chunk_ranks: I32, place: int, masks: I32,
) -> tuple[int, ...]:  # fmt: skip
    """Write the next ranks, at most 64, that touch some block of the tile, and which blocks each one touches.

    The search goes on at rank `at`, after the ranks of `word`: bits of ranks before it that are not used yet.
    """
    left, top = fma(columns, 4.0, x0 + 0.5), fma(rows, 4.0, y0 + 0.5)
    right, bottom = left + 3.0, top + 3.0
    count = 0
    while count < CHUNK:
        if word == 0:
            if at >= last:
                break
            word = next_ranks(rects, plane, limit, at, last)
            at += 64
        else:
            rank = at - 64 + lowest_bit(word)
            word &= word - 1
            mask = bits(touched_blocks(records, RECORD * rank, left, right, top, bottom))
            masks[count], chunk_ranks[place + count] = mask, rank
            count += mask != 0
    for k in range(count, CHUNK):
        masks[k] = 0
    return count, at, word


@inline
def _blend_block(
    tag: tuple[int, ...], found: int, tile_px: Lanes, tile_py: Lanes, block: int, chunk_ranks: I32,
    place: int, records: F32, colors: F32, constants: F32, scratch: F32, o: int,
) -> tuple[bool, int]:  # fmt: skip
    """Blend the Gaussians of `found` into one block; return whether all its pixels closed, and the bits
    left."""
    px = tile_px + 4.0 * spread(constants, block & 3)
    py = tile_py + 4.0 * spread(constants, block >> 2)
    open_t, final_t = load(scratch, o), load(scratch, o + LANES)
    acc = channels_load(tag, scratch, o + 2 * LANES)
    closed = False
    while found != 0:
        r = np.int64(chunk_ranks[np.uint64(place + lowest_bit(found))])
        found &= found - 1
        alpha = alpha_of(exponent(records, RECORD * r, px, py))
        weight = open_t * alpha
        rest = open_t - weight
        ok = rest > MIN_TRANSMITTANCE
        final_t = select(ok, rest, final_t)
        open_t = select(ok, rest, splat(0.0))
        acc = channels_fma(acc, select(ok, weight, splat(0.0)), colors, len(tag) * r)
        if bits(ok) == 0:
            closed = True
            break
    store(scratch, o, open_t)
    store(scratch, o + LANES, final_t)
    channels_store(acc, scratch, o + 2 * LANES)
    return closed, found


@inline
def _write_tile(
    camera: int, x0: int, y0: int, width: int, height: int, columns: Lanes, rows: Lanes, channels: int,
    expected: bool, state: int, scratch: F32, backgrounds: F32, pixels: I32, image: F32, alphas: F32,
    rests: F32, sums: F32,
) -> None:  # fmt: skip
    """Copy the 16 blocks to the image, add the background, and turn depth into expected depth if asked.

    `pixels` holds the offsets of a block's pixels in the image (first 16) and in a plane (last 16).
    """
    for block in range(16):
        o = block * state
        bx, by = x0 + (block & 3) * 4, y0 + (block >> 2) * 4
        inside = (columns + bx < width) & (rows + by < height)
        if bits(inside) != 0:
            pixel = (camera * height + by) * width + bx
            rest = load(scratch, o + LANES)
            scatter_at(alphas, pixel, pixels, LANES, 1, inside, 1.0 - rest)
            if len(rests) > 0:
                scatter_at(rests, pixel, pixels, LANES, 1, inside, rest)
            if expected:
                scatter_at(sums, pixel, pixels, LANES, 1, inside, load(scratch, o + (2 + channels) * LANES))
            for d in range(channels):
                value = load(scratch, o + (2 + d) * LANES)
                if len(backgrounds) > 0:
                    value = fma(rest, spread(backgrounds, camera * channels + d), value)
                if expected and d == channels - 1:
                    value = value / vmax(load(scratch, o + (2 + channels) * LANES), 1e-10)
                scatter_at(image, pixel * channels + d, pixels, 0, 1, inside, value)
