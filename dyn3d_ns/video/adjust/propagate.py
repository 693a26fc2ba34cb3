"""Carry what the adjusted points say of depth into the depth maps."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Float32, Int64

from dyn3d_ns.geometry.cameras import unproject

_NEIGHBOURS = 3
_CHECKED = 8
"""Control points around each that its ratio is compared with."""
_BLOCK = 2
"""Side in pixels of what shares the search for control points."""
_SAME_SURFACE = 0.01
"""Relative difference of depth up to which pixels of a block do."""


def propagate_depth(
    depth: Float32[np.ndarray, "H W"],
    region: Bool[np.ndarray, "H W"],
    pixels: Float[np.ndarray, "K 2"],
    target: Float[np.ndarray, "K"],
    K: Float[np.ndarray, "3 3"],
) -> Float32[np.ndarray, "H W"]:
    """Scale depth within a region by the ratios that its control points ask for.

    Every pixel takes the mean ratio of the three control points nearest to it in space, weighted by the
    inverse squared distance (Uni4D, depth propagation). Control points whose ratio disagrees with those
    around it sit on an edge of the depth map and are left out. Without any, the depth stays.

    Args:
        depth: planar z; 0 where not known.
        region: pixels to change.
        pixels: where control points are seen.
        target: their planar z.
        K: intrinsics in pixels.
    """
    from scipy.spatial import KDTree

    height, width = depth.shape
    columns = np.rint(pixels[:, 0]).astype(int)
    rows = np.rint(pixels[:, 1]).astype(int)
    inside = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height) & (target > 0)
    columns, rows, target = columns[inside], rows[inside], target[inside]
    usable = region[rows, columns] & (depth[rows, columns] > 0)
    columns, rows, target = columns[usable], rows[usable], target[usable]
    if len(target) == 0:
        return depth
    ratio = np.log(target / depth[rows, columns])
    control = _cloud(depth, rows, columns, K)
    keep = _agreeing(control, ratio)
    if not keep.any():
        return depth
    control, ratio = control[keep], ratio[keep]
    ys, xs = np.nonzero(region & (depth > 0))
    places = _cloud(depth, ys, xs, K)
    searching, searched = _searches(depth, ys, xs)
    _, near = KDTree(control).query(places[searching], k=min(_NEIGHBOURS, len(ratio)))
    # One neighbour after the other, all pixels at once: arrays with short last axes are slow.
    weighted = total = np.zeros(len(ys))
    for neighbour in near.reshape(len(searching), -1).T:
        index = neighbour[searched]
        x, y, z = (places - control[index]).T
        weight = 1.0 / (x * x + y * y + z * z + 1e-8)
        weighted, total = weighted + weight * ratio[index], total + weight
    factor = np.exp(weighted / total)
    out = depth.copy()
    out[ys, xs] *= factor.astype(np.float32)
    return out


def _searches(
    depth: Float32[np.ndarray, "H W"], ys: Int64[np.ndarray, "M"], xs: Int64[np.ndarray, "M"]
) -> tuple[Int64[np.ndarray, "S"], Int64[np.ndarray, "M"]]:
    """Return which pixels search for their neighbours, and whose search each pixel takes.

    The first pixel of a block does so for those of the block that are as far away.
    """
    columns = -(-depth.shape[1] // _BLOCK)
    block = ys // _BLOCK * columns + xs // _BLOCK
    _, first, member = np.unique(block, return_index=True, return_inverse=True)
    mine = depth[ys, xs]
    leader = first[member]
    alone = np.abs(mine - mine[leader]) > _SAME_SURFACE * mine
    searching = np.concatenate((first, np.flatnonzero(alone)))
    searched = member.copy()
    searched[alone] = len(first) + np.arange(int(alone.sum()))
    return searching, searched


def _cloud(
    depth: Float32[np.ndarray, "H W"],
    rows: np.ndarray,
    columns: np.ndarray,
    K: Float[np.ndarray, "3 3"],
) -> Float[np.ndarray, "M 3"]:
    pixels = np.stack((columns, rows), axis=1)
    return unproject(pixels, depth[rows, columns].astype(np.float64), K)


def _agreeing(control: Float[np.ndarray, "K 3"], ratio: Float[np.ndarray, "K"]) -> Bool[np.ndarray, "K"]:
    """Return the control points whose log ratio lies near the median of those around them."""
    from scipy.spatial import KDTree

    if len(ratio) <= _CHECKED:
        return np.abs(ratio - np.median(ratio)) <= max(
            0.05, 3.0 * float(np.median(np.abs(ratio - np.median(ratio))))
        )
    _, index = KDTree(control).query(control, k=_CHECKED + 1)
    away = np.abs(ratio - np.median(ratio[index], axis=1))
    return away <= max(0.05, 3.0 * float(np.median(away)))
