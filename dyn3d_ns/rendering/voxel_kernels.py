"""Kernels of sparse voxels on the CPU: rays through them, back to their values, and total variation.

A voxel has a row of densities [M] and of colours [M, 27] (red, green, blue; nine harmonics each); ``links``
leads from grid points to rows, -1 where there is none. Rays come in grid coordinates, in which the points are
the whole numbers.
"""

import numpy as np

from dyn3d_ns.kernels.jit import inline, kernel
from dyn3d_ns.kernels.types import F32, I32, I64


@inline
def _weight(corner: int, fx: float, fy: float, fz: float) -> float:
    wx = fx if corner & 4 else np.float32(1) - fx
    wy = fy if corner & 2 else np.float32(1) - fy
    wz = fz if corner & 1 else np.float32(1) - fz
    return wx * wy * wz


@kernel
def shade(
    start: int, stop: int, firsts: I64, places: F32, origins: F32, directions: F32, basis: F32, links: I32,
    density: F32, colors: F32, length: float, least_light: float, least_weight: float, scratch: F32,
    corners: I32, fractions: F32, weights: F32, alphas: F32, seen: F32, out: F32,
) -> None:  # fmt: skip
    """Render rays ``start`` to ``stop``, sample by sample; ``out`` holds colour, accumulation, place.

    What the way back needs is left in ``corners`` [S, 8] (the first is -2 where a sample has no part),
    ``fractions`` [S, 3], ``weights``, ``alphas`` and ``seen`` [S, 3]. ``scratch`` [27] is the caller's.
    """
    nx, ny, nz = links.shape
    for r in range(start, stop):
        light, red, green, blue = np.float32(1), np.float32(0), np.float32(0), np.float32(0)
        whole, along = np.float32(0), np.float32(0)
        for s in range(firsts[r], firsts[r + 1]):
            corners[s, 0] = -2
            if light < least_light:
                continue
            t = places[s]
            gx = min(
                max(origins[r, 0] + t * directions[r, 0], np.float32(0)), np.float32(nx) - np.float32(1.001)
            )
            gy = min(
                max(origins[r, 1] + t * directions[r, 1], np.float32(0)), np.float32(ny) - np.float32(1.001)
            )
            gz = min(
                max(origins[r, 2] + t * directions[r, 2], np.float32(0)), np.float32(nz) - np.float32(1.001)
            )
            x, y, z = int(gx), int(gy), int(gz)
            fx, fy, fz = gx - np.float32(x), gy - np.float32(y), gz - np.float32(z)
            value = np.float32(0)
            for c in range(8):
                row = links[x + (c >> 2), y + ((c >> 1) & 1), z + (c & 1)]
                corners[s, c] = row
                if row >= 0:
                    value += _weight(c, fx, fy, fz) * density[row]
            if value <= np.float32(1e-8):
                corners[s, 0] = -2
                continue
            alpha = np.float32(1) - np.exp(-value * length)
            weight = light * alpha
            alphas[s], weights[s] = alpha, weight
            fractions[s, 0], fractions[s, 1], fractions[s, 2] = fx, fy, fz
            light *= np.float32(1) - alpha
            whole += weight
            along += weight * t
            if weight < least_weight:
                seen[s, 0], seen[s, 1], seen[s, 2] = np.float32(-1), np.float32(-1), np.float32(-1)
                continue
            for k in range(27):
                scratch[k] = np.float32(0)
            for c in range(8):
                row = corners[s, c]
                if row >= 0:
                    share = _weight(c, fx, fy, fz)
                    for k in range(27):
                        scratch[k] += share * colors[row, k]
            for channel in range(3):
                color = np.float32(0.5)
                for k in range(9):
                    color += scratch[9 * channel + k] * basis[r, k]
                seen[s, channel] = color
            red += weight * max(seen[s, 0], np.float32(0))
            green += weight * max(seen[s, 1], np.float32(0))
            blue += weight * max(seen[s, 2], np.float32(0))
        out[r, 0], out[r, 1], out[r, 2], out[r, 3], out[r, 4] = red, green, blue, whole, along


@kernel
def unshade(
    start: int, stop: int, firsts: I64, corners: I32, weights: F32, alphas: F32, seen: F32, out: F32,
    gradient: F32, length: float, to_density: F32, to_color: F32,
) -> None:  # fmt: skip
    """Lead the gradient [R, 4] of rays back to the density [S] and the colour [S, 3] of their samples."""
    for r in range(start, stop):
        gr, gg, gb, ga = gradient[r, 0], gradient[r, 1], gradient[r, 2], gradient[r, 3]
        rest = gr * out[r, 0] + gg * out[r, 1] + gb * out[r, 2] + ga * out[r, 3]
        light = np.float32(1)
        for s in range(firsts[r], firsts[r + 1]):
            if corners[s, 0] == -2:
                continue
            weight = weights[s]
            own = ga + gr * max(seen[s, 0], np.float32(0)) + gg * max(seen[s, 1], np.float32(0))
            own += gb * max(seen[s, 2], np.float32(0))
            light *= np.float32(1) - alphas[s]
            rest -= weight * own
            to_density[s] = length * (light * own - rest)
            to_color[s, 0] = weight * gr if seen[s, 0] > 0 else np.float32(0)
            to_color[s, 1] = weight * gg if seen[s, 1] > 0 else np.float32(0)
            to_color[s, 2] = weight * gb if seen[s, 2] > 0 else np.float32(0)


@kernel
def scatter(
    first: int, last: int, firsts: I64, corners: I32, fractions: F32, basis: F32, slots: I32,
    to_density: F32, to_color: F32, scratch: F32, density: F32, colors: F32,
) -> None:  # fmt: skip
    """Add the samples' gradients to the slots ``first`` to ``last``, always in the same order.

    ``slots`` leads from a voxel's row to its place among those that are trained, -1 where it is none of them.
    """
    for r in range(len(firsts) - 1):
        for s in range(firsts[r], firsts[r + 1]):
            if corners[s, 0] == -2:
                continue
            fx, fy, fz = fractions[s, 0], fractions[s, 1], fractions[s, 2]
            colored = to_color[s, 0] != 0 or to_color[s, 1] != 0 or to_color[s, 2] != 0
            ready = False
            for c in range(8):
                row = corners[s, c]
                if row < 0:
                    continue
                slot = slots[row]
                if slot < first or slot >= last:
                    continue
                share = _weight(c, fx, fy, fz)
                density[slot] += share * to_density[s]
                if not colored:
                    continue
                if not ready:
                    ready = True
                    for channel in range(3):
                        for k in range(9):
                            scratch[9 * channel + k] = to_color[s, channel] * basis[r, k]
                for k in range(27):
                    colors[slot, k] += share * scratch[k]


@kernel
def total_variation(
    rows: I64, places: I32, links: I32, slots: I32, values: F32, gradient: F32, scale: F32
) -> float:
    """Return the mean over rows of the length of their channels' differences to the next voxels.

    The gradient is added to that of the slots. A neighbour that is not there makes no difference.

    Args:
        rows: Voxels that are looked at.
        places: Grid point of each row [M, 3].
        links: From grid points to rows.
        slots: From rows to places in the gradient.
        values: Channels of the rows [M, D].
        gradient: What the sum is added to [T, D].
        scale: Weight of a difference along each axis [3].
    """
    total, share = 0.0, np.float32(1.0 / max(len(rows), 1))
    for i in range(len(rows)):
        row = rows[i]
        x, y, z = places[row, 0], places[row, 1], places[row, 2]
        a = links[x + 1, y, z] if x + 1 < links.shape[0] else -1
        b = links[x, y + 1, z] if y + 1 < links.shape[1] else -1
        c = links[x, y, z + 1] if z + 1 < links.shape[2] else -1
        own = slots[row]
        for k in range(values.shape[1]):
            here = values[row, k]
            da = (values[a, k] - here) * scale[0] if a >= 0 else np.float32(0)
            db = (values[b, k] - here) * scale[1] if b >= 0 else np.float32(0)
            dc = (values[c, k] - here) * scale[2] if c >= 0 else np.float32(0)
            size = np.sqrt(np.float32(1e-9) + da * da + db * db + dc * dc)
            total += size
            g = share / size
            if own >= 0:
                gradient[own, k] -= g * (da * scale[0] + db * scale[1] + dc * scale[2])
            if a >= 0 and slots[a] >= 0:
                gradient[slots[a], k] += g * da * scale[0]
            if b >= 0 and slots[b] >= 0:
                gradient[slots[b], k] += g * db * scale[1]
            if c >= 0 and slots[c] >= 0:
                gradient[slots[c], k] += g * dc * scale[2]
    return total * share


@kernel
def rms_step(
    start: int, stop: int, values: F32, gradient: F32, squares: F32, rate: float, decay: float, least: float
) -> None:  # fmt: skip
    """Take a step of RMSprop in the numbers whose gradient is not 0; the others' memory stays as it is."""
    for i in range(start, stop):
        g = gradient[i]
        if g != 0:
            square = squares[i]
            square = g * g if square == 0 else decay * square + (np.float32(1) - decay) * g * g
            squares[i] = square
            values[i] -= rate * g / (np.sqrt(square) + least)


@kernel
def greatest(corners: I32, fractions: F32, weights: F32, found: F32) -> None:
    """Raise ``found`` [M] to the greatest part that each voxel has in one of the samples."""
    for s in range(len(weights)):
        if corners[s, 0] == -2:
            continue
        for c in range(8):
            row = corners[s, c]
            if row >= 0:
                part = weights[s] * _weight(c, fractions[s, 0], fractions[s, 1], fractions[s, 2])
                found[row] = max(found[row], part)
