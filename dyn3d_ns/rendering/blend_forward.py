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
from dyn3d_ns.kernels.vector_memory import bit_column, load, prefetch, scatter_at, spread, store
from dyn3d_ns.rendering.binning import (
    GROUP,
    LOG2_255,
    MARGIN,
    PLANE,
    RECORD,
    TILE,
    extend_group,
    next_ranks,
    plane_of,
    rect_limit,
    tile_place,
)

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
def prefetch_tile(image: F32, pixel: int, rows: int, width: int, channels: int) -> None:
    """Ask for 16 pixels of each of the tile's rows in an image, of which `pixel` is the first."""
    for row in range(rows):
        first = (pixel + row * width) * channels
        for o in range(first, first + TILE * channels, LANES):
            prefetch(image, o)


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
def passed(transmittance: Lanes, alpha: Lanes) -> Lanes:
    """Return T (1 - alpha) in one rounding, alike forward and backward."""
    return fma(-alpha, transmittance, transmittance)


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
    masks: I32, group_ranks: I32, group_rects: I32,
) -> None:  # fmt: skip
    """Blend tiles until counter[0] has handed out all of them, group by group.

    `tag` has as many entries as a colour row has floats (more than `channels` if the depth is an expected
    one, whose ones give the weights for `sums`). With `record`, chunks are taken from counter[1] on and keep
    for the backward which ranks they hold and which bits each block walked; without, each worker has one.
    `tile_mask`, if not empty, is 0 where a tile stays empty. `rests`, if not empty, receives what the last
    Gaussian lets through. `scratch` holds the state of 16 blocks, `masks` 64 integers,
    `group_ranks` and `group_rects` have room for one camera's ranks and 64 more."""
    state = (2 + len(tag)) * LANES
    tiles, ranks = tiles_x * tiles_y, len(records) // RECORD
    across, down = (tiles_x + GROUP - 1) // GROUP, (tiles_y + GROUP - 1) // GROUP
    numbered, row = across * down * GROUP * GROUP, ranks // len(counts)
    columns, rows = load(constants, 0), load(constants, LANES)
    group, listed, at = np.int64(-1), np.int64(0), np.int64(0)
    while True:
        tile = take(counter, 0)
        if tile >= len(counts) * numbered:
            break
        camera = tile // numbered
        tile_x, tile_y = tile_place(tile % numbered, tiles_x)
        if tile_x >= tiles_x or tile_y >= tiles_y:
            if record:
                tile_entries[TILE_ENTRIES * tile] = -1
                tile_entries[TILE_ENTRIES * tile + 1] = tile_entries[TILE_ENTRIES * tile + 2] = 0
            continue
        if tile // (GROUP * GROUP) != group:
            group, listed, at = tile // (GROUP * GROUP), np.int64(0), camera * row
        x0, y0 = np.float32(tile_x * TILE), np.float32(tile_y * TILE)
        live = _open_tile(x0, y0, width, height, columns, rows, state, scratch)
        if len(tile_mask) > 0 and tile_mask[camera * tiles + tile_y * tiles_x + tile_x] == 0:
            live = np.int64(0)
        plane = plane_of(tile_x, tile_y, tiles_x) * ranks
        x, y = tile_x % PLANE, tile_y % PLANE
        limit, left, top = rect_limit(x, y, x, y), x // GROUP * GROUP, y // GROUP * GROUP
        group_limit = rect_limit(left, top, left + GROUP - 1, top + GROUP - 1)
        place, word, last = np.int64(0), np.int64(0), camera * row + counts[camera]
        pixel, shown = (camera * height + tile_y * TILE) * width + tile_x * TILE, height - tile_y * TILE
        prefetch_tile(image, pixel, min(shown, TILE), width, channels)
        prefetch_tile(alphas, pixel, min(shown, TILE), width, 1)
        previous, chunks, steps = np.int64(-1), 0, 0
        while live != 0:
            chunk = take(counter, 1) if record else np.int64(worker)
            count, place, word, listed, at = _find_chunk(
                rects, plane, group_limit, limit, at, last, listed, place, word, records, columns, rows, x0,
                y0, chunk_ranks, CHUNK * chunk, masks, group_ranks, group_rects,
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
    rects: I32, plane: int, group_limit: int, limit: int, at: int, last: int, listed: int, place: int,
    word: int, records: F32, columns: Lanes, rows: Lanes, x0: float, y0: float, chunk_ranks: I32, first: int,
    masks: I32, group_ranks: I32, group_rects: I32,
) -> tuple[Word, ...]:  # fmt: skip
    """Write the next ranks, at most 64, that touch some block of the tile, and which blocks each one touches.

    The search goes on at `place` in the group's list, after the ranks of `word`: bits of places before it
    that are not used yet. The list, of `listed` ranks so far, grows from rank `at` on as needed.
    """
    left, top = fma(columns, 4.0, x0 + 0.5), fma(rows, 4.0, y0 + 0.5)
    right, bottom = left + 3.0, top + 3.0
    count = np.int64(0)
    while count < CHUNK:
        if word == 0:
            if listed < place + 64 and at < last:
                listed, at = extend_group(
                    rects, plane, group_limit, at, last, listed, place + 64, group_ranks, group_rects
                )
            if place >= listed:
                break
            word = next_ranks(group_rects, 0, limit, place, listed)
            place += 64
        else:
            rank = np.int64(group_ranks[place - 64 + lowest_bit(word)])
            word &= word - 1
            mask = bits(touched_blocks(records, RECORD * rank, left, right, top, bottom))
            masks[count], chunk_ranks[first + count] = mask, rank
            count += mask != 0
    for k in range(count, CHUNK):
        masks[k] = 0
    return count, place, word, listed, at


@inline
def _blend_block(
    tag: tuple[int, ...], found: int, tile_px: Lanes, tile_py: Lanes, block: int, chunk_ranks: I32,
    place: int, records: F32, colors: F32, constants: F32, scratch: F32, o: int,
) -> tuple[bool, int]:  # fmt: skip
    """Blend the Gaussians of `found` into one block; return whether all its pixels closed, and the bits
    left."""
    px = tile_px + 4.0 * spread(constants, block & 3)
    py = tile_py + 4.0 * spread(constants, block >> 2)
    is_open, transmittance = load(scratch, o) > 0.0, load(scratch, o + LANES)
    acc = channels_load(tag, scratch, o + 2 * LANES)
    closed = False
    while found != 0:
        r = np.int64(chunk_ranks[np.uint64(place + lowest_bit(found))])
        found &= found - 1
        alpha = alpha_of(exponent(records, RECORD * r, px, py))
        rest = passed(transmittance, alpha)
        is_open = is_open & (rest > MIN_TRANSMITTANCE)
        acc = channels_fma(acc, select(is_open, transmittance * alpha, splat(0.0)), colors, len(tag) * r)
        transmittance = select(is_open, rest, transmittance)
        if bits(is_open) == 0:
            closed = True
            break
    store(scratch, o, select(is_open, transmittance, splat(0.0)))
    store(scratch, o + LANES, transmittance)
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
