"""Lift pixels into the world, and thin out what many frames see."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int32, UInt8

from dyn3d_ns.geometry.cameras import to_world, unproject


def lift(
    xy: Float64[np.ndarray, "n 2"],
    depth: Float32[np.ndarray, "n"],
    K: Float64[np.ndarray, "3 3"],
    camera_to_world: Float64[np.ndarray, "4 4"],
) -> Float64[np.ndarray, "n 3"]:
    """Return the world points of pixels with planar depth (OpenCV camera)."""
    return to_world(unproject(xy, depth, K), camera_to_world)


def reliable(depth: Float32[np.ndarray, "H W"], percentile: float = 95.0) -> Bool[np.ndarray, "H W"]:
    """Tell where depth is known and not on the strongest edges (3x3 Sobel, of the logarithm).

    Points between two surfaces hang in the air behind every outline; these are the pixels that make them.
    """
    import cv2

    known = depth > 0
    if not known.any():
        return known
    logarithm = np.log(np.where(known, depth, np.median(depth[known]))).astype(np.float32)
    slope = np.hypot(cv2.Sobel(logarithm, -1, 1, 0), cv2.Sobel(logarithm, -1, 0, 1))
    # An unknown neighbour says nothing of the surface.
    inner = cv2.erode(known.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    limit = np.percentile(slope[inner], percentile) if inner.any() else 0.0
    # Where the whole picture is one even surface, its steepest part is no edge.
    return inner & (slope <= max(limit, 1e-3))


def pick(where: Bool[np.ndarray, "H W"], most: int, rng: np.random.Generator) -> Int32[np.ndarray, "n 2"]:
    """Return x, y of pixels where a mask is set, at most so many, drawn evenly."""
    ys, xs = np.nonzero(where)
    if len(ys) > most:
        chosen = np.sort(rng.choice(len(ys), most, replace=False))
        ys, xs = ys[chosen], xs[chosen]
    return np.stack((xs, ys), axis=1).astype(np.int32)


def average_voxels(
    points: Float64[np.ndarray, "n 3"], rgbs: UInt8[np.ndarray, "n 3"], size: float
) -> tuple[Float64[np.ndarray, "m 3"], UInt8[np.ndarray, "m 3"]]:
    """Replace the points in each cube of a grid by their mean."""
    if not len(points):
        return points, rgbs
    cells = np.floor((points - points.min(0)) / size).astype(np.int64)
    extent = cells.max(0) + 1
    keys = (cells[:, 0] * extent[1] + cells[:, 1]) * extent[2] + cells[:, 2]
    _, inverse, counts = np.unique(keys, return_inverse=True, return_counts=True)

    def mean(values: np.ndarray) -> np.ndarray:
        columns = [np.bincount(inverse, values[:, k]) for k in range(3)]
        return np.stack(columns, axis=1) / counts[:, None]

    return mean(points), np.rint(mean(rgbs.astype(np.float64))).astype(np.uint8)


def track_points(
    xy: Float32[np.ndarray, "F N 2"],
    visible: Bool[np.ndarray, "F N"],
    frame: int,
    depth: Float32[np.ndarray, "H W"],
    labels: Int32[np.ndarray, "H W"],
    K: Float64[np.ndarray, "3 3"],
    camera_to_world: Float64[np.ndarray, "4 4"],
) -> tuple[Float64[np.ndarray, "N 3"], Bool[np.ndarray, "N"], Int32[np.ndarray, "N"]]:
    """Lift the tracks of one frame.

    Returns:
        World points (0 where there is none), whether each track has one, and the object under it (0 for
        static).
    """
    height, width = depth.shape
    at = np.rint(np.nan_to_num(xy[frame])).astype(np.intp)
    inside = (at[:, 0] >= 0) & (at[:, 0] < width) & (at[:, 1] >= 0) & (at[:, 1] < height)
    at = np.clip(at, 0, [width - 1, height - 1])
    z = depth[at[:, 1], at[:, 0]]
    seen = visible[frame] & inside & (z > 0)
    points = np.zeros((len(at), 3))
    points[seen] = lift(xy[frame][seen].astype(np.float64), z[seen], K, camera_to_world)
    return points, seen, np.where(inside, labels[at[:, 1], at[:, 0]], 0).astype(np.int32)


def majority(votes: Int32[np.ndarray, "F N"], seen: Bool[np.ndarray, "F N"]) -> Int32[np.ndarray, "N"]:
    """Return the commonest vote of each column among those that count; 0 where none does."""
    top = int(votes.max(initial=0)) + 1
    counts = np.stack([((votes == k) & seen).sum(0) for k in range(top)])
    return np.where(seen.any(0), counts.argmax(0), 0).astype(np.int32)
