"""Flow, motion masks and depth of frames whose cameras are known: what a scene's files may lack."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Float64, UInt8

from dyn3d_ns.geometry.cameras import pixel_grid, project, to_camera, unproject
from dyn3d_ns.geometry.densify import densify
from dyn3d_ns.geometry.epipolar import epipolar_distance, fundamental_matrix
from dyn3d_ns.geometry.optical_flow import InverseSearch, consistent
from dyn3d_ns.geometry.triangulation import FlowView, InverseDepth, triangulate_flow
from dyn3d_ns.io.clip.types import Flow
from dyn3d_ns.io.dynamic_scene.disparity import AffineFit, fit_disparity

PUBLISHED_WIDTH = 480
"""Width of the images that the published threshold of the masks is for."""
THRESHOLD = 1.0
"""Distance from the epipolar line from which a pixel moves, pixels at the published width."""
_AT_REST = 1e-9
"""Baseline, over the farthest of all, below which two cameras stand at one place."""


def make_flow(a: UInt8[np.ndarray, "H W 3"], b: UInt8[np.ndarray, "H W 3"]) -> tuple[Flow, Flow]:
    """Estimate the flow from a to b and back as `dyn3d process` does, each checked against the other."""
    search = InverseSearch()
    forward, backward = search(a, b), search(b, a)
    return Flow(forward, consistent(forward, backward)), Flow(backward, consistent(backward, forward))


def make_mask(K: Float64[np.ndarray, "3 3"], views: Sequence[FlowView]) -> Bool[np.ndarray, "H W"]:
    """Return what moves: where a flow that is to be trusted leaves the line of a point at rest.

    The largest distance over the neighbours counts; specks are opened away and the rest dilated, at the
    size that is published, scaled.
    """
    height, width = views[0].valid.shape
    scale = width / PUBLISHED_WIDTH
    longest = max(float(np.linalg.norm(view.transform[:3, 3])) for view in views)
    distance = np.zeros((height, width))
    for view in views:
        found = _distance(K, view, longest)
        distance = np.maximum(distance, np.where(view.valid, found, 0))
    moves = (distance > THRESHOLD * scale).astype(np.uint8)
    moves = cv2.morphologyEx(moves, cv2.MORPH_OPEN, _disk(1 * scale))
    return cv2.dilate(moves, _disk(2 * scale)).astype(bool)


def triangulated(
    K: Float64[np.ndarray, "3 3"], views: Sequence[FlowView], mask: Bool[np.ndarray, "H W"]
) -> InverseDepth:
    """Return the inverse depth of what stands still, where the flows and the cameras tell it."""
    found = triangulate_flow(K, [view._replace(valid=view.valid & ~mask) for view in views])
    return InverseDepth(np.where(mask, 0, found.value), np.where(mask, 0, found.weight))


def spread(
    found: InverseDepth, image: UInt8[np.ndarray, "H W 3"], mask: Bool[np.ndarray, "H W"]
) -> Float32[np.ndarray, "H W"]:
    """Return inverse depth at every pixel that stands still, 0 in what moves and where nothing is known."""
    if not (found.weight > 0).any():
        return np.zeros(mask.shape, np.float32)
    known = found.value[found.weight > 0]
    values = densify(found.value, found.weight, image)
    return np.where(mask, 0, np.maximum(values, 0.5 * float(known.min()))).astype(np.float32)


def scaled_disparity(
    relative: Float32[np.ndarray, "h w"], found: InverseDepth
) -> tuple[Float32[np.ndarray, "h w"], AffineFit] | None:
    """Bring relative inverse depth to that of what was triangulated; None where no fit is to be trusted.

    What would lie behind infinity is put four times as far as the farthest triangulated point.
    """
    height, width = found.value.shape
    usable = (found.weight > 0) & np.isfinite(same := _resized(relative, width, height))
    weight = found.weight[usable].astype(np.float64)
    values = found.value[usable].astype(np.float64)
    fit = fit_disparity(same[usable].astype(np.float64), values, weight)
    if fit is None:
        return None
    least = 0.25 * float(np.percentile(values, 1))
    inverse = np.maximum(fit.slope * relative.astype(np.float64) + fit.offset, least)
    return np.where(np.isfinite(relative), inverse, 0).astype(np.float32), fit


def parallax(K: Float64[np.ndarray, "3 3"], view: FlowView, mask: Bool[np.ndarray, "H W"]) -> float:
    """Return by how many pixels what stands still moves beyond what turning the camera does, the median."""
    trusted = view.valid & ~mask
    start = pixel_grid(*view.valid.shape)
    moved = np.linalg.norm(start + view.flow - _at_infinity(K, view), axis=-1)
    return float(np.median(moved[trusted])) if trusted.any() else 0.0


def _at_infinity(K: Float64[np.ndarray, "3 3"], view: FlowView) -> Float64[np.ndarray, "H W 2"]:
    """Return where pixels are seen in another camera if they show what is infinitely far."""
    start = pixel_grid(*view.valid.shape)
    rays = unproject(start.reshape(-1, 2), np.ones(start.size // 2), K)
    turned = view.transform.copy()
    turned[:3, 3] = 0
    return project(to_camera(rays, turned), view.K).reshape(start.shape)


def _distance(K: Float64[np.ndarray, "3 3"], view: FlowView, longest: float) -> Float64[np.ndarray, "H W"]:
    """Return how far the ends of a flow are from where points at rest may lie, pixels."""
    start = pixel_grid(*view.valid.shape)
    end = start + view.flow
    if float(np.linalg.norm(view.transform[:3, 3])) <= _AT_REST * max(longest, 1.0):
        return np.linalg.norm(end - _at_infinity(K, view), axis=-1)
    return epipolar_distance(fundamental_matrix(K, view.K, view.transform), start, end)


def _disk(radius: float) -> UInt8[np.ndarray, "k k"]:
    size = 2 * max(round(radius), 1) + 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size)), dtype=np.uint8)


def _resized(values: Float32[np.ndarray, "h w"], width: int, height: int) -> Float32[np.ndarray, "H W"]:
    if values.shape == (height, width):
        return values
    how = cv2.INTER_AREA if values.shape[1] > width else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(values, (width, height), interpolation=how), dtype=np.float32)
