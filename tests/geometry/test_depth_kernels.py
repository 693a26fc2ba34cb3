"""Depth from flow and its smoothing, against closed forms and a sparse solver."""

from __future__ import annotations

import numpy as np
from scipy.sparse import diags
from scipy.sparse.linalg import spsolve

from dyn3d_ns.geometry.cameras import pixel_grid, project, to_camera, unproject
from dyn3d_ns.geometry.densify import densify
from dyn3d_ns.geometry.depth_kernels import PIECE, conjugate_gradients
from dyn3d_ns.geometry.triangulation import FlowView, triangulate_flow

K = np.array([[60.0, 0, 30.5], [0, 55.0, 20.0], [0, 0, 1]])


def view_of(depth: np.ndarray, move: np.ndarray, wrong: float = 0.0) -> FlowView:
    """Return the flow that a camera's move makes, off by some pixels."""
    grid = pixel_grid(*depth.shape)
    there = project(to_camera(unproject(grid, depth, K), move), K)
    flow = (there - grid + wrong).astype(np.float32)
    return FlowView(flow, np.ones(depth.shape, bool), K, move)


def moved(x: float, y: float, z: float, turn: float = 0.0) -> np.ndarray:
    """Return a transform that turns about the vertical and shifts."""
    cos, sin = np.cos(turn), np.sin(turn)
    return np.array([[cos, 0, sin, x], [0, 1, 0, y], [-sin, 0, cos, z], [0, 0, 0, 1]])


def test_flow_gives_back_the_depth_that_made_it() -> None:
    height, width = 41, 62
    assert height * width > 2 * PIECE, "more than one piece, and a part of one"
    depth = 3.0 + np.random.default_rng(0).random((height, width))
    views = [view_of(depth, moved(0.4, 0, 0.1)), view_of(depth, moved(-0.3, 0.2, -0.2, 0.05))]
    found = triangulate_flow(K, views)
    assert (found.weight > 0).all()
    np.testing.assert_allclose(found.value, 1 / depth, rtol=1e-4)
    # Two of three agree: the one that is off by three pixels counts for little.
    off = triangulate_flow(K, [*views, view_of(depth, moved(0.35, 0.1, 0), wrong=3.0)], max_error=2.0)
    assert np.median(np.abs(off.value * depth - 1)) < 0.02


def test_what_is_not_seen_or_lies_behind_has_no_depth() -> None:
    depth = np.full((30, 40), 2.0)
    view = view_of(depth, moved(0.4, 0, 0))
    seen = view.valid.copy()
    seen[:, :7] = False
    found = triangulate_flow(K, [view._replace(valid=seen)])
    assert (found.weight[:, :7] == 0).all() and (found.value[:, :7] == 0).all()
    assert (found.weight[:, 7:] > 0).all()
    behind = triangulate_flow(K, [view._replace(transform=moved(0.4, 0, 0, np.pi))])
    assert (behind.weight == 0).all()


def test_conjugate_gradients_solve_the_grid() -> None:
    rng = np.random.default_rng(1)
    height, width = 13, 17
    weight = (rng.random((height, width)) < 0.3).astype(np.float32)
    right = rng.random((height, width - 1)).astype(np.float32) + 0.1
    down = rng.random((height - 1, width)).astype(np.float32) + 0.1
    across = np.zeros((height, width))
    across[:, :-1] = right
    along = np.zeros((height, width))
    along[:-1] = down
    ties = diags([across.ravel()[:-1], along.ravel()[:-width]], [1, width], (weight.size, weight.size))
    ties = ties + ties.T
    diagonal = weight + np.asarray(ties.sum(1)).reshape(height, width)
    target = weight * rng.random((height, width))
    solution = np.zeros((height, width), np.float32)
    conjugate_gradients(
        target.astype(np.float32), diagonal.astype(np.float32), right, down, solution,
        np.empty((3, height, width), np.float32), np.empty(width), 300,
    )  # fmt: skip
    exact = spsolve((diags(diagonal.ravel()) - ties).tocsc(), target.ravel()).reshape(height, width)
    np.testing.assert_allclose(solution, exact, atol=2e-4)


def test_spread_depth_stops_at_edges() -> None:
    image = np.zeros((48, 64, 3), np.uint8)
    image[:, 32:] = 255
    weight = np.zeros((48, 64), np.float32)
    weight[::8, 4::8] = 1
    value = np.where(np.arange(64) < 32, 1.0, 2.0) * np.ones((48, 1))
    spread = densify(value.astype(np.float32), weight, image, iterations=20)
    assert np.abs(spread[:, :30] - 1).max() < 0.1 and np.abs(spread[:, 34:] - 2).max() < 0.1
