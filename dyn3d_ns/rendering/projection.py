"""Gaussians to the image plane: the EWA projection, 16 Gaussians at a time.

Conventions, clamps and culling are those of gsplat's fully_fused_projection. The gradients are in
projection_backward.py, cameras in cameras.py, shapes in covariance.py.
"""

import math

from dyn3d_ns.kernels.jit import kernel
from dyn3d_ns.kernels.types import F32
from dyn3d_ns.kernels.vector import LANES, ceil, first_lanes, log2, select, splat, sqrt, vmax, vmin
from dyn3d_ns.kernels.vector_memory import gather, scatter
from dyn3d_ns.rendering.cameras import image_point, read_camera, rows_times_rotation, to_camera
from dyn3d_ns.rendering.covariance import covariance, read3

SQUARE_RADIUS, TIGHT_RADIUS = 0, 1
# Half the extent of the tight rule (gsplat 1.5): 3.33 sigma or where opacity falls below 1/255.
TIGHT_EXTENT = 3.33
_TWO_LN2 = 2.0 * math.log(2.0)


@kernel
def project_forward(
    piece: int, pieces: int, n: int, cameras: int, model: int, rule: int, width: float, height: float,
    near: float, far: float, radius_clip: float, eps2d: float, means: F32, quats: F32, scales: F32,
    covars: F32, extents: F32, viewmats: F32, Ks: F32, means2d: F32, depths: F32, conics: F32, radii: F32,
    compensations: F32,
) -> None:  # fmt: skip
    """Project all Gaussians by all cameras; radii is [C, 2, N] (x, y), 0 where culled.

    `extents` holds half the size in sigmas of the tight rule, per camera and Gaussian, when the compensation
    is not part of the opacity (see `tight_extents`); it is read for the tight rule only.
    """
    blocks = (n + LANES - 1) // LANES
    for c in range(cameras):
        R, t, K = read_camera(viewmats, Ks, c)
        for block in range(blocks * piece // pieces, blocks * (piece + 1) // pieces):
            i = block * LANES
            o = c * n + i
            lanes = first_lanes(n - i)
            x, y, z = to_camera(R, t, read3(means, i, lanes))
            u, v, j0, j1, j2, j3, j4, j5 = image_point(model, x, y, z, K, width, height)
            A = rows_times_rotation((j0, j1, j2, j3, j4, j5), R)
            c00, c01, c11, det0 = covariance(A, quats, scales, covars, i, lanes)
            half = 0.5 * (c00 - c11)
            det = det0 + eps2d * (c00 + c11) + eps2d * eps2d
            b00, b11 = c00 + eps2d, c11 + eps2d
            largest = 0.5 * (b00 + b11) + sqrt(vmax(0.01, half * half + c01 * c01))
            compensation = sqrt(vmax(det0 / det, 0.0))
            if rule == TIGHT_RADIUS:
                extent = gather(extents, i, 1, lanes)  # 2 ln(255 opacity)
                if len(compensations) > 0:
                    # the compensation belongs to the opacity
                    extent = extent + _TWO_LN2 * log2(vmax(compensation, 1e-12))
                visible = extent >= 0.0
                extent = vmin(TIGHT_EXTENT, sqrt(vmax(extent, 0.0)))
                limit = extent * sqrt(largest)
                rx = ceil(vmin(extent * sqrt(b00), limit))
                ry = ceil(vmin(extent * sqrt(b11), limit))
                keep = visible & ((rx > radius_clip) | (ry > radius_clip))
            else:
                rx = ceil(3.0 * sqrt(largest))
                ry = rx
                keep = rx > radius_clip
            keep = keep & lanes & (z >= near) & (z <= far) & (det > 0.0) & (b00 > 0.0)
            keep = keep & (u + rx > 0.0) & (u - rx < width) & (v + ry > 0.0) & (v - ry < height)
            zero = splat(0.0)
            scatter(means2d, 2 * o, 2, lanes, select(keep, u, zero))
            scatter(means2d, 2 * o + 1, 2, lanes, select(keep, v, zero))
            scatter(depths, o, 1, lanes, select(keep, z, zero))
            scatter(conics, 3 * o, 3, lanes, select(keep, b11 / det, zero))
            scatter(conics, 3 * o + 1, 3, lanes, select(keep, -c01 / det, zero))
            scatter(conics, 3 * o + 2, 3, lanes, select(keep, b00 / det, zero))
            scatter(radii, 2 * c * n + i, 1, lanes, select(keep, rx, zero))
            scatter(radii, (2 * c + 1) * n + i, 1, lanes, select(keep, ry, zero))
            if len(compensations) > 0:
                scatter(compensations, o, 1, lanes, select(keep, compensation, zero))
