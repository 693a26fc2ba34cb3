"""Energies of many samples with their gradients, in one pass over them; sums are always in the same order."""

import numpy as np

from dyn3d_ns.kernels.jit import kernel
from dyn3d_ns.kernels.types import F64, I64


@kernel
def reprojection(
    points: F64, rotations: F64, centers: F64, focal: F64, middle: F64, frames: I64, ids: I64, pixels: F64,
    weights: F64, log_depth: F64, depth_weight: float, nearest: float,
    to_points: F64, to_rotations: F64, to_centers: F64, to_focal: F64,
) -> float:  # fmt: skip
    """Return the weighted reprojection errors and differences of log depth; gradients are added.

    Args:
        points: places in the world [N, 3].
        rotations: camera to world [F, 3, 3].
        centers: of the cameras [F, 3].
        focal: focal lengths in pixels [F, 2].
        middle: principal points [F, 2].
        frames: camera of each sample [S].
        ids: point of each sample [S].
        pixels: where it was seen [S, 2].
        weights: of the samples' errors in pixels [S].
        log_depth: logarithm of the depth that each sample should have, NaN where none is known [S].
        depth_weight: weight of the absolute difference from it.
        nearest: depth that nearer points are taken to have.
    """
    total = 0.0
    for s in range(len(frames)):
        f, p = frames[s], ids[s]
        dx, dy, dz = points[p, 0] - centers[f, 0], points[p, 1] - centers[f, 1], points[p, 2] - centers[f, 2]
        turn = rotations[f]
        x = turn[0, 0] * dx + turn[1, 0] * dy + turn[2, 0] * dz
        y = turn[0, 1] * dx + turn[1, 1] * dy + turn[2, 1] * dz
        z = turn[0, 2] * dx + turn[1, 2] * dy + turn[2, 2] * dz
        ahead = z >= nearest
        depth = z if ahead else nearest
        u, v = x / depth, y / depth
        off_x = u * focal[f, 0] + middle[f, 0] - pixels[s, 0]
        off_y = v * focal[f, 1] + middle[f, 1] - pixels[s, 1]
        miss = np.sqrt(off_x * off_x + off_y * off_y + 1e-12)
        total += weights[s] * miss
        to_x, to_y = weights[s] * off_x / miss, weights[s] * off_y / miss
        to_focal[f, 0] += to_x * u
        to_focal[f, 1] += to_y * v
        gx, gy = to_x * focal[f, 0] / depth, to_y * focal[f, 1] / depth
        gz = -(gx * u + gy * v) if ahead else 0.0
        if log_depth[s] == log_depth[s]:
            away = np.log(depth) - log_depth[s]
            total += depth_weight * abs(away)
            if ahead:
                gz += depth_weight * np.sign(away) / depth
        wx = turn[0, 0] * gx + turn[0, 1] * gy + turn[0, 2] * gz
        wy = turn[1, 0] * gx + turn[1, 1] * gy + turn[1, 2] * gz
        wz = turn[2, 0] * gx + turn[2, 1] * gy + turn[2, 2] * gz
        to_points[p, 0] += wx
        to_points[p, 1] += wy
        to_points[p, 2] += wz
        to_centers[f, 0] -= wx
        to_centers[f, 1] -= wy
        to_centers[f, 2] -= wz
        into = to_rotations[f]
        into[0, 0] += dx * gx
        into[1, 0] += dy * gx
        into[2, 0] += dz * gx
        into[0, 1] += dx * gy
        into[1, 1] += dy * gy
        into[2, 1] += dz * gy
        into[0, 2] += dx * gz
        into[1, 2] += dy * gz
        into[2, 2] += dz * gz
    return total


@kernel
def steps_and_changes(
    points: F64, pairs: I64, step_weight: float, quads: I64, change_weight: float, to_points: F64
) -> float:
    """Return weighted lengths of steps and changes of distances between neighbours; the gradient is added.

    Args:
        points: places of the samples [S, 3].
        pairs: samples of a step [P, 2].
        step_weight: weight of a step's length.
        quads: samples of a point and its neighbour, in a frame and in the next one [L, 4].
        change_weight: weight of the absolute change of their distance.
    """
    total = 0.0
    for k in range(len(pairs)):
        a, b = pairs[k, 0], pairs[k, 1]
        x, y, z = points[b, 0] - points[a, 0], points[b, 1] - points[a, 1], points[b, 2] - points[a, 2]
        length = np.sqrt(x * x + y * y + z * z + 1e-20)
        total += step_weight * length
        g = step_weight / length
        to_points[a, 0] -= g * x
        to_points[a, 1] -= g * y
        to_points[a, 2] -= g * z
        to_points[b, 0] += g * x
        to_points[b, 1] += g * y
        to_points[b, 2] += g * z
    for k in range(len(quads)):
        a, b, c, d = quads[k, 0], quads[k, 1], quads[k, 2], quads[k, 3]
        x, y, z = points[b, 0] - points[a, 0], points[b, 1] - points[a, 1], points[b, 2] - points[a, 2]
        u, v, w = points[d, 0] - points[c, 0], points[d, 1] - points[c, 1], points[d, 2] - points[c, 2]
        before, after = np.sqrt(x * x + y * y + z * z + 1e-20), np.sqrt(u * u + v * v + w * w + 1e-20)
        total += change_weight * abs(after - before)
        g = change_weight * np.sign(after - before)
        p, q = g / before, g / after
        to_points[a, 0] += p * x
        to_points[a, 1] += p * y
        to_points[a, 2] += p * z
        to_points[b, 0] -= p * x
        to_points[b, 1] -= p * y
        to_points[b, 2] -= p * z
        to_points[c, 0] -= q * u
        to_points[c, 1] -= q * v
        to_points[c, 2] -= q * w
        to_points[d, 0] += q * u
        to_points[d, 1] += q * v
        to_points[d, 2] += q * w
    return total
