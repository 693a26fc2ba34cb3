"""Which Gaussians touch which tile, front to back: one radix sort of depths, then a counting sort into tiles.

Both sorts keep the order of equal keys, so a tile's list is in depth order with ties by index, as in gsplat,
without sorting any tile. Gaussians are renumbered by depth ("rank"): a tile then reads its records in order.
"""

import math

import numpy as np

from dyn3d_ns.rendering.jit import kernel

TILE = 16
RECORD = 8
"""Floats a record: mean x, y; A, B, C of the exponent -(A dx² + B dx dy + C dy²) in powers of two; log2 of
the opacity; -B / 2C and -B / 2A (where a row or a column meets its smallest exponent)."""

LOG2_255 = math.log2(255.0)
# Pixels with alpha near 1/255 are decided by the blend; the tests that leave out whole boxes stay this far
# (in powers of two of alpha) on the safe side of rounding.
MARGIN = 0.02
_RADIX_BITS = 11
_RADIX = 1 << _RADIX_BITS


@kernel
def sort_by_depth(camera, n, depth_bits, radii, opacities, order, scratch, counts):
    """Write the visible Gaussians of one camera in depth order to order[camera, :counts[camera]].

    `depth_bits` are the depths' floats read as int32, [C, N]; `scratch` is [C, 3, N] int32.
    """
    base = camera * n
    keys, other_keys, other = scratch[camera, 0], scratch[camera, 1], scratch[camera, 2]
    ids = order[camera]
    m = 0
    threshold = np.float32(1.0 / 255.0)
    for g in range(n):
        if radii[2 * base + g] > 0.0 and opacities[base + g] >= threshold:
            key = depth_bits[base + g]
            # negative floats grow downwards: flip so that signed integers sort as the floats do
            keys[m] = key if key >= 0 else np.int32(key ^ 0x7FFFFFFF)
            ids[m] = base + g
            m += 1
    histogram = np.zeros((3, _RADIX), dtype=np.int64)
    for k in range(m):
        key = np.int64(keys[k]) + 0x80000000
        histogram[0, key & (_RADIX - 1)] += 1
        histogram[1, (key >> _RADIX_BITS) & (_RADIX - 1)] += 1
        histogram[2, key >> (2 * _RADIX_BITS)] += 1
    for digit in range(3):
        total = 0
        for bucket in range(_RADIX):
            count = histogram[digit, bucket]
            histogram[digit, bucket] = total
            total += count
        shift = digit * _RADIX_BITS
        for k in range(m):
            bucket = ((np.int64(keys[k]) + 0x80000000) >> shift) & (_RADIX - 1)
            place = histogram[digit, bucket]
            histogram[digit, bucket] = place + 1
            other_keys[place] = keys[k]
            other[place] = ids[k]
        keys, other_keys = other_keys, keys
        ids, other = other, ids
    if m > 0:  # three passes end in the scratch buffer
        order[camera, :m] = ids[:m]
    counts[camera] = m


@kernel
def pack(
    piece, pieces, n, tiles_x, tiles_y, channels, stride, order,
    means2d, conics, opacities, radii, colors, depths, records, packed_colors, rects, tile_counts,
):  # fmt: skip
    """Copy one run of ranks into records and padded colours, find their tiles and count them.

    `order` lists camera * N + Gaussian over all cameras; `depths`, if not empty, is the last channel.
    """
    m = len(order)
    log2e = 1.0 / math.log(2.0)
    colored = channels - (1 if len(depths) > 0 else 0)
    for r in range(m * piece // pieces, m * (piece + 1) // pieces):
        g = np.int64(order[r])
        camera = g // n
        x, y = means2d[2 * g], means2d[2 * g + 1]
        a = conics[3 * g] * (0.5 * log2e)
        b = conics[3 * g + 1] * log2e
        c = conics[3 * g + 2] * (0.5 * log2e)
        reach = math.log2(opacities[g]) + LOG2_255 + MARGIN
        o = RECORD * r
        records[o], records[o + 1] = x, y
        records[o + 2], records[o + 3], records[o + 4] = a, b, c
        records[o + 5] = math.log2(opacities[g])
        records[o + 6], records[o + 7] = -0.5 * b / c, -0.5 * b / a
        for d in range(colored):
            packed_colors[stride * r + d] = colors[colored * g + d]
        if colored < channels:
            packed_colors[stride * r + colored] = depths[g]
        local = g - camera * n
        rx, ry = radii[2 * camera * n + local], radii[(2 * camera + 1) * n + local]
        left, right = math.floor((x - rx) / TILE), math.ceil((x + rx) / TILE)
        top, bottom = math.floor((y - ry) / TILE), math.ceil((y + ry) / TILE)
        # the ellipse where alpha is 1/255, a hundredth of a pixel wider for rounding
        det = a * c - 0.25 * b * b
        if det > 1e-6 * a * c:
            hx, hy = math.sqrt(reach * c / det) + 0.01, math.sqrt(reach * a / det) + 0.01
            left, right = max(left, math.floor((x - hx - 0.5) / TILE)), min(right, math.ceil((x + hx) / TILE))
            top, bottom = max(top, math.floor((y - hy - 0.5) / TILE)), min(bottom, math.ceil((y + hy) / TILE))
        x0, x1 = max(left, 0), min(right, tiles_x)
        y0, y1 = max(top, 0), min(bottom, tiles_y)
        rects[4 * r], rects[4 * r + 1], rects[4 * r + 2], rects[4 * r + 3] = x0, x1, y0, y1
        for ty in range(y0, y1):
            row = (camera * tiles_y + ty) * tiles_x
            for tx in range(x0, x1):
                tile_counts[piece, row + tx] += 1


@kernel
def offsets_from_counts(tile_counts, offsets):
    """Turn counts [pieces, tiles] into each piece's first place in each tile; return the number of pairs."""
    pieces, tiles = tile_counts.shape
    total = 0
    for tile in range(tiles):
        offsets[tile] = total
        for piece in range(pieces):
            count = tile_counts[piece, tile]
            tile_counts[piece, tile] = total
            total += count
    offsets[tiles] = total
    return total


@kernel
def fill(piece, pieces, n, tiles_x, tiles_y, order, rects, places, pairs):
    """Write one run of ranks into the lists of its tiles; `places` are the first free places, [pieces,
    tiles]."""
    m = len(order)
    for r in range(m * piece // pieces, m * (piece + 1) // pieces):
        camera = np.int64(order[r]) // n
        for ty in range(rects[4 * r + 2], rects[4 * r + 3]):
            row = (camera * tiles_y + ty) * tiles_x
            for tx in range(rects[4 * r], rects[4 * r + 1]):
                place = places[piece, row + tx]
                places[piece, row + tx] = place + 1
                pairs[place] = r
