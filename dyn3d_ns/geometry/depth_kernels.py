"""Kernels of depth on the CPU: triangulation pixel by pixel, and the smoothing of what it gives.

Loops run along rows or pieces of pixels, so that the compiler makes vectors of them; sums are kept by column,
in one order.
"""

import numpy as np

from dyn3d_ns.kernels.jit import kernel
from dyn3d_ns.kernels.types import F32, F64

PIECE = 1024
"""Pixels that are triangulated at a time: what they need stays in the nearest cache."""


@kernel
def triangulate_pixels(
    rays: F32, ends: F32, seen: F32, far: F32, near: F32, nearest: float, softness: float, iterations: int,
    scratch: F32, value: F32, information: F32, error: F32,
) -> None:  # fmt: skip
    """Find the inverse depth of pixels by reweighted least squares; ``value`` holds the start.

    Args:
        rays: x and y of the points at depth 1 [2, P].
        ends: where the pixels go in each other frame [V, 2, P].
        seen: 1 where that is known, else 0 [V, P].
        far: camera's axes, turned and projected into each other frame [V, 9], row by row.
        near: the camera's place, projected into each other frame [V, 3].
        nearest: depth below which a point counts as behind the other camera.
        softness: 1 over the squared scale of the Cauchy loss, per squared pixel.
        iterations: steps; the first is without weights.
        scratch: [4, PIECE].
        information: sum of the weighted squared slopes, out [P].
        error: weighted mean error in pixels, out [P].
    """
    one, zero = np.float32(1), np.float32(0)
    top, total, slopes, misses = scratch[0], scratch[1], scratch[2], scratch[3]
    for first in range(0, len(value), PIECE):
        count = min(PIECE, len(value) - first)
        last = first + count
        at, x, y = value[first:last], rays[0, first:last], rays[1, first:last]
        for iteration in range(iterations):
            soft = np.float32(softness) if iteration > 0 else zero
            for k in range(count):
                top[k], total[k], slopes[k], misses[k] = zero, zero, zero, zero
            for v in range(len(near)):
                end_x, end_y, known = ends[v, 0, first:last], ends[v, 1, first:last], seen[v, first:last]
                nx, ny, nz = near[v, 0], near[v, 1], near[v, 2]
                m = far[v]
                for k in range(count):
                    far_x = m[0] * x[k] + m[1] * y[k] + m[2]
                    far_y = m[3] * x[k] + m[4] * y[k] + m[5]
                    far_z = m[6] * x[k] + m[7] * y[k] + m[8]
                    depth = far_z + at[k] * nz
                    ahead = depth > np.float32(nearest)
                    scale = one / depth if ahead else zero
                    slope_x, slope_y = (nx - end_x[k] * nz) * scale, (ny - end_y[k] * nz) * scale
                    offset_x = (far_x - end_x[k] * far_z) * scale
                    offset_y = (far_y - end_y[k] * far_z) * scale
                    off_x, off_y = offset_x + slope_x * at[k], offset_y + slope_y * at[k]
                    miss = off_x * off_x + off_y * off_y
                    weight = known[k] / (one + miss * soft) if ahead else zero
                    top[k] -= weight * (slope_x * offset_x + slope_y * offset_y)
                    slopes[k] += weight * (slope_x * slope_x + slope_y * slope_y)
                    misses[k] += weight * np.sqrt(miss)
                    total[k] += weight
            if iteration < iterations - 1:
                for k in range(count):
                    at[k] = top[k] / max(slopes[k], np.float32(1e-9)) if slopes[k] > zero else zero
        for k in range(count):
            information[first + k] = slopes[k]
            error[first + k] = misses[k] / max(total[k], np.float32(1e-6))


@kernel
def conjugate_gradients(
    target: F32, diagonal: F32, right: F32, down: F32, solution: F32, scratch: F32, sums: F64,
    iterations: int,
) -> None:  # fmt: skip
    """Solve a grid's linear system, neighbours tied, with Jacobi's preconditioner; ``solution`` is the start.

    Args:
        target: right side [H, W].
        diagonal: of the matrix [H, W].
        right: ties to the pixel on the right [H, W - 1].
        down: ties to the pixel below [H - 1, W].
        scratch: residual, direction and the matrix times it [3, H, W].
        sums: a sum for each column [W].
        iterations: steps at most.
    """
    height, width = target.shape
    residual, direction, applied = scratch[0], scratch[1], scratch[2]
    _apply(diagonal, right, down, solution, applied)
    for x in range(width):
        sums[x] = 0.0
    for y in range(height):
        for x in range(width):
            residual[y, x] = target[y, x] - applied[y, x]
            direction[y, x] = residual[y, x] / diagonal[y, x]
            sums[x] += np.float64(residual[y, x] * direction[y, x])
    product = 0.0
    for x in range(width):
        product += sums[x]
    enough = 1e-8 * product
    for _ in range(iterations):
        _apply(diagonal, right, down, direction, applied)
        for x in range(width):
            sums[x] = 0.0
        for y in range(height):
            for x in range(width):
                sums[x] += np.float64(direction[y, x] * applied[y, x])
        curvature = 0.0
        for x in range(width):
            curvature += sums[x]
            sums[x] = 0.0
        if curvature <= 0.0 or product <= enough:
            return
        step = np.float32(product / curvature)
        for y in range(height):
            for x in range(width):
                solution[y, x] += step * direction[y, x]
                residual[y, x] -= step * applied[y, x]
                conditioned = residual[y, x] / diagonal[y, x]
                applied[y, x] = conditioned
                sums[x] += np.float64(residual[y, x] * conditioned)
        new = 0.0
        for x in range(width):
            new += sums[x]
        share = np.float32(new / product)
        for y in range(height):
            for x in range(width):
                direction[y, x] = applied[y, x] + share * direction[y, x]
        product = new


@kernel
def _apply(diagonal: F32, right: F32, down: F32, values: F32, out: F32) -> None:
    """Multiply the grid's matrix with values."""
    height, width = values.shape
    for y in range(height):
        row, here, ties = out[y], values[y], right[y]
        for x in range(width):
            row[x] = diagonal[y, x] * here[x]
        for x in range(width - 1):
            row[x] -= ties[x] * here[x + 1]
        for x in range(width - 1):
            row[x + 1] -= ties[x] * here[x]
        if y < height - 1:
            below, tied = values[y + 1], down[y]
            for x in range(width):
                row[x] -= tied[x] * below[x]
        if y > 0:
            above, held = values[y - 1], down[y - 1]
            for x in range(width):
                row[x] -= held[x] * above[x]
