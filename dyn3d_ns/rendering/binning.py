"""What the blend reads, front to back: Gaussians sorted by depth, packed, each with its rectangle of tiles.

Gaussians are renumbered by depth ("rank") with one radix sort that keeps the order of equal keys, ties by
index as in gsplat. No list by tile is written: a rectangle is four bytes, so one instruction tests 16 ranks
against a tile, and a tile looks for its next Gaussians only while some pixel of it is still open. It looks
among those of its group of 4 x 4 tiles, which are drawn from all in the same way, no further than some tile
of the group has needed."""

import math

import numpy as np

from dyn3d_ns.kernels.jit import inline, kernel
from dyn3d_ns.kernels.types import F32, F64, I32, I64, Lanes, Mask, Word
from dyn3d_ns.kernels.vector import (
    LANES,
    ceil,
    first_lanes,
    floor,
    lane_sum,
    log2,
    lowest_bit,
    select,
    splat,
    sqrt,
    vmax,
    vmin,
)
from dyn3d_ns.kernels.vector_memory import bytes_within, gather_at, scatter, store_bytes

TILE = 16
RECORD = 8
"""Floats a record: mean x, y; A, B, C of the exponent -(A dx² + B dx dy + C dy²) in powers of two; log2 of
the opacity; -B / 2C and -B / 2A (where a row or a column meets its smallest exponent)."""

GROUP = 4
"""Tiles a side of a group. Tiles are numbered group by group, whole groups beyond the image's edge too."""

PLANE = 252
"""Tiles that a byte counts across or down, whole groups; larger images have several planes of rectangles."""

LOG2_255 = math.log2(255.0)
# Pixels with alpha near 1/255 are decided by the blend; the tests that leave out whole boxes stay this far
# (in powers of two of alpha) on the safe side of rounding.
MARGIN = 0.02
_RADIX_BITS = 11
_RADIX = 1 << _RADIX_BITS
HISTOGRAM = 3 * _RADIX


@kernel
def sort_by_depth(
    camera: int, n: int, depth_bits: I32, radii: F32, opacities: F32, order: I32, scratch: I32,
    histograms: I32, counts: I64,
) -> None:  # fmt: skip
    """Write the visible Gaussians of one camera in depth order to its row of `order`, their number to
    `counts`.

    `depth_bits` are the depths' floats read as int32, [C, N]; `order` has whole blocks of 64 a camera,
    `scratch` three times as many."""
    base, row = camera * n, len(order) // len(counts)
    ids = order[camera * row : (camera + 1) * row]
    keys = scratch[3 * camera * row : (3 * camera + 1) * row]
    other_keys = scratch[(3 * camera + 1) * row : (3 * camera + 2) * row]
    other = scratch[(3 * camera + 2) * row : (3 * camera + 3) * row]
    m = 0
    threshold = np.float32(1.0 / 255.0)
    for g in range(n):
        if radii[2 * base + g] > 0.0 and opacities[base + g] >= threshold:
            key = depth_bits[base + g]
            # negative floats grow downwards: flip so that signed integers sort as the floats do
            keys[m] = key if key >= 0 else np.int32(key ^ 0x7FFFFFFF)
            ids[m] = base + g
            m += 1
    histogram = histograms[camera]
    histogram[:] = 0
    for k in range(m):
        key = np.int64(keys[k]) + 0x80000000
        histogram[key & (_RADIX - 1)] += 1
        histogram[_RADIX + ((key >> _RADIX_BITS) & (_RADIX - 1))] += 1
        histogram[2 * _RADIX + (key >> (2 * _RADIX_BITS))] += 1
    for digit in range(3):
        total = 0
        for bucket in range(digit * _RADIX, (digit + 1) * _RADIX):
            count = histogram[bucket]
            histogram[bucket] = total
            total += count
        shift = digit * _RADIX_BITS
        for k in range(m):
            bucket = digit * _RADIX + (((np.int64(keys[k]) + 0x80000000) >> shift) & (_RADIX - 1))
            place = histogram[bucket]
            histogram[bucket] = place + 1
            other_keys[place] = keys[k]
            other[place] = ids[k]
        keys, other_keys = other_keys, keys
        ids, other = other, ids
    for k in range(m):  # three passes end in the scratch buffer
        order[camera * row + k] = ids[k]
    counts[camera] = m


@kernel
def pack(
    piece: int, pieces: int, n: int, tiles_x: int, tiles_y: int, channels: int, stride: int, weighted: bool,
    order: I32, counts: I64, means2d: F32, conics: F32, opacities: F32, radii: F32, colors: F32, depths: F32,
    records: F32, packed_colors: F32, rects: I32, covered: F64,
) -> None:  # fmt: skip
    """Copy one run of ranks into records, padded colours and rectangles; add their tiles to covered[piece].

    `depths`, if not empty, is the last channel; `weighted` adds a channel of ones behind it.
    """
    cameras = len(counts)
    row = len(order) // cameras
    total = 0.0
    for camera in range(cameras):
        blocks = (counts[camera] + LANES - 1) // LANES
        for block in range(blocks * piece // pieces, blocks * (piece + 1) // pieces):
            i = camera * row + block * LANES
            lanes = first_lanes(counts[camera] - block * LANES)
            x, y, hx, hy = _pack_record(i, lanes, order, means2d, conics, opacities, records)
            _pack_colors(i, lanes, channels, stride, weighted, order, colors, depths, packed_colors)
            rx = gather_at(radii, camera * n, order, i, 1, lanes)
            ry = gather_at(radii, camera * n + n, order, i, 1, lanes)
            left = vmax(floor((x - rx) / TILE), floor((x - hx - 0.5) / TILE))
            top = vmax(floor((y - ry) / TILE), floor((y - hy - 0.5) / TILE))
            right = vmin(ceil((x + rx) / TILE), ceil((x + hx) / TILE))
            bottom = vmin(ceil((y + ry) / TILE), ceil((y + hy) / TILE))
            left, top = vmax(left, 0.0), vmax(top, 0.0)
            right, bottom = vmin(right, tiles_x), vmin(bottom, tiles_y)
            shown = lanes & (right > left) & (bottom > top)
            total += lane_sum(select(shown, (right - left) * (bottom - top), splat(0.0)))
            _pack_rects(i, shown, left, top, right, bottom, tiles_x, tiles_y, len(order), rects)
    covered[piece] = total


@inline
def _pack_record(
    i: int, lanes: Mask, order: I32, means2d: F32, conics: F32, opacities: F32, records: F32,
) -> tuple[Lanes, ...]:  # fmt: skip
    """Write 16 records; return the means and half the box of the ellipse where alpha is 1/255."""
    half, one = 0.5 / math.log(2.0), 1.0 / math.log(2.0)
    x, y = gather_at(means2d, 0, order, i, 2, lanes), gather_at(means2d, 1, order, i, 2, lanes)
    a = select(lanes, gather_at(conics, 0, order, i, 3, lanes) * half, splat(1.0))
    b = gather_at(conics, 1, order, i, 3, lanes) * one
    c = select(lanes, gather_at(conics, 2, order, i, 3, lanes) * half, splat(1.0))
    power = log2(select(lanes, gather_at(opacities, 0, order, i, 1, lanes), splat(1.0)))
    o = RECORD * i
    scatter(records, o, RECORD, lanes, x)
    scatter(records, o + 1, RECORD, lanes, y)
    scatter(records, o + 2, RECORD, lanes, a)
    scatter(records, o + 3, RECORD, lanes, b)
    scatter(records, o + 4, RECORD, lanes, c)
    scatter(records, o + 5, RECORD, lanes, power)
    scatter(records, o + 6, RECORD, lanes, -0.5 * b / c)
    scatter(records, o + 7, RECORD, lanes, -0.5 * b / a)
    # a hundredth of a pixel wider for rounding, and no bound at all where the determinant has no digits
    det = a * c - 0.25 * b * b
    reach = (power + (LOG2_255 + MARGIN)) / det
    sure = det > 1e-6 * a * c
    far = splat(1e9)
    hx = select(sure, sqrt(vmax(reach * c, 0.0)) + 0.01, far)
    hy = select(sure, sqrt(vmax(reach * a, 0.0)) + 0.01, far)
    return x, y, hx, hy


@inline
def _pack_colors(
    i: int, lanes: Mask, channels: int, stride: int, weighted: bool, order: I32, colors: F32, depths: F32,
    packed_colors: F32,
) -> None:  # fmt: skip
    """Write 16 rows of channels, then ones if asked, then zeros up to the stride."""
    colored = channels - (1 if len(depths) > 0 else 0)
    for d in range(stride):
        if d < colored:
            value = gather_at(colors, d, order, i, colored, lanes)
        elif d < channels:
            value = gather_at(depths, 0, order, i, 1, lanes)
        elif d == channels and weighted:
            value = splat(1.0)
        else:
            value = splat(0.0)
        scatter(packed_colors, stride * i + d, stride, lanes, value)


@inline
def _pack_rects(
    i: int, shown: Mask, left: Lanes, top: Lanes, right: Lanes, bottom: Lanes, tiles_x: int, tiles_y: int,
    ranks: int, rects: I32,
) -> None:  # fmt: skip
    """Write first column, first row, 255 - last column, 255 - last row as bytes, for each plane of tiles."""
    place = i
    for y0 in range(0, tiles_y, PLANE):
        for x0 in range(0, tiles_x, PLANE):
            last_x, last_y = right - (x0 + 1.0), bottom - (y0 + 1.0)
            inside = shown & (last_x >= 0.0) & (last_y >= 0.0)
            first_x = select(inside, vmin(vmax(left - x0, 0.0), 255.0), splat(255.0))
            first_y = vmin(vmax(top - y0, 0.0), 255.0)
            last_x, last_y = vmin(vmax(last_x, 0.0), 255.0), vmin(vmax(last_y, 0.0), 255.0)
            store_bytes(rects, place, first_x, first_y, 255.0 - last_x, 255.0 - last_y)
            place += ranks


def planes(tiles_x: int, tiles_y: int) -> int:
    """Return how many planes of rectangles an image of that many tiles has."""
    return -(-tiles_x // PLANE) * -(-tiles_y // PLANE)


def numbered_tiles(tiles_x: int, tiles_y: int) -> int:
    """Return how many tiles the groups of an image have, those beyond its edge included."""
    return -(-tiles_x // GROUP) * -(-tiles_y // GROUP) * GROUP * GROUP


@inline
def tile_place(number: int, tiles_x: int) -> tuple[int, int]:
    """Return column and row of the tile of that number."""
    group, member = number // (GROUP * GROUP), number % (GROUP * GROUP)
    across = (tiles_x + GROUP - 1) // GROUP
    return group % across * GROUP + member % GROUP, group // across * GROUP + member // GROUP


@inline
def plane_of(tile_x: int, tile_y: int, tiles_x: int) -> int:
    """Return the number of the plane of rectangles that a tile lies in."""
    return (tile_y // PLANE) * ((tiles_x + PLANE - 1) // PLANE) + tile_x // PLANE


@inline
def rect_limit(left: int, top: int, right: int, bottom: int) -> Word:
    """Return the bytes that a rectangle which meets these tiles of a plane, the last ones included, does not
    exceed."""
    return np.int64(right | bottom << 8 | (255 - left) << 16 | (255 - top) << 24)


@inline
def next_ranks(rects: I32, plane: int, limit: int, first: int, end: int) -> int:
    """Return as bits which of the 64 ranks from `first` on, and before `end`, have the tile in their
    rectangle."""
    o = plane + first
    word = bytes_within(rects, o, limit) | bytes_within(rects, o + 16, limit) << 16
    word |= bytes_within(rects, o + 32, limit) << 32 | bytes_within(rects, o + 48, limit) << 48
    if end - first < 64:
        word &= (np.int64(1) << (end - first)) - 1
    return word


@inline
def extend_group(
    rects: I32, plane: int, limit: int, at: int, last: int, listed: int, wanted: int, group_ranks: I32,
    group_rects: I32,
) -> tuple[int, int]:  # fmt: skip
    """Copy the ranks from `at` on whose rectangle meets a group, with their rectangles, until `wanted` are
    listed or all are.

    Returns how many are listed, and the rank to go on from. The lists must have room for 64 more than there
    are.
    """
    while listed < wanted and at < last:
        word = next_ranks(rects, plane, limit, at, last)
        while word != 0:
            rank = at + lowest_bit(word)
            word &= word - 1
            group_ranks[listed], group_rects[listed] = rank, rects[plane + rank]
            listed += 1
        at += 64
    return listed, at
